"""Records: they are read as they were written, and errors name damaged files."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, records
from tests.properties import property_test

SETTINGS = {"modality": "mri", "image_size": 256, "fit": "scale"}


def record_of(array: np.ndarray, *, integer: bool, window=(-1000.0, 2000.0), index=3) -> records.SliceRecord:
    codes, scale, offset = records.quantise(array, integer=integer)
    return records.SliceRecord("sub-01", "sub-01_ct", index, window, scale, offset, codes)


def hounsfield(shape=(16, 16)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3072, shape).astype(np.float32)


def test_hu_come_back_exactly():
    record = records.decode(records.encode(record_of(hounsfield(), integer=True)))
    np.testing.assert_array_equal(record.intensities(), hounsfield())
    assert (record.subject, record.volume, record.index, record.window) == ("sub-01", "sub-01_ct", 3, (-1000.0, 2000.0))
    assert record.codes.dtype == np.uint16


@pytest.mark.parametrize("integer", [True, False])
def test_fractions_come_back_to_a_65535th_of_their_range(integer):
    array = 1e5 * np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    restored = record_of(array, integer=integer).intensities()  # a range too wide for steps of 1
    np.testing.assert_allclose(restored, array, atol=0.51 * np.ptp(array) / 65535)


def test_one_value_everywhere_comes_back():
    np.testing.assert_array_equal(record_of(np.full((4, 4), 0.3, np.float32), integer=False).intensities(), np.float32(0.3))


def test_the_image_is_the_window_clipped():
    array = np.array([[-1024, -1000, 500, 2000, 3000]], np.float32)
    image = record_of(array, integer=True).image()
    np.testing.assert_allclose(image, [[-1, -1, 0, 1, 1]], atol=1e-6)
    assert image.dtype == np.float32


def test_a_shard_gives_its_records_back_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "v.arrayrecord"
    records.write_shard(path, (record_of(hounsfield() - i, integer=True, index=i) for i in range(5)))
    for index, record in enumerate(records.read_shard(path)):
        assert record.index == index
        np.testing.assert_array_equal(record.intensities(), hounsfield() - index)
    assert list(tmp_path.iterdir()) == [path]


def test_a_shard_appears_only_when_complete(tmp_path):
    def broken():
        yield record_of(hounsfield(), integer=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_shard(tmp_path / "v.arrayrecord", broken())
    assert not (tmp_path / "v.arrayrecord").exists()


def test_a_shard_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*cannot be written"):
        records.write_shard(tmp_path / "nowhere" / "v.arrayrecord", [record_of(hounsfield(), integer=True)])


def test_a_cut_shard_and_a_damaged_record_are_named(tmp_path):
    path = tmp_path / "v.arrayrecord"
    records.write_shard(path, [record_of(hounsfield((256, 256)), integer=True, index=i) for i in range(5)])
    path.write_bytes(path.read_bytes()[:-70000])
    with pytest.raises(UserError, match="missing or damaged shard"):
        list(records.read_shard(path))
    with pytest.raises(ValueError, match="not a record"):
        records.decode(records.encode(record_of(hounsfield(), integer=True))[:-10])


@pytest.mark.parametrize("names", [(), ("head",), ("avoid",), ("head", "avoid")])
@pytest.mark.parametrize("shape", [(16, 16), (5, 7)])
def test_a_record_keeps_its_masks_and_takes_a_bit_a_pixel_for_each(names, shape):
    rng = np.random.default_rng(0)
    masks = {name: rng.random(shape) < 0.5 for name in names}
    plain = records.SliceRecord("s", "v", 3, (0.0, 1.0), 1.0, 0.0, rng.integers(0, 9, shape).astype(np.uint16))
    data = records.encode(dataclasses.replace(plain, **masks))
    back = records.decode(data)
    np.testing.assert_array_equal(back.codes, plain.codes)
    for name in ("head", "avoid"):
        if name in masks:
            np.testing.assert_array_equal(getattr(back, name), masks[name])
        else:
            assert getattr(back, name) is None
    assert len(data) - len(records.encode(plain)) <= 25 + 10 * len(names) + len(names) * -(-plain.codes.size // 8)
    with pytest.raises(ValueError, match="not a record"):
        records.decode(data[:-1])


def test_shards_are_listed_sorted_and_must_exist(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("b.arrayrecord", "a.arrayrecord", "c.arrayrecord.tmp", "a.json"):
        (tmp_path / "train" / name).touch()
    assert [path.name for path in records.shard_paths(tmp_path, "train")] == ["a.arrayrecord", "b.arrayrecord"]
    with pytest.raises(UserError, match=r"holds no \.arrayrecord files"):
        records.shard_paths(tmp_path, "test")
    with pytest.raises(ValueError, match="split 'dev': expected one of train, validation, test"):
        records.shard_paths(tmp_path, "dev")


def test_a_dataset_is_loaded_as_it_was_saved(tmp_path):
    volume = dataset_file.PreparedVolume(
        "sub-01", "test", "a.nii", "12ab", "LPS", (0.5, 0.5, 3.0), (1.0, 1.0, 1.0), (0.0, 400.0), 7, 2
    )
    dataset = dataset_file.Dataset(tmp_path, "mri", 256, {"a": volume}, SETTINGS, "0.1.0")
    dataset_file.save_dataset(dataset)
    assert dataset_file.load_dataset(tmp_path) == dataset
    assert dataset.subjects == {"train": (), "validation": (), "test": ("sub-01",)}
    assert dataset.slices == {"train": 0, "validation": 0, "test": 7}


def test_the_fingerprint_depends_on_the_data_and_not_on_their_folder(tmp_path):
    volume = dataset_file.PreparedVolume("s", "test", "a.nii", "12ab", "LPS", (1.0,) * 3, (1.0,) * 3, (0.0, 400.0), 7, 2)
    dataset = dataset_file.Dataset(tmp_path, "mri", 256, {"a": volume}, {"fit": "scale"}, "0.1.0")
    moved = dataclasses.replace(dataset, directory=tmp_path / "b", package_version="9")
    assert moved.fingerprint == dataset.fingerprint
    for other in (
        dataclasses.replace(dataset, settings={"fit": "crop_or_pad"}),
        dataclasses.replace(dataset, volumes={"a": dataclasses.replace(volume, sha256="34cd")}),
        dataclasses.replace(dataset, volumes={"a": dataclasses.replace(volume, split="train")}),
        dataclasses.replace(dataset, volumes={"a": dataclasses.replace(volume, avoided="56ef")}),
    ):
        assert other.fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not found"),
        ("{", "damaged"),
        ("[]", "damaged"),
        (json.dumps({"format_version": 99}), "expected a format of 1 to 3, got 99"),
    ],
)
def test_a_missing_damaged_or_newer_dataset_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=message):
        dataset_file.load_dataset(tmp_path)


GOOD = records.encode(dataclasses.replace(record_of(hounsfield((4, 6)), integer=True), head=np.ones((4, 6), bool)))


@given(data=st.data())
@property_test
def test_any_damaged_record_is_read_or_refused_by_a_value_error(data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = records.decode(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except ValueError:
        return
    assert found.codes.ndim == 2


HEADER = {"subject": "s", "volume": "v", "index": 1, "window": [0, 1], "scale": 1, "offset": 0, "shape": [4, 6]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [-4, -6]}, "shape"),
        ({"shape": [10**12, 10**12]}, "not a record"),
        ({"shape": [4, 6, 1]}, "shape: expected 2 values, found 3"),
        ({"masks": ["codes"]}, "masks"),
        ({"masks": ["head", "head"]}, "masks"),
        ({"colour": 1}, "unknown field colour"),
        ({"scale": "1"}, "scale: expected a number, found 1"),
        ({"index": 1.5}, "index: expected a whole number"),
    ],
)
def test_a_record_with_a_wrong_header_is_refused(change, message):
    text = json.dumps(HEADER | change).encode()
    with pytest.raises(ValueError, match=f"not a record: .*{message}|{message}"):
        records.decode(len(text).to_bytes(4, "little") + text + bytes(4 * 6 * 2))


def test_the_digest_is_of_content_and_order_and_each_record_names_it():
    slices = [record_of(hounsfield() + i, integer=True, index=i) for i in range(3)]
    marked = records.with_digest(slices)
    assert {record.records_sha256 for record in marked} == {records.digest(slices)} == {records.digest(marked)}
    assert records.digest(reversed(slices)) != records.digest(slices)
    assert records.digest([*slices[:2], dataclasses.replace(slices[2], index=7)]) != records.digest(slices)
    assert records.decode(records.encode(marked[0])).records_sha256 == records.digest(slices)
