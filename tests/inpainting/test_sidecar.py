"""A sidecar says what made its output, and a rerun that asks for something else is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.provenance import digest_of_path
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting import sidecar
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.model import Generator, Trained

SETTINGS = PreparationSettings("ct", image_size=32, resample_mm=0.0)
TRAINING = {"lowest_spacing_mm": [0.1] * 3, "highest_spacing_mm": [99.0] * 3, "phantom": False, "slices_seen": 5000}
GENERATOR = Generator(
    "made up",
    7,
    "runs/ct",
    Trained(SETTINGS, 8, trained_on_any_shape=True, batch_size=3),
    TRAINING,
    lambda batch: np.zeros_like(batch["image"]),
    "0" * 64,
)
FINDER = LoadedFinder(
    "finder", 5, "runs/finder", SETTINGS, 3, lambda images: (images > 0.5).astype(np.float32), weights_sha256="1" * 64
)


def write_scan(folder, name, seed=0, last_row=12):
    """Writes a scan, with metal at 3000 HU, and its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(-1000, 200, (20, 20, 3)).astype(np.int16)
    mask = np.zeros(array.shape, np.uint8)
    mask[8:last_row, 8:12, 1] = 1
    array[4:8, 4:8, 1] = 3000
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}_ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"{name}_mask.nii.gz")


@pytest.fixture
def fill(tmp_path):
    """A function (generator, filling, overwrite, finder) that fills two scans below `tmp_path/in`; masks by default."""
    for seed in (1, 2):
        write_scan(tmp_path / "in", f"sub-{seed}", seed)

    def run(generator=GENERATOR, filling=None, *, overwrite=False, finder=None, image="in", save_masks=False):
        filling = filling or Filling()
        masked = finder is None and filling.mask.above_hu is None
        cohort = Cohort(
            image=str(tmp_path / image),
            mask=str(tmp_path / "in") if masked else None,
            output=tmp_path / "out",
            overwrite=overwrite,
            save_masks=save_masks,
            report=False,
        )
        fill_cohort(cohort, filling, Shard(), lambda: LearnedFiller(generator), (lambda _: finder) if finder else None)
        return contents(tmp_path / "out")

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def other_content(tmp_path, name):
    write_scan(tmp_path / "other", "sub-2", seed=3, last_row=13)
    shutil.copy(tmp_path / "other" / name, tmp_path / "in" / name)


CHANGES = {
    "system": ({"generator": replace(GENERATOR, name="unet")}, "system was made up, is now unet"),
    "step": ({"generator": replace(GENERATOR, step=8)}, "step was 7, is now 8"),
    "weights": ({"generator": replace(GENERATOR, weights_sha256="a" * 64)}, "the weights' SHA-256 was 0000000000..., is"),
    "dilation": ({"filling": Filling(mask=MaskChoice(dilate_mm=3.0))}, "--dilate_mm was 0.0, is now 3.0"),
    "labels": ({"filling": Filling(mask=MaskChoice(labels=(1,)))}, "--mask_labels was none, is now 1"),
    "planes": ({"filling": Filling(planes=("axial", "coronal"))}, "--planes was axial, is now axial,coronal"),
    "samples": ({"filling": Filling(samples=2)}, "--samples was 0, is now 2"),
    "level": ({"filling": Filling(mask=MaskChoice(above_hu=2000.0))}, "--mask_above_hu was none, is now 2000.0"),
    "image": ("sub-2_ct.nii.gz", "the image's SHA-256 was"),
    "mask": ("sub-2_mask.nii.gz", "the mask's SHA-256 was"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_rerun_that_asks_otherwise_is_refused_before_any_work(fill, tmp_path, caplog, name):
    change, message = CHANGES[name]
    before = fill()
    write_scan(tmp_path / "in", "sub-3")  # not filled yet
    if isinstance(change, str):
        other_content(tmp_path, change)
        change = {}
    with pytest.raises(UserError, match=r"of 2 outputs that exist were made otherwise .* give --overwrite"):
        fill(**change)
    assert message in caplog.text
    assert contents(tmp_path / "out") == before
    fill(**change, overwrite=True)
    after = contents(tmp_path / "out")
    assert after["sub-2_desc-inpainted_ct.json"] != before["sub-2_desc-inpainted_ct.json"]
    assert fill(**change) == after  # the same again: nothing is filled


def test_another_finder_or_threshold_is_another_mask(fill, caplog):
    fill(finder=FINDER)
    for changed in ({"finder": replace(FINDER, weights_sha256="2" * 64)}, {}):
        caplog.clear()
        with pytest.raises(UserError, match="2 of 2 outputs"):
            fill(**changed)
        assert "the finder's SHA-256 was 1111111111..., is now" in caplog.text


def test_the_same_rerun_skips_and_fills_what_is_new(fill, tmp_path):
    before = fill()
    write_scan(tmp_path / "in", "sub-3")
    shutil.move(tmp_path / "in", tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "in")
    after = fill(replace(GENERATOR, source="elsewhere/ct"))
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"sub-3_desc-inpainted_ct.{end}" for end in ("json", "nii.gz")}


def test_a_batch_that_matches_one_scan_is_skipped_as_one_of_many(fill):
    before = fill(image="in/sub-1*_ct.nii.gz")
    assert fill(image="in/sub-1*_ct.nii.gz") == before


def test_an_input_that_is_gone_is_named(fill, tmp_path, caplog):
    fill()
    (tmp_path / "in" / "sub-1_ct.nii.gz").unlink()
    (tmp_path / "in" / "sub-1_ct.nii.gz").symlink_to("../.git/annex/objects/x")
    with pytest.raises(UserError, match=r"1 image not filled"):
        fill()
    assert "sub-1_ct.nii.gz: cannot be read" in caplog.text
    assert "its output" in caplog.text


ADDED = (
    "written_sha256",
    "weights_sha256",
    "image_sha256",
    "mask_sha256",
    "mask_above_hu",
    "finder_sha256",
    "training",
    "provenance",
)


def make_old(folder):
    """Turns sidecars into those of the first version."""
    for path in folder.glob("*.json"):
        saved = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in saved.items() if key not in ADDED}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": replace(GENERATOR, source="runs/other")}, "run was runs/ct, is now runs/other"),
        ({"generator": replace(GENERATOR, step=8)}, "step was 7, is now 8"),
        ({"filling": Filling(mask=MaskChoice(above_hu=2000.0))}, "is now above 2000 HU"),
        ({}, ""),
    ],
)
def test_outputs_of_the_first_version_are_compared_by_their_paths(fill, tmp_path, caplog, change, message):
    fill()
    make_old(tmp_path / "out")
    before = contents(tmp_path / "out")
    if message:
        with pytest.raises(UserError, match="2 of 2 outputs"):
            fill(**change)
        assert message in caplog.text
    assert fill() == before


