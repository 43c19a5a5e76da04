"""Files that once ended in a traceback or in gigabytes of memory: each is refused by one line, or read."""

import warnings
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from benchmarks.soak import child
from benchmarks.soak.readers import READERS
from ipmedgan_jax.core import memory

FOLDER = Path(__file__).parents[1] / "data" / "hostile"

EXPECTED = {
    "nifti-offset-infinite": "its voxels begin at byte inf",
    "nifti-offset-nan": "its voxels begin at byte nan",
    "nifti-dimensions": "its header gives -129 dimensions",
    "nifti-fuzz-1": "its header gives 32767 dimensions",
    "nifti-vast": "a volume of 1200 x 1200 x 1000 voxels takes 86 GiB of memory",
    "nifti-vast-compressed": "a volume of 1200 x 1200 x 1000 voxels takes 86 GiB of memory",
    "nifti-zeros-compressed": "a volume of 256 x 256 x 64 voxels takes 0.25 GiB of memory",
    "nifti-slope-infinite": "its scl_slope is infinite",
    "nifti-slope-huge": "80 of its 288 voxels are NaN or infinite",
    "nifti-slope-tiny": "rescale them first",
    "nifti-position-far": "does not span three axes",
    "nifti-quaternion": "does not span three axes",
    "nifti-flat": "does not span three axes",
    "dicom-deflated-zeros": "its deflated content takes 0.47 GiB of memory",
    "dicom-vast": "is truncated: it has 144 of 8589672450 bytes of pixels",
    "dicom-vast-jpeg": "a frame of 65535 x 65535",
    "dicom-items": "",
    "dicom-nested": "not a readable DICOM file",  # the reason depends on the version of Python
    "dicom-zone": "",
    "dicom-1-12": "",
    "dicom-1-271": "",
    "dicom-1-282": "",
    "dicom-1-395": "has no usable FrameOfReferenceUID",
    "dicom-2-157": "",
    "dicom-2-436": "",
    "dicom-2-622": "",
    "dicom-2-1030": "",
    "dicom-2-1420": "ends before or in its pixels",
    "dicom-2-1446": "",
    "nifti-fuzz-2": "its scaling makes its values too large",
    "nifti-fuzz-3": "voxels are NaN or infinite",
    "dicom-fuzz-2": "has no usable MediaStorageSOPClassUID",
    "segmentation-fuzz-2": "has no usable SOPClassUID",
    "structures-fuzz-2": "has no usable SOPClassUID",
}
"""A part of the message for each file; empty for a file that can be used although it is damaged."""


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_that_once_failed_is_refused_by_one_line_or_read(tmp_path, monkeypatch, name):
    monkeypatch.setenv(memory.VARIABLE, "0.2")
    reader = READERS[max((kind for kind in READERS if name.startswith(kind)), key=len)]
    with warnings.catch_warnings(action="error"):
        kind, text = child.judge(reader, (FOLDER / name).read_bytes(), tmp_path / "files")
    assert kind == ("noticed" if EXPECTED[name] else "harmless"), text
    assert EXPECTED[name] in text


def test_every_file_of_the_folder_is_read_here():
    assert {path.name for path in FOLDER.iterdir() if path.is_file() and not path.suffix} == set(EXPECTED)
