"""From volumes to records: splits, resuming, shards, and refused input."""

import dataclasses
import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core import files, json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.data import dataset_file, pipeline, preparation, records
from ipmedgan_jax.data.holes import box_mask
from ipmedgan_jax.data.preparation import prepare, prepare_shard
from ipmedgan_jax.data.subjects import split_subjects, subject_of, volume_names
from ipmedgan_jax.imaging import nifti, scans
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.imaging.input_files import list_input_files
from ipmedgan_jax.imaging.settings import PreparationSettings
from tests.inpainting.test_scan import write

SHARED = Path(__file__).parents[3] / "shared" / "data"
SMALL = PreparationSettings(modality="mri", image_size=16, percentiles=(0, 100))
MANY = [f"sub-{number:02d}" for number in range(20)]


def scan(path: Path, *, seed: int = 0, lowest: int = 0) -> Path:
    array = np.zeros((20, 20, 6), np.int16)
    array[5:15, 5:15, 1:] = np.random.default_rng(seed).integers(100, 200, (10, 10, 5))
    array[0, 0, 0] = lowest
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return path


@pytest.fixture
def scan_paths(tmp_path) -> list[Path]:
    """Four subjects of two visits each."""
    return [
        scan(tmp_path / f"in/sub-{s}/ses-{v}/anat/sub-{s}_ses-{v}_FLAIR.nii.gz", seed=10 * s + v)
        for s in (1, 2, 3, 4)
        for v in (1, 2)
    ]


def test_both_visits_of_a_subject_are_on_one_side_and_every_intensity_comes_back(scan_paths, tmp_path):
    dataset = prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    assert {split: len(names) for split, names in dataset.subjects.items()} == {"train": 2, "validation": 1, "test": 1}
    assert dataset.slices == {"train": 20, "validation": 10, "test": 10}
    assert dataset_file.load_dataset(tmp_path / "out") == dataset
    for split in records.SPLITS:
        for path in records.shard_paths(tmp_path / "out", split):
            prepared = dataset.volumes[path.stem]
            source = PLANES["axial"](scans.read_volume(prepared.source).array)[:, 2:18, 2:18]
            for record in records.read_shard(path):
                assert record.subject in dataset.subjects[split]
                np.testing.assert_array_equal(record.intensities(), source[record.index])
    assert "8 mri volumes, 40 slices of 16x16 kept, 8 left out" in preparation.summary(dataset)


def test_whole_slices_are_kept_for_windows_and_small_ones_are_padded_with_air(tmp_path):
    path = scan(tmp_path / "in/sub-1/sub-1_FLAIR.nii.gz")
    paths = [path, *(scan(tmp_path / f"in/sub-{s}/sub-{s}_FLAIR.nii.gz", seed=s) for s in (2, 3))]
    source = PLANES["axial"](scans.read_volume(path).array)
    for side, shape, corner in ((16, (20, 20), 0), (32, (32, 32), 6)):
        windowed = dataclasses.replace(SMALL, image_size=side, fit="window")
        dataset = prepare(windowed, paths, tmp_path / f"out{side}", progress=False)
        assert (dataset.image_size, dataset.keeps_whole_slices, dataset.settings["fit"]) == (side, True, "window")
        found = 0
        for shard in (tmp_path / f"out{side}").glob("*/sub-1*.arrayrecord"):
            for record in records.read_shard(shard):
                assert record.image().shape == shape
                inner = (slice(corner, corner + 20),) * 2
                np.testing.assert_array_equal(record.intensities()[inner], source[record.index])
                around = np.ones(shape, bool)
                around[inner] = False
                assert (record.image()[around] == -1).all()
                found += 1
        assert found == 5
        assert f"3 mri volumes, 15 whole slices, for windows of {side}x{side}, kept, 3 left out" in preparation.summary(
            dataset
        )


