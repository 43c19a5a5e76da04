"""BIDS data sets as folders: their root, their description, and the files in them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError, reason

DESCRIPTION = "dataset_description.json"
"""The file by which a folder is known as a BIDS data set."""

DERIVATIVES = "derivatives"
"""The folder of a data set for what was made from it."""

APART = frozenset({DERIVATIVES, "sourcedata", "code"})
"""Folders at a data set's root that hold other data than its own scans."""


@dataclass(frozen=True)
class BidsDataset:
    """A folder with a description.

    Attributes:
      root: the folder, in full.
      description: the content of its description.
    """

    root: Path
    description: dict[str, Any]

    @property
    def is_derivative(self) -> bool:
        return self.description.get("DatasetType") == "derivative"

    def own_files(self, paths: Iterable[Path], named: Path) -> list[Path]:
        """Returns the paths that are this data set's own: not those in `derivatives`, `sourcedata` and `code`.

        Args:
          paths: files below the root.
          named: the folder that a flag names; in a folder that it lies in, all files are kept.
        """
        inside = self._top(named)
        return [path for path in paths if (top := self._top(path)) not in APART or top == inside]

    def _top(self, path: Path) -> str:
        """Returns the first folder below the root on the way to a path; empty if there is none."""
        path = full(path)
        return (*path.relative_to(self.root).parts, "")[0] if path.is_relative_to(self.root) else ""


def full(path: Path) -> Path:
    """Returns the absolute path without `..`, in which links stay: files of a data set may be links to a store elsewhere."""
    return Path(os.path.normpath(path.absolute()))


def find(path: Path) -> BidsDataset | None:
    """Returns the data set that a file or folder belongs to: the nearest folder with a description; None without one.

    UserError if the description cannot be read.
    """
    root = find_root(path)
    return None if root is None else BidsDataset(root, read_description(root))


def find_root(path: Path) -> Path | None:
    """Returns the nearest folder with a description, from a file or folder upwards; None without one."""
    start = full(path)
    return next((folder for folder in (start, *start.parents) if (folder / DESCRIPTION).exists()), None)


def read_description(root: Path) -> dict[str, Any]:
    """Returns the description of a data set. UserError if it cannot be read."""
    try:
        return json_fields.read(root / DESCRIPTION)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{root / DESCRIPTION}: cannot be read ({reason(error)}); mend it, or give --nobids to inpaint"
        ) from error


def text_of(description: dict[str, Any], key: str) -> str:
    """Returns an entry of a description if it is a text, else an empty text."""
    value = description.get(key)
    return value if isinstance(value, str) else ""
