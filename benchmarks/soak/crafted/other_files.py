"""Crafted safetensors and wheels, and what is no file at all."""

import json
import os
import struct
from pathlib import Path

from benchmarks.soak.crafted.registry import BOMB, crafted, write_zip


def _safetensors(path: Path, header: str | bytes, content: bytes = b"", length: int | None = None) -> None:
    text = header.encode() if isinstance(header, str) else header
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + content)


@crafted
def safetensors_with_a_header_of_a_terabyte(path: Path) -> None:
    _safetensors(path, "{}", length=2**40)


@crafted
def safetensors_of_a_huge_shape(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}
    _safetensors(path, json.dumps({"features.0.weight": entry}), bytes(4))


@crafted
def safetensors_that_leave_the_file(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [64, 3, 3, 3], "data_offsets": [2**40, 2**40 + 4 * 1728]}
    _safetensors(path, json.dumps({"features.0.weight": entry}))


@crafted
def safetensors_nested_deeply(path: Path) -> None:
    _safetensors(path, '{"a":' * 100_000)


@crafted
def safetensors_of_an_unknown_type(path: Path) -> None:
    entry = {"dtype": "O8", "shape": [1], "data_offsets": [0, 8]}
    _safetensors(path, json.dumps({"features.0.weight": entry}), bytes(8))


@crafted
def wheel_whose_weights_are_a_bomb(path: Path) -> None:
    write_zip(path, {"p/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin": bytes(BOMB)})


@crafted
def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@crafted
def an_endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@crafted
def a_folder(path: Path) -> None:
    path.mkdir()
