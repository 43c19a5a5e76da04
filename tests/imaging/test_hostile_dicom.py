"""DICOM files of any content: each is refused by one line, or read."""

import os
import struct
import tempfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from benchmarks.soak import samples  # noqa: E402
from benchmarks.soak.child import judge  # noqa: E402
from benchmarks.soak.readers import READERS, write_series  # noqa: E402
from ipmedgan_jax.core import memory  # noqa: E402
from ipmedgan_jax.core.errors import UserError  # noqa: E402
from ipmedgan_jax.imaging import dicom_parsing, dicom_rtstruct, mask_files, scans  # noqa: E402
from ipmedgan_jax.imaging.dicom_parsing import Values  # noqa: E402
from ipmedgan_jax.imaging.dicom_writing import item  # noqa: E402
from tests.properties import property_test  # noqa: E402

KINDS = ["dicom", "segmentation", "structures"]


def is_usable_or_refused(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="error"):
        kind, text = judge(READERS[name], content, Path(folder, "files"))
    assert kind in ("noticed", "harmless"), text


@pytest.mark.parametrize("name", KINDS)
@settings(property_test, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_any_damage_is_refused_by_one_line_or_without_effect(name, seed):
    files = READERS[name].samples()
    is_usable_or_refused(name, READERS[name].damage(files[seed % len(files)], np.random.default_rng(seed)))


@pytest.mark.parametrize("name", KINDS)
@settings(property_test, max_examples=30)
@given(share=st.floats(0, 1), index=st.integers(0, 4))
def test_a_file_may_end_anywhere(name, share, index):
    content = READERS[name].samples()[index % len(READERS[name].samples())]
    is_usable_or_refused(name, content[: int(share * len(content))])


@pytest.mark.parametrize("name", READERS)
def test_valid_samples_can_be_read(tmp_path, name):
    for content in READERS[name].samples():
        assert judge(READERS[name], content, tmp_path / "files") == ("harmless", "")


@pytest.mark.parametrize("depth", [30, 60, 120])
def test_deep_sequences_are_written_or_refused_by_one_line(depth):
    start = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nested = start * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    content = samples.slice_files()[0]
    study = content.index(b"\x08\x00\x20\x00DA")
    is_usable_or_refused("dicom", content[:study] + nested + content[study:])


def test_a_pipe_among_the_slices_is_not_waited_for(tmp_path):
    write_series(tmp_path / "series", samples.slice_files()[0])
    os.mkfifo(tmp_path / "series" / "4.dcm")
    with pytest.raises(UserError, match=r"4\.dcm: is a pipe; expected a file"):
        scans.read_volume(tmp_path / "series")


@pytest.mark.parametrize(
    ("items", "bound"),
    [("undefined", "0.001"), ("defined", "0.001"), ("undefined", "0.1"), ("defined", "0.1")],
)
def test_many_empty_items_count_as_the_memory_that_they_take(tmp_path, monkeypatch, items, bound):
    """A file of 1.6 MB, whose 200,000 items pydicom makes 140 MB of."""
    monkeypatch.setenv(memory.VARIABLE, bound)
    body = b"\xfe\xff\x00\xe0\0\0\0\0" * 200_000
    length, end = (b"\xff" * 4, b"\xfe\xff\xdd\xe0\0\0\0\0") if items == "undefined" else (struct.pack("<I", len(body)), b"")
    content = samples.slice_files()[0]
    study = content.index(b"\x08\x00\x20\x00DA")
    (tmp_path / "a.dcm").write_bytes(content[:study] + b"\x08\x00\x15\x11SQ\0\0" + length + body + end + content[study:])
    with pytest.raises(UserError, match=r"of memory to read|the file takes|elements takes"):
        dicom_parsing.read_dataset(tmp_path / "a.dcm")


def test_a_length_in_a_file_takes_no_memory(tmp_path):
    """The file promises 4 GiB of pixels."""
    content = samples.slice_files()[0]
    pixels = content.index(b"\xe0\x7f\x10\x00OW")
    (path := tmp_path / "a.dcm").write_bytes(content[: pixels + 8] + b"\xfe\xff\xff\xff" + content[pixels + 12 :])
    tracemalloc.start()
    try:
        dicom_parsing.read_dataset(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    ("values", "ask"),
    [
        ({"SliceThickness": [1, 2]}, lambda values: values.scalar("SliceThickness", 0.0)),
        ({"SeriesDescription": "text"}, lambda values: values.scalar("SeriesDescription")),
        ({"SeriesDescription": "text"}, lambda values: values.items("SeriesDescription")),
        ({"Rows": 3}, lambda values: values.numbers("Rows", 2)),
        ({"Rows": 3}, lambda values: values.uid("Rows")),
        ({"Rows": 3}, lambda values: values.content("Rows")),
        ({"FloatPixelData": b"\0\0\xc0\x7f"}, lambda values: values.contour("FloatPixelData")),
        ({"SliceThickness": 1.5}, lambda values: values.integer("SliceThickness")),
        ({}, lambda values: values.integer("Rows")),
    ],
)
def test_a_value_of_another_kind_is_refused(values, ask):
    with pytest.raises(UserError, match=r"a\.dcm: has no usable"):
        ask(Values(Path("a.dcm"), item(**values)))


def test_a_contour_that_takes_too_long_or_too_much_is_refused(tmp_path, monkeypatch):
    write_series(tmp_path / "series", samples.slice_files()[0])
    (tmp_path / "mask.dcm").write_bytes(samples.structure_files()[0])
    scan = scans.read_scan(tmp_path / "series")
    monkeypatch.setattr(dicom_rtstruct, "_MOST_TESTS", 10)
    with pytest.raises(UserError, match="too many points"):
        mask_files.read_mask(tmp_path / "mask.dcm", scan)