def test_a_second_call_makes_nothing_and_an_interrupted_one_only_the_rest(scan_paths, tmp_path):
    first = prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    shards = sorted((tmp_path / "out").glob("*/*.arrayrecord"))
    (tmp_path / "out/dataset.json").rename(tmp_path / "out/dataset.json.partial")
    files.write_json(tmp_path / "out/dataset.json.partial", first.settings)  # as if interrupted before the end
    shards[0].unlink()
    times = {path: path.stat().st_mtime_ns for path in shards[1:]}
    more_workers = dataclasses.replace(SMALL, workers=1)
    for _ in range(2):
        assert prepare(more_workers, scan_paths, tmp_path / "out", progress=False) == first
    assert {path: path.stat().st_mtime_ns for path in shards[1:]} == times
    assert shards[0].is_file()


def test_a_damaged_shard_is_made_again(scan_paths, tmp_path):
    first = prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    shard = next((tmp_path / "out").glob("*/*.arrayrecord"))
    whole = shard.read_bytes()
    for damaged in (b"", whole[:-100]):
        shard.write_bytes(damaged)
        assert prepare(SMALL, scan_paths, tmp_path / "out", progress=False) == first
        assert len(list(records.read_shard(shard))) == first.volumes[shard.stem].slices


def test_the_dataset_says_where_each_volume_came_from_and_its_spacing(scan_paths, tmp_path):
    settings = dataclasses.replace(SMALL, fit="scale")
    volume = prepare(settings, scan_paths, tmp_path / "out", progress=False).volumes["sub-1_ses-1_FLAIR"]
    assert (volume.orientation, volume.source_spacing_mm) == ("RAS", (1.0, 1.0, 1.0))
    assert volume.spacing_mm == pytest.approx((20 / 16, 20 / 16, 1.0))
    assert volume.sha256 == hashlib.sha256(scan_paths[0].read_bytes()).hexdigest()


def test_records_of_oblong_voxels_have_square_pixels_and_their_intensities_in_the_file_s_scaling(tmp_path):
    """Rows (Y) are 2 mm apart and columns (X) 0.5 mm; a square in millimetres is a square in the records."""
    paths = []
    for s in (1, 2, 3):
        hounsfield = np.full((64, 16, 4), -1000.0)
        hounsfield[16:48, 4:12] = 500  # 16 x 16 mm
        hounsfield[16:48, 4:12, 2:] = 400 + 2 * np.arange(32)[:, None, None]
        path = tmp_path / f"sub-{s}.nii.gz"
        paths.append(write(path, hounsfield, dtype=np.int16, scaling=(2.0, -1000.0), spacing=(0.5, 2.0, 3.0)))
    assert set(np.unique(nifti.read(paths[0]).stored)) == {0, *range(700, 732), 750}
    settings = PreparationSettings(modality="ct", image_size=32, fit="crop_or_pad", resample_mm=1.0, foreground_level=0.2)
    dataset = prepare(settings, paths, tmp_path / "out", progress=False)
    record = next(records.read_shard(records.shard_paths(tmp_path / "out", "test")[0]))
    bright = record.intensities() > 0
    assert (bright.any(1).sum(), bright.any(0).sum()) == (16, 16)
    assert (record.intensities().min(), record.intensities().max()) == (-1000, 500)
    assert dataset.volumes["sub-1"].spacing_mm == (1.0, 1.0, 1.0)
    settings = dataclasses.replace(settings, fit="scale", resample_mm=0.0)
    dataset = prepare(settings, paths, tmp_path / "unresampled", progress=False)
    assert dataset.volumes["sub-1"].spacing_mm == (1.0, 4.0, 3.0)  # columns, rows, slices


# ------------------------------------------------------------------ in shards


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the content of each file, without the date and command of the provenance, and the digest that covers them."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    dataset = json.loads(found["dataset.json"])
    return found | {"dataset.json": json.dumps(dataset | {"provenance": None, "fields_sha256": None}).encode()}


def test_shards_in_any_order_make_what_one_process_makes(scan_paths, tmp_path):
    prepare(SMALL, scan_paths, tmp_path / "whole", progress=False)
    missing = [prepare_shard(SMALL, scan_paths, tmp_path / "out", Shard(i, 3), progress=False) for i in (2, 0, 1)]
    assert missing == [6, 3, 0]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_shards_may_begin_and_end_at_once(scan_paths, tmp_path):
    prepare(SMALL, scan_paths, tmp_path / "whole", progress=False)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            folder = tmp_path / f"out{_}"
            work = [pool.submit(prepare_shard, SMALL, scan_paths, folder, Shard(i, 4), progress=False) for i in range(4)]
            assert 0 in [future.result() for future in work]
            assert contents(folder) == contents(tmp_path / "whole")


