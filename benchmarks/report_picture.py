"""Draws the picture of the report of fills in docs/filling.md: head phantoms with holes, filled, and the page in Chromium.

  python -m benchmarks.report_picture --model=flair --output=docs/report.png

Nothing of a person is shown. The hole of one scan is filled too bright on purpose, so that it comes first. Needs Playwright
and an installed Chromium.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from absl import flags

from benchmarks import outputs
from benchmarks.docs_pictures import screenshot
from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.data.phantom import write_phantoms
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.load import load_filler

SPACING_MM = (0.9, 0.9, 3.0)
TOO_BRIGHT = 90.0


@dataclass(frozen=True)
class Spoilt:
    """A filler, or its fill of one scan, whose fill of one subject is too bright."""

    inner: Any
    subject: str
    mask: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def open(self, scan: Any, mask: np.ndarray, planes: Any) -> Any:
        fill = self.inner.open(scan, mask, planes)
        return Spoilt(fill, self.subject, mask) if self.subject in scan.file.path.name else fill

    def filled(self, done: Any) -> np.ndarray:
        return self.inner.filled(done) + TOO_BRIGHT * self.mask


def write_masks(paths: list[Path]) -> None:
    """Writes a mask of an ellipsoid beside each scan."""
    for number, path in enumerate(paths):
        image = nibabel.load(path)
        rng = np.random.default_rng(number)
        centre = np.array(image.shape) * rng.uniform((0.38, 0.4, 0.4), (0.62, 0.6, 0.6))
        radii_mm = rng.uniform(7, 15, 3)
        position_mm = (np.indices(image.shape).T - centre) * SPACING_MM
        mask = (((position_mm / radii_mm) ** 2).sum(-1) < 1).T.astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), str(path).replace("_FLAIR", "_label-lesion_mask"))


def fill(folder: Path, filler: Filler) -> Path:
    """Fills six phantoms in a folder; returns the page."""
    paths = write_phantoms(folder / "in", "mri", subjects=6, slices=40, seed=3, shape=(224, 256), spacing_mm=SPACING_MM)
    write_masks(paths)
    cohort = Cohort(image=str(folder / "in"), mask=str(folder / "in"), output=folder / "out", bids=False)
    fill_cohort(cohort, Filling(), Shard(), lambda: Spoilt(filler, "sub-004"))
    return folder / "out" / "report.html"


def main() -> None:
    runtime.set_up()
    given = flags.FLAGS
    output = outputs.file(given.output)
    filler = load_filler(None, given.model, given.system, "best")
    with tempfile.TemporaryDirectory() as folder:
        page = fill(Path(folder), filler)
        screenshot(page, output, width=1120, height=900, dark=given.dark, prepare=_press_keys)


def _press_keys(page: Any) -> None:
    """Presses the keys that a flag gives; `page` is Playwright's."""
    for key in flags.FLAGS["keys"].value:
        page.keyboard.press(key)
    page.wait_for_timeout(1000)


def define_flags() -> None:
    flags.DEFINE_string("model", None, "model that fills")
    flags.DEFINE_string("system", None, "instead of --model: classical fill")
    flags.DEFINE_string("output", None, "PNG file to write")
    flags.DEFINE_string("keys", "", "keys to press first, for example jd for the difference of the first scan")
    flags.DEFINE_boolean("dark", False, "the dark look")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"])
