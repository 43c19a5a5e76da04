"""The package's own models: how --model finds them, and that each of them is complete, small and fills."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.scans import Volume
from ipmedgan_jax.inpainting import exported_weights, load, shipped
from ipmedgan_jax.inpainting.fill import inpaint_volume
from ipmedgan_jax.inpainting.masked_volume import MaskedVolume

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
    assert 'license = "Apache-2.0 AND CC-BY-4.0"' in (root / "pyproject.toml").read_text()
    card = (folder / "MODEL_CARD.md").read_text()
    assert "**Not for diagnosis**" in card
    assert "## Scores\n\nNot evaluated" not in card


@needs_models
@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_model_fills_a_made_up_scan(name):
    generator = exported_weights.read(shipped.find(name))
    side = generator.trained.preparation.image_size
    smooth = np.linspace(0, 900, side, dtype=np.float32)
    array = np.broadcast_to((smooth + smooth[:, None])[..., None], (side, side, 2)).copy()
    mask = np.zeros(array.shape, bool)
    mask[side // 2 - 5 : side // 2 + 5, side // 2 - 8 : side // 2 + 4, 1] = True
    volume = Volume(Path("made.nii"), array, (1.0, 1.0, 1.0), "RAS", True)
    filled = inpaint_volume(generator.inpaint, MaskedVolume(generator.trained, volume, mask, ("axial",)))
    np.testing.assert_array_equal(filled[~mask], array[~mask])
    assert np.isfinite(filled).all()
    assert np.abs(filled - array)[mask].mean() < 450  # a quarter of the range
