"""Crafted VGG-19 weight files: each asks its reader for memory, for another file, for code or for the impossible.

`CRAFTED` has a function for each, which writes the file. None of them can be read; `tests/pretrained/test_hostile_weights.py`
and the soak expect the package's own error, within a bound of memory, and nothing opened or run.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from ipmedgan_jax.pretrained.weight_files import FORMAT

BOMB = 128 * 2**20
"""Bytes that a bomb unpacks to, or more."""

CRAFTED: dict[str, Callable[[Path], object]] = {}


def _crafted(write: Callable[[Path], object]) -> Callable[[Path], object]:
    CRAFTED[write.__name__] = write
    return write


# ------------------------------------------------------------------ .npz


def array_file(descr: str, shape: object, content: bytes, *, version: int = 1, length: int | None = None) -> bytes:
    """Returns the bytes of an .npy file, with a header that may lie about everything."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = len(header) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + header + content


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _npz(path: Path, kernel: bytes, method: int = zipfile.ZIP_DEFLATED, **texts: str) -> None:
    """Writes a converted file whose other members are right."""
    members = {}
    for name, text in ({"format": FORMAT, "preprocessing": "caffe", "source": "keras"} | texts).items():
        stream = io.BytesIO()
        np.save(stream, np.array(text))
        members[f"{name}.npy"] = stream.getvalue()
    _zip(path, members | {"conv1_1/kernel.npy": kernel}, method)


@_crafted
def npz_whose_header_has_a_huge_shape(path: Path) -> None:
    _npz(path, array_file("'<f4'", (10**6, 10**6), b"1234"))


@_crafted
def npz_whose_member_unpacks_to_a_bomb(path: Path) -> None:
    _npz(path, array_file("'<f4'", (BOMB // 4,), bytes(BOMB)))


@_crafted
def npz_of_vgg_shape_with_a_bomb_behind_it(path: Path) -> None:
    _npz(path, array_file("'<f4'", (3, 3, 3, 64), bytes(BOMB)))


@_crafted
def npz_whose_directory_lies_about_sizes(path: Path) -> None:
    _npz(path, array_file("'<f4'", (3, 3, 3, 64), bytes(BOMB)))
    content = path.read_bytes()
    lie = struct.pack("<I", len(array_file("'<f4'", (3, 3, 3, 64), bytes(4 * 1728))))
    path.write_bytes(content.replace(struct.pack("<I", len(array_file("'<f4'", (3, 3, 3, 64), bytes(BOMB)))), lie))


@_crafted
def npz_with_pickled_objects(path: Path) -> None:
    _npz(path, array_file("'|O'", (1,), pickle.dumps([os.system])))


@_crafted
def npz_whose_header_is_four_gigabytes_long(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), b"", version=2, length=2**32 - 1))


@_crafted
def npz_whose_header_is_nested_deeply(path: Path) -> None:
    _npz(path, array_file("'<f4'", "(" * 9000, b""))


@_crafted
def npz_of_elements_without_bytes(path: Path) -> None:
    _npz(path, array_file("'|V0'", (2**62,), b""))


@_crafted
def npz_of_a_negative_shape(path: Path) -> None:
    _npz(path, array_file("'<f4'", (-1, -4), bytes(16)))


@_crafted
def npz_of_a_record_type(path: Path) -> None:
    _npz(path, array_file("[('a', '<f4', (1000000, 1000000))]", (1,), b""))


@_crafted
def npz_with_a_member_twice(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), bytes(4)))
    path.write_bytes(path.read_bytes().replace(b"source.npy", b"format.npy"))


@_crafted
def npz_compressed_in_an_unusual_way(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), bytes(4)), zipfile.ZIP_LZMA)


@_crafted
def npz_with_an_absolute_name_that_is_no_array(path: Path) -> None:
    _zip(path, {"/etc/passwd": b"x", "format.npy": b""})


@_crafted
def npz_with_characters_that_there_are_not(path: Path) -> None:
    _zip(path, {"format.npy": array_file("'<U1'", (), b"\xff\xff\xff\xff")})


@_crafted
def npz_whose_source_moves_the_cursor(path: Path) -> None:
    _npz(path, array_file("'<f4'", (3, 3, 3, 64), bytes(4 * 1728)), source="\x1b[2J")


@_crafted
def npz_with_a_very_long_text(path: Path) -> None:
    _npz(path, array_file("'<f4'", (1,), bytes(4)), source="x" * 10**6)


