"""Makes files of this folder: inputs like those that once ended in a traceback, a hang, or gigabytes of memory.

  python -m tests.data.hostile.make_files

The beginning of a name is the reader in `benchmarks/soak/readers.py`. Files named `NAME-SEED-INDEX` are damage that the soak
found; the others are made here.
"""

import gzip
import zlib
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.soak import samples

FOLDER = Path(__file__).parent

_MIB = 2**20


def main() -> None:
    for name, content in (_nifti_files() | _dicom_files()).items():
        (FOLDER / name).write_bytes(content)


def _nifti_files() -> dict[str, bytes]:
    def changed(**fields) -> bytes:
        content = samples.nifti_files()[0]
        header = nibabel.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        return header.structarr.tobytes() + content[348:]

    vast = changed(dim=[3, 1200, 1200, 1000, 1, 1, 1, 1])
    return {
        "nifti-offset-infinite": changed(vox_offset=np.inf),
        "nifti-offset-nan": changed(vox_offset=np.nan),
        "nifti-dimensions": changed(dim=[32767, 9, 8, 4, 1, 1, 1, 1]),
        "nifti-vast": vast,
        "nifti-vast-compressed": gzip.compress(vast, mtime=0),
        "nifti-zeros-compressed": gzip.compress(changed(dim=[3, 256, 256, 64, 1, 1, 1, 1])[:352] + bytes(8 * _MIB), mtime=0),
        "nifti-slope-infinite": changed(scl_slope=np.inf),
        "nifti-slope-huge": changed(scl_slope=1e38),
        "nifti-slope-tiny": changed(scl_slope=1e-38, scl_inter=1e-45),
        "nifti-position-far": changed(srow_x=[2, 0, 0, 1e38], srow_y=[0, 2, 0, -3e38]),
        "nifti-quaternion": changed(sform_code=0, qform_code=1, quatern_b=np.nan),
        "nifti-flat": changed(srow_x=[2, 0, 0, 0], srow_y=[2, 1e-20, 0, 0]),
    }


def _dicom_files() -> dict[str, bytes]:
    plain, _, deflated, _, jpeg = samples.slice_files()
    raw = zlib.decompress(deflated[_end_of_meta(deflated) :], -zlib.MAX_WBITS)
    pixels = raw.index(b"\xe0\x7f\x10\x00OW")
    bomb = raw[:pixels] + b"\xe0\x7f\x10\x00OW\0\0" + (12 * _MIB).to_bytes(4, "little") + bytes(12 * _MIB)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    rows = plain.index(b"\x28\x00\x10\x00US")
    vast = plain[: rows + 8] + b"\xff\xff\x28\x00\x11\x00US\x02\x00\xff\xff" + plain[rows + 20 :]
    size = jpeg.index(b"\xff\xc0")
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    items = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + item * 3000 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    study = plain.index(b"\x08\x00\x20\x00DA")
    return {
        "dicom-deflated-zeros": deflated[: _end_of_meta(deflated)] + compressor.compress(bomb) + compressor.flush(),
        "dicom-vast": vast,
        "dicom-vast-jpeg": jpeg[: size + 5] + b"\xff\xff\xff\xff" + jpeg[size + 9 :],
        "dicom-items": plain[:study] + items + plain[study:],
        "dicom-nested": plain[:study] + _nested(400) + plain[study:],
        "dicom-zone": plain.replace(b"+0100 ", b"+9900 "),
    }


def _nested(depth: int) -> bytes:
    """Returns a sequence within a sequence, `depth` times."""
    start = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return start * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth


def _end_of_meta(content: bytes) -> int:
    """Returns the place of the first byte after the meta header of a file with a preamble."""
    return 144 + int.from_bytes(content[140:144], "little")


if __name__ == "__main__":
    main()
