"""The package's own models: how --model finds them, and that each of them is complete, small and fills."""

import json
import logging
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

import ipmedgan_jax
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import phantom
from ipmedgan_jax.inpainting import load, scan, shipped
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller

LARGEST = 25_000_000
"""Bytes of a model in the wheel."""


def plant(folder):
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


@pytest.fixture
def package_models(tmp_path, monkeypatch):
    """A package with two models; the working folder is another, empty one."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "package")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return [plant(tmp_path / "package" / name) for name in ("flair", "head_ct")]


def test_a_name_is_a_model_of_the_package(package_models):
    assert shipped.names() == ["flair", "head_ct"]
    assert shipped.find("flair") == package_models[0]
    assert shipped.label(package_models[0]) == "ipmedgan_jax/models/flair"
    assert shipped.flag_text().startswith("flair, head_ct, or a folder")
    Path("flair").mkdir()  # of scans, for example
    assert shipped.find("flair") == package_models[0]


def test_a_user_s_own_model_wins_with_a_warning(package_models, caplog):
    plant(Path("flair"))
    with caplog.at_level(logging.WARNING):
        assert shipped.find("flair") == Path("flair")
    assert "not the model of the package" in caplog.text
    caplog.clear()
    assert shipped.find("./flair") == Path("flair")
    assert not caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("flare", r"--model=flare: not found; .*package's models: flair, head_ct; did you mean flair\?$"),
        ("models/mine", r"--model=models/mine: not found; .*package's models: flair, head_ct$"),
    ],
)
def test_an_unknown_name_lists_the_models(package_models, given, message):
    with pytest.raises(UserError, match=message):
        load.load(None, given, "best")


def test_without_models_a_folder_is_expected(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    assert (shipped.names(), shipped.flag_text()) == ([], "folder")
    with pytest.raises(UserError, match=r"--model=x: not found; expected a folder of python -m ipmedgan_jax\.export$"):
        shipped.find("x")


# ------------------------------------------------------------------ the models themselves

needs_models = pytest.mark.skipif(not shipped.names(), reason="ipmedgan_jax/models holds no model yet")


@needs_models
@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_model_is_small_and_states_its_terms(name):
    folder = shipped.find(name)
    assert {path.name for path in folder.iterdir()} == {"model.json", "weights.safetensors", "MODEL_CARD.md"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST
    described = json.loads((folder / "model.json").read_text())
    assert (described["format_version"], described["licence"]) == (3, "CC BY 4.0")
    assert described["attribution"]
    assert not re.search(r"/(home|Users|root|work)/", json.dumps(described))
    root = Path(shipped.__file__).parents[2]
    assert 'license = "Apache-2.0 AND CC-BY-4.0 AND BSD-2-Clause' in (root / "pyproject.toml").read_text()
    card = (folder / "MODEL_CARD.md").read_text()
    assert "**Not for diagnosis**" in card
    assert "## Scores\n\nNot evaluated" not in card


@needs_models
@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_model_fills_a_head_phantom(name, tmp_path):
    generator = load.load(None, name, "best")
    modality = generator.trained.preparation.modality
    (path,) = phantom.write_phantoms(tmp_path, modality, subjects=1, slices=3, seed=0)
    image = nibabel.load(path)
    stored = np.asarray(image.dataobj)
    mask = np.zeros(stored.shape, np.uint8)
    row, column, _ = (side // 2 for side in stored.shape)
    mask[row - 6 : row + 6, column - 9 : column + 4, 1] = 1
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), tmp_path / "mask.nii.gz")
    work = Job(path, tmp_path / "mask.nii.gz", tmp_path / "filled.nii.gz")
    filler = LearnedFiller(generator)
    report = scan.inpaint_file(filler, work, Filling())
    with pytest.warns(ipmedgan_jax.FillWarning):
        nibabel.save(ipmedgan_jax.fill(image, mask, filler), tmp_path / "by_python.nii.gz")
    assert (tmp_path / "by_python.nii.gz").read_bytes() == work.output.read_bytes()
    assert report["run"] == f"ipmedgan_jax/models/{name}"
    filled = np.asarray(nibabel.load(work.output).dataobj)
    np.testing.assert_array_equal(filled[mask == 0], stored[mask == 0])
    truth, found = (array[mask > 0].astype(float) for array in (stored, filled))
    assert np.abs(found - truth).mean() < np.abs(stored.min() - truth).mean()  # nearer to tissue than to air