def test_the_sidecar_holds_digests_provenance_and_training_but_no_home(fill, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    trained_on = TRAINING | {"subjects": 9, "slices": 300, "contrasts": ["CT"]}
    text = fill(replace(GENERATOR, training_data=trained_on, source=str(tmp_path / "run")))["sub-1_desc-inpainted_ct.json"]
    report = json.loads(text)
    assert (report["image"], report["run"]) == ("~/in/sub-1_ct.nii.gz", "~/run")
    assert report["image_sha256"] == digest_of_path(tmp_path / "in" / "sub-1_ct.nii.gz")
    assert report["mask_sha256"] == digest_of_path(tmp_path / "in" / "sub-1_mask.nii.gz")
    assert report["weights_sha256"] == GENERATOR.weights_sha256
    training = report["training"]
    assert (training["subjects"], training["slices"], training["steps"], training["phantom"]) == (9, 300, 7, False)
    assert {"commit", "jax", "machine", "date", "command"} <= report["provenance"].keys()
    assert str(tmp_path) not in text.decode()


def test_what_is_no_sidecar_reads_as_an_empty_one(tmp_path):
    for content in ("[]", "{", "\xff"):
        (tmp_path / "x.json").write_text(content, encoding="latin-1")
        assert sidecar.read(tmp_path / "x.json") == {}
    assert sidecar.read(Path("nowhere.json")) == {}


# ------------------------------------------------------------------ damaged outputs


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["", "_mask", "_std"])
@pytest.mark.parametrize(
    "damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-9]), lambda path: path.write_bytes(b"")]
)
def test_a_damaged_output_is_named_and_the_others_stay_finished(fill, tmp_path, caplog, name, damage):
    options = {"filling": Filling(samples=2, mask=MaskChoice(above_hu=2000.0)), "save_masks": True}
    fill(**options)
    path = tmp_path / "out" / f"sub-1_desc-inpainted_ct{name}.nii.gz"
    damage(path)
    before = contents(tmp_path / "out")
    caplog.clear()
    with pytest.raises(UserError, match="1 image not filled"):
        fill(**options)
    assert f"{path}: not as it was written, by its SHA-256 in sub-1_desc-inpainted_ct.json; move all files" in caplog.text
    assert "sub-2" not in caplog.text
    assert contents(tmp_path / "out") == before
    for file in (tmp_path / "out").glob("sub-1*"):
        file.rename(tmp_path / file.name)
    assert fill(**options).keys() == before.keys()


def test_a_missing_deviation_is_noticed(fill, tmp_path, caplog):
    fill(filling=Filling(samples=2))
    (tmp_path / "out" / "sub-1_desc-inpainted_ct_std.nii.gz").unlink()
    with pytest.raises(UserError, match="1 image not filled"):
        fill(filling=Filling(samples=2))
    assert "ct_std.nii.gz: not as it was written" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: path.unlink(),
            r"ct\.nii\.gz: exists without sub-1_desc-inpainted_ct\.json, which would say how it was made",
        ),
        (
            lambda path: path.write_text("{"),
            r"ct\.json: damaged, so that nothing says how sub-1_desc-inpainted_ct\.nii\.gz was made",
        ),
        (
            lambda path: path.with_suffix(".nii.gz").unlink(),
            r"ct\.json: exists, but sub-1_desc-inpainted_ct\.nii\.gz does not",
        ),
    ],
)
def test_an_output_without_its_sidecar_or_the_other_way_round_says_what_to_do(fill, tmp_path, spoil, message):
    fill()
    spoil(tmp_path / "out" / "sub-1_desc-inpainted_ct.json")
    with pytest.raises(
        UserError, match=message + "; move all files of this output away to fill it again, or give --overwrite"
    ):
        fill()
    assert fill(overwrite=True)
    assert fill()
