"""Damage of prepared data is noticed: changed fields and foreign shards at the start, and every record by `verify`."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, records, slice_source, verification
from ipmedgan_jax.data.preparation import prepare
from ipmedgan_jax.imaging.settings import PreparationSettings
from tests.changed_json import OTHERS, REMOVED, changed, places
from tests.data.test_preparation import SMALL, scan
from tests.old_prepared import without_digests


@pytest.fixture(scope="module")
def source_paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    return [scan(folder / f"sub-{s}_FLAIR.nii.gz", seed=s) for s in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def prepared(source_paths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepare(SMALL, source_paths, folder, progress=False)
    return folder


@pytest.fixture
def folder(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "data")


@pytest.fixture(scope="module")
def other(source_paths, tmp_path_factory):
    """The same scans with as many slices of the same size, prepared with another setting."""
    folder = tmp_path_factory.mktemp("other")
    prepare(replace(SMALL, percentiles=(1, 99)), source_paths, folder, progress=False)
    return folder


def one_train_shard(folder: Path) -> Path:
    return records.shard_paths(folder, "train")[0]


def test_every_changed_removed_or_added_field_of_dataset_json_is_noticed(folder):
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    found = list(places(content))
    assert len(found) > 120
    for place in found:
        if place == ("fields_sha256",):
            continue
        for value in (REMOVED, "other", 7):
            path.write_text(changed(content, place, value))
            with pytest.raises(UserError, match=r"dataset.json: (damaged|expected a format)"):
                dataset_file.load_dataset(folder)
    path.write_text(json.dumps(content | {"fields_sha256": "0"}))
    with pytest.raises(UserError, match="a field was changed since it was written"):
        dataset_file.load_dataset(folder)
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "fields_sha256"}))
    with pytest.raises(UserError, match="no field fields_sha256"):
        dataset_file.load_dataset(folder)


def test_any_value_in_a_dataset_json_without_a_digest_is_read_or_refused(folder):
    without_digests(folder)
    content = json.loads((folder / "dataset.json").read_text())
    refused = 0
    for place in places(content):
        for value in OTHERS:
            (folder / "dataset.json").write_text(changed(content, place, value))
            try:
                dataset = dataset_file.load_dataset(folder)
                assert dataset.fingerprint
                assert all(count >= 0 for count in dataset.slices.values())
            except UserError:
                refused += 1
    assert refused > 800


def test_a_shard_of_another_preparation_is_noticed_before_training_and_made_again(folder, other, source_paths):
    shard = one_train_shard(folder)
    whole = shard.read_bytes()
    shutil.copy(one_train_shard(other), shard)
    with pytest.raises(UserError, match=rf"{shard.name}: is of another preparation than dataset.json"):
        slice_source.SliceSource(folder, "train")
    assert prepare(SMALL, source_paths, folder, progress=False) == dataset_file.load_dataset(folder)
    assert shard.read_bytes() == whole


def test_a_shard_with_the_receipt_of_another_preparation_is_made_again(folder, other, source_paths):
    shard = one_train_shard(folder)
    whole = shard.read_bytes()
    for suffix in (".json", ".arrayrecord"):
        shutil.copy(one_train_shard(other).with_suffix(suffix), shard.with_suffix(suffix))
    prepare(SMALL, source_paths, folder, progress=False)
    assert shard.read_bytes() == whole


def test_a_receipt_with_a_changed_field_is_not_believed(folder, source_paths):
    receipt = one_train_shard(folder).with_suffix(".json")
    whole = receipt.read_bytes()
    fields = json.loads(whole)
    for place in places(fields):
        receipt.write_text(changed(fields, place, REMOVED))
        assert verification.verify(folder).problems, place
    prepare(SMALL, source_paths, folder, progress=False)
    assert receipt.read_bytes() == whole


def test_whole_data_pass_and_say_how_much_was_read(folder):
    found = verification.verify(folder)
    assert (found.problems, found.volumes, found.with_digests) == ((), 4, 4)
    assert found.slices == sum(dataset_file.load_dataset(folder).slices.values()) == 20


def damage(folder: Path, other: Path, kind: str) -> str:
    """Damages a shard; returns what is said of it."""
    shard = one_train_shard(folder)
    found = list(records.read_shard(shard))
    if kind == "missing":
        shard.unlink()
        return "missing"
    if kind == "cut":
        shard.write_bytes(shard.read_bytes()[:-70000])
        return "missing or damaged shard"
    if kind == "fewer":
        records.write_shard(shard, found[:-1])
        return "has 4 of 5 slices"
    if kind == "of another volume":
        shutil.copy(records.shard_paths(folder, "test")[0], shard)
        return f"holds slices of {records.shard_paths(folder, 'test')[0].stem}"
    if kind == "of another preparation":
        shutil.copy(one_train_shard(other), shard)
        return "is of another preparation"
    codes = found[2].codes.copy()
    codes[3, 4] ^= 1
    records.write_shard(shard, [*found[:2], replace(found[2], codes=codes), *found[3:]])
    return "its records are not those that were written"


KINDS = ("missing", "cut", "fewer", "of another volume", "of another preparation", "one bit of one pixel")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_shard_is_named_and_only_it_is_made_again(folder, other, source_paths, kind):
    shard = one_train_shard(folder)
    whole = shard.read_bytes()
    others = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.arrayrecord") if path != shard}
    text = damage(folder, other, kind)
    (problem,) = verification.verify(folder).problems
    assert problem.startswith(f"{shard}: {text}")
    prepare(SMALL, source_paths, folder, progress=False)
    assert shard.read_bytes() == whole
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert not verification.verify(folder).problems


def test_a_shard_of_no_volume_is_named(folder):
    stray = folder / "test" / "sub-9.arrayrecord"
    shutil.copy(one_train_shard(folder), stray)
    assert verification.verify(folder).problems == (f"{stray}: belongs to no volume of dataset.json; delete this file",)


@pytest.mark.parametrize("version", [1, 2])
def test_data_of_earlier_versions_open_and_say_that_they_have_no_digests(folder, source_paths, version):
    fingerprint = dataset_file.load_dataset(folder).fingerprint
    without_digests(folder, version)
    assert dataset_file.load_dataset(folder).fingerprint == fingerprint
    assert len(slice_source.SliceSource(folder, "train"))
    found = verification.verify(folder)
    assert (found.problems, found.volumes, found.with_digests) == ((), 4, 0)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.arrayrecord")}
    prepare(SMALL, source_paths, folder, progress=False)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*.arrayrecord")} == times


def test_the_command_verifies_and_names_each_damaged_file(command, folder):
    done = command("prepare", "--verify", f"--output={folder}")
    assert (done.returncode, done.stdout) == (0, f"{folder}: 4 volumes, 20 slices read, all as written\n")
    shards = [one_train_shard(folder), records.shard_paths(folder, "test")[0]]
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[:100])
    done = command("prepare", "--verify", f"--output={folder}")
    assert done.returncode == 2
    assert sorted(line.partition(": ")[0] for line in done.stdout.splitlines()) == sorted(map(str, shards))
    assert "2 damaged files; prepare the data again" in done.stderr
    done = command("prepare", "--verify", f"--output={folder / 'nowhere'}")
    assert done.returncode == 2
    assert "nowhere/dataset.json: not found; --output must name a folder" in done.stderr
    done = command("prepare", "--verify")
    assert (done.returncode, done.stderr.strip()) == (2, "error: --verify needs --output, the folder to check")


def test_settings_of_a_sealed_dataset_are_those_of_the_volumes(folder):
    content = json.loads((folder / "dataset.json").read_text())
    content["settings"]["resample_mm"] = 0.5
    (folder / "dataset.json").write_text(json.dumps(json_fields.sealed(content)))
    with pytest.raises(UserError, match=r"volume sub-1_FLAIR was prepared with other settings"):
        dataset_file.load_dataset(folder)
    assert PreparationSettings("mri", 16, percentiles=(0, 100)) == SMALL


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("suffix", [".json", ".arrayrecord"])
def test_a_pipe_or_a_device_is_listed_and_made_again(suffix, make, folder, source_paths):
    shard = one_train_shard(folder)
    path = shard.with_suffix(suffix)
    path.unlink()
    make(path)
    (problem,) = verification.verify(folder).problems
    assert problem.startswith(f"{path}: {'damaged (is a ' if suffix == '.json' else 'is no file'}")
    prepare(SMALL, source_paths, folder, progress=False)
    assert not path.is_symlink()
    assert path.is_file()
    assert not verification.verify(folder).problems
