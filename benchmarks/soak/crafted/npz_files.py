"""Crafted .npz archives, as `ipmedgan vgg19` converts them."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

from benchmarks.soak.crafted.registry import BOMB, crafted, write_zip
from ipmedgan_jax.pretrained.weight_files import FORMAT


def array_file(descr: str, shape: object, content: bytes, *, version: int = 1, length: int | None = None) -> bytes:
    """Returns the bytes of an .npy file, with a header that may lie about everything."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = len(header) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + header + content


def _npz(path: Path, kernel: bytes, method: int = zipfile.ZIP_DEFLATED, **texts: str) -> None:
    """Writes a converted file whose other members are right."""
    members = {}
    for name, text in ({"format": FORMAT, "preprocessing": "caffe", "source": "keras"} | texts).items():
        stream = io.BytesIO()
        np.save(stream, np.array(text))
        members[f"{name}.npy"] = stream.getvalue()
    write_zip(path, members | {"conv1_1/kernel.npy": kernel}, method)


@crafted
def npz_whose_header_has_a_huge_shape(path: Path) -> None:
    _npz(path, array_file("'<f4'", (10**6, 10**6), b"1234"))


@crafted
def npz_whose_member_unpacks_to_a_bomb(path: Path) -> None:
    _npz(path, array_file("'<f4'", (BOMB // 4,), bytes(BOMB)))


@crafted
def npz_of_vgg_shape_with_a_bomb_behind_it(path: Path) -> None:
    _npz(path, array_file("'<f4'", (3, 3, 3, 64), bytes(BOMB)))


@crafted
def npz_whose_directory_lies_about_sizes(path: Path) -> None:
    _npz(path, array_file("'<f4'", (3, 3, 3, 64), bytes(BOMB)))
    content = path.read_bytes()
    lie = struct.pack("<I", len(array_file("'<f4'", (3, 3, 3, 64), bytes(4 * 1728))))
    path.write_bytes(content.replace(struct.pack("<I", len(array_file("'<f4'", (3, 3, 3, 64), bytes(BOMB)))), lie))


@crafted
def npz_with_pickled_objects(path: Path) -> None:
    _npz(path, array_file("'|O'", (1,), pickle.dumps([os.system])))


@crafted
def npz_whose_header_is_four_gigabytes_long(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), b"", version=2, length=2**32 - 1))


@crafted
def npz_whose_header_is_nested_deeply(path: Path) -> None:
    _npz(path, array_file("'<f4'", "(" * 9000, b""))


@crafted
def npz_of_elements_without_bytes(path: Path) -> None:
    _npz(path, array_file("'|V0'", (2**62,), b""))


@crafted
def npz_of_a_negative_shape(path: Path) -> None:
    _npz(path, array_file("'<f4'", (-1, -4), bytes(16)))


@crafted
def npz_of_a_record_type(path: Path) -> None:
    _npz(path, array_file("[('a', '<f4', (1000000, 1000000))]", (1,), b""))


@crafted
def npz_with_a_member_twice(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), bytes(4)))
    path.write_bytes(path.read_bytes().replace(b"source.npy", b"format.npy"))


@crafted
def npz_compressed_in_an_unusual_way(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), bytes(4)), zipfile.ZIP_LZMA)


@crafted
def npz_with_an_absolute_name_that_is_no_array(path: Path) -> None:
    write_zip(path, {"/etc/passwd": b"x", "format.npy": b""})


@crafted
def npz_with_characters_that_there_are_not(path: Path) -> None:
    write_zip(path, {"format.npy": array_file("'<U1'", (), b"\xff\xff\xff\xff")})


@crafted
def npz_whose_source_moves_the_cursor(path: Path) -> None:
    _npz(path, array_file("'<f4'", (3, 3, 3, 64), bytes(4 * 1728)), source="\x1b[2J")


@crafted
def npz_with_a_very_long_text(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), bytes(4)), source="x" * 10**6)