# ------------------------------------------------------------------ HDF5


def _hdf5(path: Path, add: Callable[[h5py.Group], object]) -> None:
    """Writes a file of one layer; `add` fills its group."""
    with h5py.File(path, "w") as file:
        add(file.create_group("block1_conv1"))


_KERNEL = (3, 3, 3, 64)


def _other(path: Path) -> Path:
    """Writes a second file, whose values no reader may return."""
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["block1_conv1/kernel"] = np.ones(_KERNEL, np.float32)
    return other


@_crafted
def hdf5_whose_layer_is_an_external_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["block1_conv1"] = h5py.ExternalLink(str(_other(path)), "block1_conv1")


@_crafted
def hdf5_whose_array_is_an_external_link(path: Path) -> None:
    other = _other(path)
    _hdf5(path, lambda group: group.__setitem__("kernel", h5py.ExternalLink(str(other), "block1_conv1/kernel")))


@_crafted
def hdf5_with_a_soft_link(path: Path) -> None:
    _hdf5(path, lambda group: group.__setitem__("kernel", h5py.SoftLink("/block1_conv1")))


@_crafted
def hdf5_with_external_storage(path: Path) -> None:
    other = path.with_name("other.raw")
    other.write_bytes(bytes(4 * 1728))
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, "f4", external=[(str(other), 0, 4 * 1728)]))


@_crafted
def hdf5_with_a_virtual_dataset(path: Path) -> None:
    layout = h5py.VirtualLayout(_KERNEL, "f4")
    layout[:] = h5py.VirtualSource(str(_other(path)), "block1_conv1/kernel", _KERNEL)
    _hdf5(path, lambda group: group.create_virtual_dataset("kernel", layout))


@_crafted
def hdf5_of_a_huge_shape(path: Path) -> None:
    _hdf5(path, lambda group: group.create_dataset("kernel", (2**20, 2**20, 3, 3), "f4", chunks=(1, 1, 3, 3)))


@_crafted
def hdf5_with_huge_chunks(path: Path) -> None:
    most, chunks = (None, None, 3, 64), (1024, 512, 3, 64)
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, "f4", maxshape=most, chunks=chunks, compression="gzip"))


@_crafted
def hdf5_whose_chunk_unpacks_to_a_bomb(path: Path) -> None:
    import zlib

    def add(group: h5py.Group) -> None:
        dataset = group.create_dataset("kernel", _KERNEL, "f4", chunks=_KERNEL, compression="gzip")
        dataset.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(BOMB), 9)[:12_000])

    _hdf5(path, add)


@_crafted
def hdf5_compressed_by_a_plugin(path: Path) -> None:
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, "f4", chunks=_KERNEL, compression="lzf"))


@_crafted
def hdf5_of_texts(path: Path) -> None:
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, h5py.string_dtype()))


@_crafted
def hdf5_of_a_million_groups(path: Path) -> None:
    _hdf5(path, lambda group: [group.create_group(str(i)) for i in range(1000)])


@_crafted
def hdf5_with_a_loop_of_groups(path: Path) -> None:
    def add(group: h5py.Group) -> None:
        group["again"] = group

    _hdf5(path, add)


# ------------------------------------------------------------------ PyTorch


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _number(value: int) -> bytes:
    content = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + content


def _tensor(count: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, kind: str = "Float") -> bytes:
    """Returns the opcodes of one tensor in the storage `0`."""
    storage = b"(" + _text("storage") + f"ctorch\n{kind}Storage\n".encode() + _text("0") + _text("cpu") + _number(count)
    sizes = b"".join(b"(" + b"".join(map(_number, values)) + b"t" for values in (shape, stride))
    view = _number(offset) + sizes + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + view + b"tR"


def _pth(path: Path, value: bytes, storage: bytes = bytes(4 * 1728), key: bytes = b"") -> None:
    """Writes a state dict with one entry."""
    pickled = b"\x80\x02}(" + (key or _text("features.0.weight")) + value + b"u."
    _zip(path, {"a/data.pkl": pickled, "a/data/0": storage})


@_crafted
def pth_whose_memo_takes_34_gigabytes(path: Path) -> None:
    _pth(path, b"Nr\xff\xff\xff\x7f")


@_crafted
def pth_with_nested_tuples_as_a_key(path: Path) -> None:
    _pth(path, b"N", key=b")" + b"\x85" * 100_000)