def test_a_shard_that_was_killed_is_run_again(scan_paths, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert prepare_shard(SMALL, scan_paths, out, Shard(0, 2), progress=False) == 4
    made, write = [], records.write_shard

    def dies_at_the_third(path, slices):
        if len(made) == 2:
            (path.parent / f".{path.name}.unfinished").write_bytes(b"half")
            raise KeyboardInterrupt
        made.append(path)
        write(path, slices)

    monkeypatch.setattr(records, "write_shard", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        prepare_shard(dataclasses.replace(SMALL, workers=1), scan_paths, out, Shard(1, 2), progress=False)
    monkeypatch.setattr(records, "write_shard", write)
    assert not (out / "dataset.json").exists()
    assert prepare_shard(SMALL, scan_paths, out, Shard(0, 2), progress=False) == 2
    times = {path: path.stat().st_mtime_ns for path in made}
    assert prepare_shard(SMALL, scan_paths, out, Shard(1, 2), progress=False) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == times
    assert len(dataset_file.load_dataset(out).volumes) == 8
    assert not (out / "dataset.json.partial").exists()


def test_without_a_shard_all_that_is_missing_is_made(scan_paths, tmp_path):
    prepare_shard(SMALL, scan_paths, tmp_path / "out", Shard(1, 3), progress=False)
    assert len(prepare(SMALL, scan_paths, tmp_path / "out", progress=False).volumes) == 8
    assert prepare_shard(SMALL, scan_paths, tmp_path / "out", Shard(1, 3), progress=False) == 0


def test_shards_of_other_settings_or_files_are_refused(scan_paths, tmp_path):
    prepare_shard(SMALL, scan_paths, tmp_path / "out", Shard(0, 3), progress=False)
    with pytest.raises(UserError, match="prepared with fit 'crop_or_pad', now it is 'scale'"):
        prepare_shard(dataclasses.replace(SMALL, fit="scale"), scan_paths, tmp_path / "out", Shard(1, 3), progress=False)
    with pytest.raises(UserError, match="from other files than these 6: give all shards the same --input"):
        prepare_shard(SMALL, scan_paths[:6], tmp_path / "out", Shard(1, 3), progress=False)
    assert len(prepare(SMALL, scan_paths[:6], tmp_path / "out", progress=False).volumes) == 6


def test_settings_are_there_before_any_record(scan_paths, tmp_path, monkeypatch):
    seen, write = [], records.write_shard

    def watched(path, slices):
        seen.append(json_fields.read(tmp_path / "out" / "dataset.json.partial"))
        write(path, slices)

    monkeypatch.setattr(records, "write_shard", watched)
    prepare_shard(SMALL, scan_paths, tmp_path / "out", Shard(0, 3), progress=False)
    assert len(seen) == 3
    assert all(SMALL.recorded().items() <= settings.items() for settings in seen)


def test_the_command_says_what_other_shards_have_still_to_make(command, scan_paths, tmp_path):
    flags = ("--config=configs/small.py", "--config.data.image_size=32", f"--input={tmp_path}/in/**/*.nii.gz")
    done = command("prepare", *flags, "--config.modality=ct", f"--output={tmp_path}/out", "--shard=2/3")
    assert done.returncode == 0, done.stderr
    assert "data.foreground_level 0.05 is -850 HU: a foam headrest and hair count as head" in done.stderr
    assert done.stdout == f"{tmp_path}/out: this shard is done; 5 of 8 volumes of other shards are still missing\n"


def test_a_volume_almost_without_contrast_is_named(scan_paths, tmp_path):
    array = np.full((40, 40, 6), 0.5, np.float32)
    array[0, :4] = -np.arange(24).reshape(4, 6)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), scan_paths[2])
    with pytest.raises(UserError, match=f"{scan_paths[2].name}: nearly every voxel is 0.5: a mask rather than a scan"):
        prepare(dataclasses.replace(SMALL, percentiles=(0.5, 99.5)), scan_paths, tmp_path / "out", progress=False)


