"""What is known of the fills of a session: how far one is, and the files of one that is done."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ipmedgan_jax.viewing.fill_files import Order

BUSY = ("loading", "filling")
"""The states of a fill that runs."""


@dataclass(frozen=True)
class FillState:
    """What the page shows of a fill; `state` is idle, loading, filling, done, failed or cancelled.

    `index` counts the fills that were begun, up to this one.
    """

    state: str = "idle"
    done: int = 0
    total: int = 0
    error: str = ""
    warnings: tuple[str, ...] = ()
    voxels: int = 0
    ml: float = 0.0
    slices: int = 0
    plausibility: Any = None
    deviation: bool = False
    scan: int = 0
    source: str = ""
    index: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns what the page shows; `index` is its `number`."""
        fields = asdict(self)
        fields["number"] = fields.pop("index")
        return fields


@dataclass
class FillFiles:
    """The files of a finished fill by the names that the page asks for, and the names under which they are saved."""

    views: dict[str, Path] = field(default_factory=dict)
    saves: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A fill that is done, with its files and its order."""

    state: FillState
    result: FillFiles
    order: Order


@dataclass(frozen=True)
class Forgotten:
    """The latest fill of a scan that is replaced, and its last one that is done."""

    state: FillState
    finished: Finished | None
