"""Crafted PyTorch files."""

import struct
from pathlib import Path

from benchmarks.soak.crafted.registry import BOMB, crafted, write_zip


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
    write_zip(path, {"a/data.pkl": pickled, "a/data/0": storage})


@crafted
def pth_whose_memo_takes_34_gigabytes(path: Path) -> None:
    _pth(path, b"Nr\xff\xff\xff\x7f")


@crafted
def pth_with_nested_tuples_as_a_key(path: Path) -> None:
    _pth(path, b"N", key=b")" + b"\x85" * 100_000)


@crafted
def pth_that_calls_a_command(path: Path) -> None:
    _pth(path, b"cos\nsystem\n(" + _text(f"touch {path.with_name('ran')}") + b"tR")


@crafted
def pth_that_calls_a_command_by_stack(path: Path) -> None:
    _pth(path, _text("os") + _text("system") + b"\x93" + _text(f"touch {path.with_name('ran')}") + b"\x85R")


@crafted
def pth_that_makes_an_instance_by_its_old_opcode(path: Path) -> None:
    _pth(path, b"(" + _text(f"touch {path.with_name('ran')}") + b"ios\nsystem\n")


@crafted
def pth_with_a_registered_extension(path: Path) -> None:
    _pth(path, b"\x82\x01")


@crafted
def pth_with_a_byte_array_of_a_terabyte(path: Path) -> None:
    _pth(path, b"\x96" + struct.pack("<Q", 2**40))


@crafted
def pth_of_a_huge_storage(path: Path) -> None:
    _pth(path, _tensor(2**40, (64, 3, 3, 3), (27, 9, 3, 1)))


@crafted
def pth_whose_storage_unpacks_to_a_bomb(path: Path) -> None:
    _pth(path, _tensor(1728, (64, 3, 3, 3), (27, 9, 3, 1)), bytes(BOMB))


@crafted
def pth_whose_tensor_leaves_its_storage(path: Path) -> None:
    _pth(path, _tensor(1728, (64, 3, 3, 3), (27, 9, 3, 2**50)))


@crafted
def pth_of_a_negative_stride(path: Path) -> None:
    _pth(path, _tensor(1728, (64, 3, 3, 3), (-27, 9, 3, 1), 1727))


@crafted
def pth_of_a_huge_shape_over_one_element(path: Path) -> None:
    _pth(path, _tensor(1728, (10**9, 10**9, 3, 3), (0, 0, 0, 0)))


@crafted
def pth_of_huge_codes_over_one_element(path: Path) -> None:
    codes = _tensor(1728, (10**9, 10**3, 3, 3), (0, 0, 0, 0), kind="Byte")
    table = _tensor(256, (256,), (1,)).replace(_text("0"), _text("1"))
    pickled = b"\x80\x02}(" + _text("block1_conv1_W_q") + codes + _text("block1_conv1_W_table") + table + b"u."
    write_zip(path, {"a/data.pkl": pickled, "a/data/0": bytes(1728), "a/data/1": bytes(1024)})


@crafted
def pth_whose_structure_unpacks_to_a_bomb(path: Path) -> None:
    write_zip(path, {"a/data.pkl": b"\x80\x02" + b"N0" * (BOMB // 2), "a/data/0": b""})


@crafted
def pth_with_two_structures(path: Path) -> None:
    write_zip(path, {"a/data.pkl": b"\x80\x02}.", "b/data.pkl": b"\x80\x02}."})


@crafted
def pth_that_ends_before_its_stop(path: Path) -> None:
    write_zip(path, {"a/data.pkl": b"\x80\x02}"})