def test_a_changed_source_is_prepared_again(scan_paths, tmp_path):
    first = prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    scan(scan_paths[0], seed=99)
    second = prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    changed = [name for name in first.volumes if first.volumes[name] != second.volumes[name]]
    assert changed == ["sub-1_ses-1_FLAIR"]


def test_an_interrupted_folder_forgets_the_files_no_longer_given(scan_paths, tmp_path):
    prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    (tmp_path / "out/dataset.json").unlink()
    files.write_json(tmp_path / "out/dataset.json.partial", SMALL.recorded())
    dataset = prepare(SMALL, scan_paths[:6], tmp_path / "out", progress=False)
    assert {path.stem for path in (tmp_path / "out").glob("*/*.arrayrecord")} == set(dataset.volumes)


def test_another_preparation_in_the_same_folder_is_refused(scan_paths, tmp_path):
    prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    with pytest.raises(UserError, match="prepared with fit 'crop_or_pad', now it is 'scale'"):
        prepare(dataclasses.replace(SMALL, fit="scale"), scan_paths, tmp_path / "out", progress=False)
    with pytest.raises(UserError, match="finished dataset of 8 volumes, not the same as the 6 given"):
        prepare(SMALL, scan_paths[:6], tmp_path / "out", progress=False)
    (tmp_path / "out/dataset.json").unlink()
    with pytest.raises(UserError, match="records of unknown settings"):
        prepare(dataclasses.replace(SMALL, fit="scale"), scan_paths, tmp_path / "out", progress=False)


def test_a_damaged_file_stops_the_preparation_and_is_named(scan_paths, tmp_path):
    scan_paths[3].write_bytes(scan_paths[3].read_bytes()[:300])
    with pytest.raises(UserError, match=f"{scan_paths[3].name}: not a readable NIfTI"):
        prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    assert not (tmp_path / "out/dataset.json").exists()
    scan_paths[3].unlink()
    with pytest.raises(UserError, match=f"{scan_paths[3].name}: cannot be read"):
        prepare(SMALL, scan_paths, tmp_path / "out", progress=False)


def test_a_folder_that_cannot_be_made_is_named(scan_paths, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*cannot be written"):
        prepare(SMALL, scan_paths, tmp_path / "file" / "out", progress=False)


def test_a_folder_in_the_place_of_a_file_is_to_be_moved_away(scan_paths, tmp_path):
    (tmp_path / "dataset.json").mkdir()
    with pytest.raises(UserError, match=r"/dataset\.json: cannot be written .*; move it away"):
        prepare(SMALL, scan_paths, tmp_path, progress=False)


def test_too_little_foreground_everywhere_is_refused(scan_paths, tmp_path):
    with pytest.raises(UserError, match=r"no slice of the train split has data.min_foreground \(0.9\)"):
        prepare(dataclasses.replace(SMALL, min_foreground=0.9), scan_paths, tmp_path / "out", progress=False)


def test_the_wrong_modality_is_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        paths = [scan(tmp_path / f"sub-{s}.nii", lowest=-1000) for s in (1, 2, 3)]
        prepare(dataclasses.replace(SMALL, foreground_level=0.5), paths, tmp_path / "mri", progress=False)
        paths = [scan(tmp_path / f"sub-{s}.nii", lowest=-30) for s in (1, 2, 3)]
        prepare(dataclasses.replace(SMALL, modality="ct"), paths, tmp_path / "ct", progress=False)
    assert "values down to -1000 look like the HU of CT" in caplog.text
    assert "no value below -200, so not the usual HU" in caplog.text


def test_a_spike_does_not_take_the_codes_from_the_rest(tmp_path, caplog):
    for s in (1, 2, 3):
        array = np.zeros((20, 20, 6), np.float32)
        array[5:15, 5:15, 1:] = np.random.default_rng(s).uniform(100, 200, (10, 10, 5))
        array[3, 3, 3] = 4e8
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"sub-{s}.nii")
    settings = dataclasses.replace(SMALL, percentiles=(0, 99))
    with caplog.at_level(logging.WARNING, logger="absl"):
        prepare(settings, sorted(tmp_path.glob("*.nii")), tmp_path / "out", progress=False)
    assert "sub-1.nii: 1 voxels far outside 0 to 1" in caplog.text
    record = next(records.read_shard(records.shard_paths(tmp_path / "out", "test")[0]))
    assert len(np.unique(record.intensities()[4:12, 4:12])) > 50
    assert record.scale < 0.1