@_crafted
def pth_that_calls_a_command(path: Path) -> None:
    _pth(path, b"cos\nsystem\n(" + _text(f"touch {path.with_name('ran')}") + b"tR")


@_crafted
def pth_that_calls_a_command_by_stack(path: Path) -> None:
    _pth(path, _text("os") + _text("system") + b"\x93" + _text(f"touch {path.with_name('ran')}") + b"\x85R")


@_crafted
def pth_that_makes_an_instance_by_its_old_opcode(path: Path) -> None:
    _pth(path, b"(" + _text(f"touch {path.with_name('ran')}") + b"ios\nsystem\n")


@_crafted
def pth_with_a_registered_extension(path: Path) -> None:
    _pth(path, b"\x82\x01")


@_crafted
def pth_with_a_byte_array_of_a_terabyte(path: Path) -> None:
    _pth(path, b"\x96" + struct.pack("<Q", 2**40))


@_crafted
def pth_of_a_huge_storage(path: Path) -> None:
    _pth(path, _tensor(2**40, (64, 3, 3, 3), (27, 9, 3, 1)))


@_crafted
def pth_whose_storage_unpacks_to_a_bomb(path: Path) -> None:
    _pth(path, _tensor(1728, (64, 3, 3, 3), (27, 9, 3, 1)), bytes(BOMB))


@_crafted
def pth_whose_tensor_leaves_its_storage(path: Path) -> None:
    _pth(path, _tensor(1728, (64, 3, 3, 3), (27, 9, 3, 2**50)))


@_crafted
def pth_of_a_negative_stride(path: Path) -> None:
    _pth(path, _tensor(1728, (64, 3, 3, 3), (-27, 9, 3, 1), 1727))


@_crafted
def pth_of_a_huge_shape_over_one_element(path: Path) -> None:
    _pth(path, _tensor(1728, (10**9, 10**9, 3, 3), (0, 0, 0, 0)))


@_crafted
def pth_of_huge_codes_over_one_element(path: Path) -> None:
    codes = _tensor(1728, (10**9, 10**3, 3, 3), (0, 0, 0, 0), kind="Byte")
    table = _tensor(256, (256,), (1,)).replace(_text("0"), _text("1"))
    pickled = b"\x80\x02}(" + _text("block1_conv1_W_q") + codes + _text("block1_conv1_W_table") + table + b"u."
    _zip(path, {"a/data.pkl": pickled, "a/data/0": bytes(1728), "a/data/1": bytes(1024)})


@_crafted
def pth_whose_structure_unpacks_to_a_bomb(path: Path) -> None:
    _zip(path, {"a/data.pkl": b"\x80\x02" + b"N0" * (BOMB // 2), "a/data/0": b""})


@_crafted
def pth_with_two_structures(path: Path) -> None:
    _zip(path, {"a/data.pkl": b"\x80\x02}.", "b/data.pkl": b"\x80\x02}."})


@_crafted
def pth_that_ends_before_its_stop(path: Path) -> None:
    _zip(path, {"a/data.pkl": b"\x80\x02}"})


# ------------------------------------------------------------------ safetensors and wheels


def _safetensors(path: Path, header: str | bytes, content: bytes = b"", length: int | None = None) -> None:
    text = header.encode() if isinstance(header, str) else header
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + content)


@_crafted
def safetensors_with_a_header_of_a_terabyte(path: Path) -> None:
    _safetensors(path, "{}", length=2**40)


@_crafted
def safetensors_of_a_huge_shape(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}
    _safetensors(path, json.dumps({"features.0.weight": entry}), bytes(4))


@_crafted
def safetensors_that_leave_the_file(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [64, 3, 3, 3], "data_offsets": [2**40, 2**40 + 4 * 1728]}
    _safetensors(path, json.dumps({"features.0.weight": entry}))


@_crafted
def safetensors_nested_deeply(path: Path) -> None:
    _safetensors(path, '{"a":' * 100_000)


@_crafted
def safetensors_of_an_unknown_type(path: Path) -> None:
    entry = {"dtype": "O8", "shape": [1], "data_offsets": [0, 8]}
    _safetensors(path, json.dumps({"features.0.weight": entry}), bytes(8))


@_crafted
def wheel_whose_weights_are_a_bomb(path: Path) -> None:
    _zip(path, {"p/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin": bytes(BOMB)})


# ------------------------------------------------------------------ not files at all


@_crafted
def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@_crafted
def an_endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@_crafted
def a_folder(path: Path) -> None:
    path.mkdir()
