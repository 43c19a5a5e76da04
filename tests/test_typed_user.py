"""A script of a user's is checked against the package's types, as its author's mypy does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ipmedgan_jax

pytest.importorskip("mypy")

SETTINGS = """
[mypy]
ignore_missing_imports = true
follow_imports = silent
[mypy-jax.*,flax.*,optax.*,orbax.*,scipy.*,skimage.*,cv2.*,grain.*]
follow_imports = skip
"""

SCRIPT = """
import nibabel
import numpy as np
import ipmedgan_jax

flair = ipmedgan_jax.load_model("flair")
image = ipmedgan_jax.fill("scan.nii.gz", "mask.nii.gz", flair, dilate_mm=2, planes=["axial"])
reveal_type(image)
reveal_type(ipmedgan_jax.fill(np.zeros((3, 3, 3)), [[[1]]], system="laplace", affine=np.eye(4)))
details = ipmedgan_jax.fill_with_details(nibabel.load("scan.nii.gz"), "mask.nii.gz", "flair", samples=4)
reveal_type(details.deviation)
ipmedgan_jax.fill_file("scan.nii.gz", "mask.nii.gz", "filled.nii.gz", flair)["warnings"]
ipmedgan_jax.fill("scan.nii.gz", "mask.nii.gz", flair, dilate=2)
ipmedgan_jax.fill(np.zeros((3, 3, 3)), "mask.nii.gz", flair)
ipmedgan_jax.fil
"""


@pytest.mark.slow
def test_editors_and_mypy_see_the_signatures(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "script.py"]
    environment = os.environ | {"MYPYPATH": str(Path(ipmedgan_jax.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=280)
    text = done.stdout
    lines = text.splitlines()
    assert [line.split('"')[1] for line in lines if "Revealed type" in line] == [
        "nibabel.spatialimages.SpatialImage",
        "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]",
        "nibabel.spatialimages.SpatialImage | None",
    ], text
    errors = {int(line.split(":")[1]) for line in lines if ": error:" in line}
    assert errors == {13, 14, 15}, text