def test_the_same_file_under_two_subjects_is_warned_of(tmp_path, caplog):
    paths = [scan(tmp_path / f"sub-{s}.nii", seed=s // 3) for s in (1, 2, 3)]
    with caplog.at_level(logging.WARNING, logger="absl"):
        prepare(SMALL, paths, tmp_path / "out", progress=False)
    assert caplog.text.count("hold the same voxels, of two subjects") == 1


def test_a_link_to_a_file_that_was_not_fetched_is_named(scan_paths, tmp_path):
    link = tmp_path / "in/sub-09_FLAIR.nii.gz"
    link.symlink_to("../.git/annex/objects/xx")
    with pytest.raises(UserError, match=r"sub-09_FLAIR.nii.gz: cannot be read"):
        prepare(SMALL, list_input_files(f"{tmp_path}/in/**/*.nii.gz"), tmp_path / "out", progress=False)


@pytest.mark.parametrize("name", ["dataset.json", "dataset.json.partial"])
@pytest.mark.parametrize("text", ["x", "[" * 100_000, "{}", '{"format_version": 3}'])
def test_a_damaged_file_of_the_folder_is_set_aside_and_made_again(scan_paths, tmp_path, caplog, name, text):
    first = prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    (tmp_path / "out/dataset.json").rename(tmp_path / "out" / name)
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*.arrayrecord")}
    sealed = json_fields.sealed({}) if name.endswith("partial") else {}
    (tmp_path / "out" / name).write_text(json.dumps(sealed | {"fit": "x"}) if text == "{}" else text)
    with pytest.raises(UserError, match=rf"{name}: .*; delete .*out first"):
        prepare(dataclasses.replace(SMALL, fit="scale"), scan_paths, tmp_path / "out", progress=False)
    assert prepare(SMALL, scan_paths, tmp_path / "out", progress=False) == first
    assert f"set aside as {name}.damaged, and made again" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in shards} == shards


def test_the_split_depends_on_the_seed_alone_and_keeps_the_shares():
    splits = split_subjects(SMALL, MANY)
    assert splits == split_subjects(SMALL, reversed(MANY))
    assert [list(splits.values()).count(split) for split in records.SPLITS] == [14, 2, 4]
    assert splits != split_subjects(dataclasses.replace(SMALL, split_seed=1), MANY)


def test_listed_subjects_replace_the_shares():
    listed = dataclasses.replace(SMALL, validation_subjects=("sub-03",), test_subjects=("sub-00", "sub-01"))
    splits = split_subjects(listed, MANY)
    assert {name for name, split in splits.items() if split == "test"} == {"sub-00", "sub-01"}
    assert list(splits.values()).count("train") == 17
    numbers = dataclasses.replace(
        SMALL, validation_subjects=(3,), test_subjects=(1,)
    )  # a flag may give numbers instead of text
    assert split_subjects(numbers, "123") == {"1": "test", "2": "train", "3": "validation"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"validation_subjects": ("sub-01",), "test_subjects": ("sub-01",)},
            "subject sub-01 is in data.validation_sub",
        ),
        ({"test_subjects": ("sub-99",)}, "no file belongs to the listed subject sub-99"),
        ({"test_subjects": ("sub-01",)}, "no subjects left for the validation split"),
        ({"validation_subjects": tuple(MANY[1:]), "test_subjects": ("sub-00",)}, "no subjects left for the train"),
        ({"split_ratios": (0.0, 0.5, 0.5)}, "no subjects left for the train split: 20 in all"),
        ({"split_ratios": (1.0, 1.0, 0.0)}, "no subjects left for the test split"),
    ],
)
def test_a_split_that_cannot_be_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        split_subjects(dataclasses.replace(SMALL, **changes), MANY)


