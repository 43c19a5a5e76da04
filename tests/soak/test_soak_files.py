"""The soak's hostile files and fuzzing: short forms, and the faults that they must find."""

import multiprocessing

import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from benchmarks.soak import fuzz, hostile
from benchmarks.soak.readers import READERS, Reader
from benchmarks.soak.tally import Plan
from tests.soak import planted_readers


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the files that pass silently are kept


def test_hostile_files_are_refused_or_read(tmp_path):
    tally = hostile.run(Plan(tmp_path, 40, 0), {name: READERS[name] for name in ("nifti", "dicom")})
    assert not tally.silent
    assert tally.injected == 40
    assert tally.noticed
    assert tally.harmless


@pytest.mark.parametrize("fault", planted_readers.FAULTS)
def test_a_planted_fault_is_found_in_each_file_and_kept(tmp_path, fault):
    read, text = planted_readers.FAULTS[fault]
    reader = Reader(planted_readers.one_sample, planted_readers.break_it, read)
    tally = hostile.run(Plan(tmp_path, 2, 0), {"planted": reader})
    assert len(tally.silent) == tally.injected == 2
    assert all(text in line for line in tally.silent)
    assert (hostile.KEPT / "planted-0").read_bytes().startswith(b"bad")


def test_fuzzing_finds_a_planted_fault_once_and_keeps_its_file(tmp_path):
    tally = fuzz.run(Plan(tmp_path, 2, 0), "tests.soak.planted_readers")
    assert tally.noticed > 10
    assert len(tally.silent) == 1
    assert "KeyError: 'next_index'" in tally.silent[0]
    assert (fuzz.KEPT / "raise_key_error-fuzz-0-1").read_bytes().startswith(b"bad")
    assert not multiprocessing.active_children()
