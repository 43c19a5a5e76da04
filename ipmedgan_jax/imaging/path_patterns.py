"""Paths, patterns and comma-separated lists in flags, where brackets and commas may also be part of a name."""

import glob
import itertools
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path

_COMMA = re.compile(r",(?![^\[\]]*\])")
"""Matches a comma outside the brackets of a pattern."""

Named = tuple[Path, Path]
"""A path that a flag names, and the folder that it lies in or that its pattern starts from."""

Found = TypeVar("Found")


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; any text may be asked for, also a list that is too long for a name."""
    return _is(Path.is_dir, path)


def exists(path: Path) -> bool:
    """Whether a path is a folder, a file or a link, dangling ones included; any text may be asked for."""
    return _is(Path.exists, path) or _is(Path.is_symlink, path)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:
        return False


def is_pattern_or_list(text: str) -> bool:
    """Whether a text that names no existing path may name several."""
    return "," in text or glob.has_magic(text)


def match(text: str) -> list[Named]:
    """Returns the existing paths that one path or pattern names; `**` matches folders at any depth.

    A path that exists, and leading folders that exist, are taken literally. A later part with a bracket is taken both as a
    pattern and as a name. A pattern that ends in a slash matches folders alone.
    """
    if not text.strip():
        return []
    path = user_path(text.strip())
    if exists(path):
        return [(path, path.parent)]
    start = next(folder for folder in (*path.parents, Path()) if is_folder(folder))
    parts = path.relative_to(start).parts
    # Several ** in a row match the same as one, but glob goes through all folders again for each.
    parts = tuple(part for before, part in itertools.pairwise(["", *parts]) if (before, part) != ("**", "**"))
    rest = [{part, part.replace("[", "[[]")} for part in parts]
    patterns = [str(Path(glob.escape(str(start)), *chosen)) for chosen in itertools.product(*rest)]
    found = {name for pattern in patterns for name in glob.iglob(pattern, recursive=True)}  # noqa: PTH207
    paths = [Path(name) for name in sorted(found)]
    return [(path, start) for path in paths if is_folder(path) or not text.rstrip().endswith("/")]


def find_in_list(text: str, find: Callable[[str], Collection[Found]]) -> tuple[list[Found], list[str]]:
    """Returns what `find` finds of a text or, if that is nothing, of the elements of a comma-separated list, in order.

    An element is the shortest text between two commas of which `find` finds something, so a name may hold a comma. The
    elements of which it finds nothing are returned too.
    """
    if whole := find(text):
        return list(whole), []
    pieces, start = text.split(","), 0
    found: list[Found] = []
    missing: list[str] = []
    while start < len(pieces):
        ends = range(start + 1, len(pieces) + 1) if pieces[start].strip() else ()
        more = next(((end, more) for end in ends if (more := find(",".join(pieces[start:end])))), None)
        if more is not None:
            start = more[0]
            found += more[1]
            continue
        element = _COMMA.split(",".join(pieces[start:]))[0]
        missing += [element.strip()] if element.strip() else []
        start += element.count(",") + 1
    return found, missing


def no_match(text: str) -> UserError:
    """Returns the error for a text that names no file."""
    hint = "; put quotes around a pattern with **" if "*" in text else ""
    if text.strip() and user_path(text.strip()).is_dir():
        return UserError(f"{text!r}: neither a NIfTI file (.nii or .nii.gz) nor a readable DICOM file was found there")
    return UserError(f"no NIfTI file (.nii or .nii.gz) matches {text!r}{hint}")
