"""Files of single steps in a run's folder, `step_0000123.png`: their names, and how many are kept."""

import re
from pathlib import Path


def path_of(folder: Path, step: int, suffix: str) -> Path:
    """Returns the file of a step: seven digits, so that names sort by step up to ten million."""
    return folder / f"step_{step:07d}{suffix}"


def steps_in(folder: Path, suffix: str) -> list[int]:
    """Returns the steps whose files are in a folder, in order; none without a folder."""
    names = (re.fullmatch(rf"step_(\d{{7,}}){re.escape(suffix)}", path.name) for path in folder.glob("step_*"))
    return sorted(int(name[1]) for name in names if name)


def remove_old(folder: Path, suffix: str, *, newest: int) -> None:
    """Removes the files of steps between the first and the `newest` last ones; other names stay."""
    for step in steps_in(folder, suffix)[1:-newest]:
        path_of(folder, step, suffix).unlink(missing_ok=True)
