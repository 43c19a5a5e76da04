"""Values derived from a scan and its mask are computed once."""

import numpy as np
import pytest

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.inpainting import tiles
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.scan import inpaint_file
from tests.inpainting.test_scan import constant, generator, job, ramp, square, write


def test_window_and_tiles_of_a_scan_are_computed_once_for_warnings_fill_and_samples(tmp_path, monkeypatch):
    write(tmp_path / "scan.nii.gz", ramp())
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    calls = {"windows": 0, "tilings": 0}

    def counted(name, function):
        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(scans, "intensity_window", counted("windows", scans.intensity_window))
    monkeypatch.setattr(tiles, "cover", counted("tilings", tiles.cover))
    planes = ("axial", "coronal", "sagittal")
    report = inpaint_file(LearnedFiller(generator(constant(0.0))), job(tmp_path), Filling(planes=planes, samples=2))
    expected = sum(int(square().any(axes).sum()) for axes in ((0, 1), (0, 2), (1, 2)))
    assert report["slices"] == expected
    assert calls == {"windows": 1, "tilings": expected}


def test_slices_of_more_pixels_than_the_bound_are_refused(tmp_path, monkeypatch):
    """Five slices of 30 x 26 voxels, in a header's spacing of 100 mm."""
    write(tmp_path / "scan.nii.gz", ramp(), spacing=(100.0, 100.0, 100.0))
    write(tmp_path / "mask.nii.gz", square().astype(float), spacing=(100.0, 100.0, 100.0), dtype=np.uint8)
    monkeypatch.setenv(memory.VARIABLE, "1")
    resampling = generator(constant(0.0), resample_mm=1.0)
    with pytest.raises(UserError, match=r"each axial slice of 2600 x 3000 pixels takes 1\.9 GiB"):
        inpaint_file(LearnedFiller(resampling), job(tmp_path), Filling())
