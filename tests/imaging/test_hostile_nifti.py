"""NIfTI files of any content: each is refused by one line, or read to finite voxels."""

import gzip
import os
import tempfile
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.soak import samples
from benchmarks.soak.child import judge
from benchmarks.soak.readers import READERS
from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.provenance import digest_of_path
from ipmedgan_jax.imaging import file_kinds, labels, mask_files, nifti, scans
from tests.properties import property_test

NUMBERS = [0, -0.0, 1, -1, 2, 7, 348, 32767, -32768, 2**31 - 1, 1e-45, 1e-30, 1e10, 1e38, -3e38, np.nan, np.inf, -np.inf]


def is_usable_or_refused(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="error"):
        kind, text = judge(READERS[name], content, Path(folder, "files"))
    assert kind in ("noticed", "harmless"), text


@st.composite
def headers(draw) -> bytes:
    """A valid file, with one field of its header, or one number of it, set to something."""
    content = draw(st.sampled_from(samples.nifti_files()[:3]))
    kind = nibabel.Nifti1Header if content[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") else nibabel.Nifti2Header
    header = kind(content[: kind.sizeof_hdr], check=False)
    field = header.structarr[draw(st.sampled_from(sorted(header.keys())))]
    if field.dtype.kind in "SV":
        field[...] = draw(st.binary(max_size=field.dtype.itemsize))
    else:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            value = np.array(draw(st.sampled_from(NUMBERS))).astype(field.dtype)
        field[draw(st.sampled_from([..., *np.ndindex(field.shape)]))] = value
    return header.structarr.tobytes() + content[kind.sizeof_hdr :]


@settings(property_test, max_examples=400)
@given(st.sampled_from(["nifti", "nifti-mask"]), headers())
def test_any_field_of_a_header_may_hold_anything(name, content):
    is_usable_or_refused(name, content)


@settings(property_test, max_examples=150)
@given(st.sampled_from(["nifti", "nifti-mask"]), st.integers(0, 2**32))
def test_any_damage_is_refused_by_one_line_or_without_effect(name, seed):
    rng, reader = np.random.default_rng(seed), READERS[name]
    is_usable_or_refused(name, reader.damage(reader.samples()[seed % 4], rng))


@given(st.binary(max_size=400))
@property_test
def test_any_bytes_are_refused_by_one_line(content):
    is_usable_or_refused("nifti", content)
    is_usable_or_refused("nifti", gzip.compress(content, mtime=0))


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_promise_takes_no_memory(tmp_path, monkeypatch, name):
    """The header promises 512 MiB, the bound allows it, and nothing of it is there."""
    monkeypatch.setenv(memory.VARIABLE, "1000")
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1024, 1024, 512))
    header["magic"], header["vox_offset"], header["pixdim"][1:4] = b"n+1", 352, 1
    content = header.structarr.tobytes() + bytes(4)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    asked = []
    monkeypatch.setattr(nifti, "bytearray", lambda start: asked.append(len(start)) or bytearray(start), raising=False)
    with pytest.raises(UserError, match="more than the file can hold"):
        nifti.read(tmp_path / name)
    assert max(asked) < 1000


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    os.mkfifo(tmp_path / "scan.json")
    for read in (scans.read_volume, labels.read_labels, digest_of_path):
        with pytest.raises(UserError, match="is a pipe; expected a file"):
            read(tmp_path / "pipe.nii")
    assert not file_kinds.is_output(tmp_path / "scan.nii")


@pytest.mark.parametrize("high", [1e300, 1e38])
def test_intensities_beyond_float32_s_range_are_refused(tmp_path, high):
    values = np.linspace(0, high, 4 * 4 * 4).reshape(4, 4, 4)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(UserError, match=r"NaN or infinite|rescale them first"), warnings.catch_warnings(action="error"):
        scans.read_volume(tmp_path / "v.nii")


def test_a_grid_above_the_bound_is_not_made(tmp_path, monkeypatch):
    """The scan is small, in voxels of 60 mm; its resampling to 1 mm and a mask of as large voxels are not."""
    monkeypatch.setenv(memory.VARIABLE, "0.1")
    nibabel.save(nibabel.Nifti1Image(np.arange(216.0).reshape(6, 6, 6), np.diag([60.0, 60, 60, 1])), tmp_path / "v.nii")
    scan = scans.read_scan(tmp_path / "v.nii")
    with pytest.raises(UserError, match=r"its resampling by data.resample_mm to \[360, 360, 360\] takes 1.4 GiB"):
        scans.resample(scan.volume, 1.0)
    nibabel.save(nibabel.Nifti1Image(np.ones((96, 96, 96), np.uint8), np.eye(4)), tmp_path / "m.nii")
    with pytest.raises(UserError, match=r"its 884,736 masked voxels on the grid of v\.nii takes 0.11 GiB"):
        mask_files.read_mask(tmp_path / "m.nii", scan)
    monkeypatch.setattr(mask_files, "_MOST_PAIRS", 1000)
    monkeypatch.setenv(memory.VARIABLE, "1")
    with pytest.raises(UserError, match="too large or too many"):
        mask_files.read_mask(tmp_path / "m.nii", scan)