def test_two_subjects_are_too_few():
    with pytest.raises(UserError, match="no subjects left for the train split: 2 in all"):
        split_subjects(SMALL, MANY[:2])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modality", "pet"),
        ("image_size", 0),
        ("fit", "squeeze"),
        ("resample_mm", -1.0),
        ("window_hu", (100.0, 0.0)),
        ("percentiles", (0.0, 101.0)),
        ("foreground_level", 1.0),
        ("min_foreground", 2.0),
        ("split_ratios", (0.5, -0.1, 0.6)),
        ("workers", 0),
    ],
)
def test_a_setting_that_cannot_be_is_named(name, value):
    with pytest.raises(UserError, match=f"{name} is .*it must be"):
        dataclasses.replace(SMALL, **{name: value})


def test_subjects_come_from_bids_or_the_pattern():
    assert subject_of(Path("/sub-study/sub-07/ses-1/sub-07_ses-1_FLAIR.nii.gz")) == "sub-07"
    assert subject_of(Path("/data/sub-07/scan.nii")) == "sub-07"
    assert subject_of(Path("/data/patient12/scan.nii"), r"patient(\d+)") == "12"


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("", "no BIDS subject"),
        ("(", "is not a regular expression"),
        ("scan", "has no group"),
        (r"patient(\d+)", "finds no subject in this path"),
    ],
)
def test_a_file_of_no_subject_is_refused(regex, message):
    with pytest.raises(UserError, match=message):
        subject_of(Path("/data/scan.nii"), regex)


def test_volume_names_are_as_short_as_tells_them_apart():
    assert volume_names([Path("a/x.nii"), Path("a/y.nii.gz")]) == ["x", "y"]
    assert volume_names([Path("/d/a/x.nii"), Path("/d/b/x.nii")]) == ["a_x", "b_x"]
    with pytest.raises(UserError, match="several inputs have this name"):
        volume_names([Path("a/x.nii"), Path("a/x.nii.gz")])


def test_real_ct_of_thick_slices_is_prepared(tmp_path):
    paths = [SHARED / f"ct/sub-{name}/ct/sub-{name}_ct.nii.gz" for name in ("gehead", "isles339203", "isles346124")]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"{SHARED / 'ct'} is not on this machine")
    settings = PreparationSettings(modality="ct", image_size=64, fit="scale", resample_mm=4.0)
    dataset = prepare(settings, paths, tmp_path / "out", progress=False)
    assert all(dataset.slices.values())
    assert {volume.window for volume in dataset.volumes.values()} == {(-1000.0, 2000.0)}


# ------------------------------------------------------------------ head, background, masks to avoid


def save_ball(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 3, 1])), path)
    return path


def ball(shape=(48, 48, 12)) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij"))
    return (grid**2).sum(0) < 0.5


@pytest.mark.parametrize("background", [0.0, -0.5, 0.7])
def test_z_scored_brains_in_a_background_keep_the_slices_that_show_brain(tmp_path, background):
    paths = []
    for s in (1, 2, 3):
        array = np.where(ball(), np.random.default_rng(s).standard_normal((48, 48, 12)), background).astype(np.float32)
        paths.append(save_ball(tmp_path / f"sub-{s}_FLAIR.nii", array))
    settings = PreparationSettings(modality="mri", image_size=64, resample_mm=0.0)
    dataset = prepare(settings, paths, tmp_path / "out", progress=False)
    shows_brain = np.flatnonzero(ball().any((0, 1)))
    for record in records.read_shard(records.shard_paths(tmp_path / "out", "test")[0]):
        assert record.index in shows_brain
        np.testing.assert_allclose(record.intensities()[[0, -1]], background, atol=1e-3)  # the padding is air too
        assert record.head[8:-8, 8:-8].mean() == pytest.approx(ball()[:, :, record.index].mean(), abs=0.05)
    assert all(volume.left_out >= 12 - len(shows_brain) > 0 for volume in dataset.volumes.values())


