"""Where a BIDS derivative may be written: outside of every data set, or below the folder `derivatives` of one."""

from collections.abc import Iterator
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import bids_dataset
from ipmedgan_jax.imaging.bids_dataset import APART, DERIVATIVES, DESCRIPTION


def check_place(output: Path, root: Path) -> None:
    """UserError if a derivative in a folder would put files among those of a data set, which is only read.

    Links and relative paths are followed.

    Args:
      output: the folder of the derivative; it need not exist.
      root: the data set of the images.
    """
    example = f"for example {root / DERIVATIVES / 'inpainted'}"
    if output.resolve() == root.resolve():
        raise UserError(f"--output={output}: is the data set of the images, which is only read; give {example}")
    if output.resolve() in root.resolve().parents and "sourcedata" not in root.resolve().relative_to(output.resolve()).parts:
        raise UserError(f"--output={output}: holds the data set {root}; give the derivative its own folder, {example}")
    linked = [root / folder.name for folder in root.glob("sub-*") if folder.is_symlink() and _holds(folder, output)]
    for place in {bids_dataset.full(output), output.resolve(), *linked}:
        if (dataset := _spoilt_by(place)) is not None:
            good = dataset / DERIVATIVES / "inpainted"
            raise UserError(
                f"--output={output}: lies in the data set {dataset}, where a derivative belongs below {DERIVATIVES}; "
                f"give for example {good}"
            )


def _holds(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _spoilt_by(path: Path) -> Path | None:
    """Returns the data set above a path whose own files it would lie among; None if there is none."""
    inner = True
    for root in _datasets_above(path):
        top, *below = path.relative_to(root).parts
        if top not in ({DERIVATIVES} if inner else APART) or (top == DERIVATIVES and not below):
            return root
        inner = False
    return None


def _datasets_above(path: Path) -> Iterator[Path]:
    """Yields the data sets that a path lies in, the nearest first; a folder `derivatives` with a description is none."""
    described = (folder for folder in path.parents if (folder / DESCRIPTION).exists())
    yield from (folder for folder in described if folder.name != DERIVATIVES)
