"""One scan and mask, filled by the command, the BIDS App, the Python call and the page: the same bytes."""

import json

import nibabel
import pytest
from view_client import serving, write_scan

import ipmedgan_jax


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


@pytest.mark.filterwarnings("ignore::ipmedgan_jax.FillWarning")  # pixels are not square
@pytest.mark.parametrize(("grid", "dtype", "slope"), [("RAS", "<i2", None), ("LPI", ">i2", 0.5), ("oblique", "<f4", None)])
def test_every_way_to_fill_writes_the_same_bytes(command, client, tmp_path, grid, dtype, slope):
    image, mask = write_scan(tmp_path / "raw/sub-01/anat", "sub-01_FLAIR.nii.gz", grid, dtype=dtype, slope=slope)
    (tmp_path / "raw/dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))
    (tmp_path / "masks").mkdir()
    mask = mask.rename(tmp_path / "masks/sub-01_label-lesion_mask.nii.gz")
    options = ("--system=laplace", "--dilate_mm=1.5")

    done = command("inpaint", f"--image={image}", f"--mask={mask}", f"--output={tmp_path}/filled.nii.gz", *options)
    assert not done.returncode, done.stderr
    expected = (tmp_path / "filled.nii.gz").read_bytes()
    assert expected != image.read_bytes()

    app = ("--mask-dir", tmp_path / "masks", "--system", "laplace", "--dilate-mm", "1.5", "--skip-bids-validation")
    done = command("bids", tmp_path / "raw", tmp_path / "derivative", "participant", *app)
    assert not done.returncode, done.stderr
    (of_app,) = (tmp_path / "derivative").rglob("*_desc-inpainted_FLAIR.nii.gz")
    assert of_app.read_bytes() == expected

    filled = ipmedgan_jax.fill(nibabel.load(image), nibabel.load(mask), system="laplace", dilate_mm=1.5)
    nibabel.save(filled, tmp_path / "of_python.nii.gz")
    assert (tmp_path / "of_python.nii.gz").read_bytes() == expected

    client.open(image)
    assert client.fill(mask.read_bytes(), "source=system:laplace&dilate_mm=1.5")["state"] == "done"
    assert client.get("api/save/filled") == expected