def test_bright_noise_is_no_foreground_and_no_place_for_a_hole(tmp_path):
    paths = []
    for s in (1, 2, 3):
        rng = np.random.default_rng(s)
        noise = 60 * rng.standard_normal((48, 48, 12))
        array = np.where(ball(), 500 + noise, np.abs(noise))
        paths.append(save_ball(tmp_path / f"sub-{s}_FLAIR.nii", array.astype(np.int16)))
    settings = PreparationSettings(modality="mri", image_size=64, resample_mm=0.0)
    holes = pipeline.HoleSettings(16, -0.9, 0.0, 0.3, 0)
    outside = {}
    for mode in ("head", "threshold"):
        folder = tmp_path / mode
        prepare(dataclasses.replace(settings, foreground=mode), paths, folder, progress=False)
        inside = [
            np.pad(PLANES["axial"](ball())[item.record.index], 8)[box_mask(item.hole, (64, 64))].mean()
            for item in pipeline.evaluation_slices(folder, "test", holes)
        ]
        outside[mode] = np.mean(np.array(inside) < 0.2)
    assert outside["head"] == 0 < outside["threshold"]


def test_a_volume_that_is_all_head_is_warned_of(tmp_path, caplog):
    for s in (1, 2, 3):
        array = np.random.default_rng(s).uniform(900, 1000, (20, 20, 6))
        array[0, 0] = 0
        save_ball(tmp_path / f"sub-{s}.nii", array.astype(np.float32))
    with caplog.at_level(logging.WARNING, logger="absl"):
        prepare(SMALL, sorted(tmp_path.glob("*.nii")), tmp_path / "out", progress=False)
    assert "of its voxels count as head, air too if there is any: set its background to one value" in caplog.text


def write_masks(scan_paths: list[Path], *, value: int = 1) -> list[Path]:
    masks = []
    for path in scan_paths:
        array = np.zeros((20, 20, 6), np.uint8)
        array[6:8, 10:14, 2:4] = value
        masks.append(path.with_name(path.name.replace("FLAIR", "label-lesion_mask")))
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), masks[-1])
    return masks


def test_masks_to_avoid_are_stored_with_the_slices(scan_paths, tmp_path):
    dataset = prepare(SMALL, scan_paths, tmp_path / "out", avoid=write_masks(scan_paths[:6]), progress=False)
    assert dataset.has_avoided
    for name, volume in dataset.volumes.items():
        masked = name[:5] != "sub-4"
        assert bool(volume.avoided) == masked
        array = np.zeros((20, 20, 6), bool)
        array[6:8, 10:14, 2:4] = True
        expected = PLANES["axial"](array)[:, 2:18, 2:18]
        for record in records.read_shard(tmp_path / "out" / volume.split / f"{name}.arrayrecord"):
            assert (record.avoid is not None) == masked
            if masked:
                np.testing.assert_array_equal(record.avoid, expected[record.index])


def test_other_masks_are_another_preparation(scan_paths, tmp_path):
    masks = write_masks(scan_paths)
    first = prepare(SMALL, scan_paths, tmp_path / "out", avoid=masks, progress=False)
    assert prepare(SMALL, scan_paths, tmp_path / "out", avoid=masks, progress=False) == first
    with pytest.raises(UserError, match=r"prepared with other masks of holes\.avoid, or none; choose another output"):
        prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    plain = prepare(SMALL, scan_paths, tmp_path / "plain", progress=False)
    assert plain.fingerprint != first.fingerprint
    (tmp_path / "out/dataset.json").rename(tmp_path / "out/dataset.json.partial")
    files.write_json(tmp_path / "out/dataset.json.partial", first.settings)  # as if interrupted before the end
    assert prepare(SMALL, scan_paths, tmp_path / "out", progress=False).fingerprint == plain.fingerprint
    assert all(
        record.avoid is None for path in records.shard_paths(tmp_path / "out", "train") for record in records.read_shard(path)
    )


def test_a_folder_prepared_with_the_threshold_is_not_taken_for_one_with_heads(scan_paths, tmp_path):
    older = dataclasses.replace(SMALL, foreground="threshold")
    assert "foreground" not in prepare(older, scan_paths, tmp_path / "out", progress=False).settings
    with pytest.raises(UserError, match="prepared with foreground 'threshold', now it is 'head'"):
        prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    record = next(records.read_shard(records.shard_paths(tmp_path / "out", "test")[0]))
    assert record.head is None


def test_a_mask_that_is_a_scan_is_refused_and_one_of_much_of_the_head_is_named(scan_paths, tmp_path, caplog):
    with pytest.raises(UserError, match=r"holes.avoid: .* is a scan of --input; name masks alone"):
        prepare(SMALL, scan_paths, tmp_path / "out", avoid=scan_paths[:1], progress=False)
    mask = scan_paths[0].with_name(scan_paths[0].name.replace("FLAIR", "mask"))
    scan = nibabel.load(scan_paths[0])
    nibabel.save(nibabel.Nifti1Image(np.ones(scan.shape, np.uint8), scan.affine), mask)
    prepare(SMALL, scan_paths, tmp_path / "out", avoid=[mask], progress=False)
    assert f"{scan_paths[0]}: 100 % of its head is marked by holes.avoid" in caplog.text


def test_slices_of_pixels_far_from_square_are_named(scan_paths, tmp_path, caplog):
    scan = nibabel.load(scan_paths[0])
    nibabel.save(nibabel.Nifti1Image(scan.get_fdata(dtype=np.float32), np.diag([6.0, 1.0, 1.0, 1.0])), scan_paths[0])
    prepare(dataclasses.replace(SMALL, resample_mm=0.0), scan_paths, tmp_path / "out", progress=False)
    named = [line for line in caplog.messages if "far from square" in line]
    assert len(named) == 1
    assert named[0].startswith(f"{scan_paths[0]}: its axial slices have pixels of 1 x 6 mm")


def test_air_of_another_value_than_the_padding_is_named(scan_paths, tmp_path, caplog):
    rows, columns = np.mgrid[:40, :40] - 20
    head = np.broadcast_to((np.hypot(rows, columns) < 10)[..., None], (40, 40, 6))
    field = np.broadcast_to((np.hypot(rows, columns) < 16)[..., None], (40, 40, 6))
    noise = np.random.default_rng(0).normal(0, 20, head.shape)
    for path, padding in zip(scan_paths, (0, -1000), strict=False):
        array = np.where(field, np.where(head, 40, -1000) + noise, padding).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    ct = dataclasses.replace(SMALL, modality="ct", foreground_level=1 / 6)
    prepare(ct, scan_paths, tmp_path / "out", progress=False)
    named = [line for line in caplog.messages if "as dark as air" in line]
    assert len(named) == 1
    assert named[0].startswith(str(scan_paths[0]))


def test_a_shard_does_not_finish_a_folder_of_volumes_without_their_masks(scan_paths, tmp_path):
    masks = write_masks(scan_paths)
    prepare_shard(SMALL, scan_paths, tmp_path / "masked", Shard(0, 3), avoid=masks, progress=False)
    prepare(SMALL, scan_paths, tmp_path / "out", progress=False)
    (tmp_path / "out/dataset.json").unlink()  # as if one with masks had been begun in the same folder, and interrupted
    (tmp_path / "masked/dataset.json.partial").rename(tmp_path / "out/dataset.json.partial")
    shard = Shard(2, 3)
    missing = prepare_shard(SMALL, scan_paths, tmp_path / "out", shard, avoid=masks, progress=False)
    assert missing == len(scan_paths) - len(shard.share(scan_paths))
    assert not (tmp_path / "out/dataset.json").exists()


def test_the_command_takes_the_masks_to_avoid(command, scan_paths, tmp_path):
    write_masks(scan_paths)
    flags = ("--config=configs/small.py", "--config.data.image_size=32", f"--input={tmp_path}/in/**/*_FLAIR.nii.gz")
    avoid = f"--config.holes.avoid={tmp_path}/in/**/*_mask.nii.gz"
    done = command("prepare", *flags, avoid, f"--output={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert dataset_file.load_dataset(tmp_path / "out").has_avoided
