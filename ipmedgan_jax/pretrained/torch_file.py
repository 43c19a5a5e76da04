"""Reads tensors from files of `torch.save`, without PyTorch and without running any code that a file names.

A file has one of two layouts:

- zip archive (since PyTorch 1.6): `NAME/data.pkl` holds the structure, `NAME/data/KEY` the raw bytes of each storage;
- legacy stream: pickles of a magic number, the version, the byte order, the structure and the list of storage keys,
  then, for each key, the number of elements (int64) and the raw bytes.

`pickle_reader` reads the pickles. Storages of tensors that nobody asks for are not read.
"""

import io
import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from ipmedgan_jax.core import archives, memory
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.pretrained import pickle_reader
from ipmedgan_jax.pretrained.pickle_reader import Storage, Tensor

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a legacy stream: the pickled magic number."""

LARGEST_STRUCTURE = 2**20
"""Bytes of a file's pickles together; those of VGG-19 have 4,000."""


def read_tensors(stream: BinaryIO, wanted: Callable[[str], bool] = lambda _: True, *, name: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a saved state dict by name; entries that are not tensors are left out.

    Reads either layout from the start of a seekable `stream`. Raises UserError, which begins with `name`, if the file is
    damaged, does not hold a dict, names anything but tensors, or has tensors that take more than `memory.limit`.

    Args:
      stream: the file.
      wanted: says by a tensor's name whether to read it.
      name: the file's, for messages.
    """
    try:
        with archives.reading_errors():
            zipped = stream.read(2) == b"PK"
            stream.seek(0)
            return _read_zip(stream, wanted, name) if zipped else _read_legacy(stream, wanted, name)
    except pickle_reader.Refused as error:
        raise UserError(f"{name}: {error}, which weights do not need: refused, nothing was run") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: not a readable PyTorch file: {reason(error)}") from error


def _read_zip(stream: BinaryIO, wanted: Callable[[str], bool], name: str) -> dict[str, np.ndarray]:
    with archives.open_zip(stream) as archive:
        names = archive.namelist()
        roots = [entry.removesuffix("data.pkl") for entry in names if entry.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError(f"expected one data.pkl, found {len(roots)}")
        root = roots[0]
        if f"{root}byteorder" in names and archives.read_member(archive, f"{root}byteorder", 16) != b"little":
            raise ValueError("written on a big-endian machine")
        structure, _ = pickle_reader.load(io.BytesIO(archives.read_member(archive, f"{root}data.pkl", LARGEST_STRUCTURE)))
        tensors = _tensors(structure, wanted)
        contents = {}
        for storage in _checked_storages(tensors, name):
            contents[storage] = archives.read_member(archive, f"{root}data/{storage.key}", _size(storage))
    return {key: _view(tensor, contents[tensor.storage]) for key, tensor in tensors.items()}


def _read_legacy(stream: BinaryIO, wanted: Callable[[str], bool], name: str) -> dict[str, np.ndarray]:
    head = io.BytesIO(stream.read(LARGEST_STRUCTURE))
    pickle_reader.load(head), pickle_reader.load(head)  # magic number, version
    order, _ = pickle_reader.load(head)
    if not isinstance(order, dict) or not order.get("little_endian"):
        raise ValueError("written on a big-endian machine")
    structure, storages = pickle_reader.load(head)
    tensors = _tensors(structure, wanted)
    needed = _checked_storages(tensors, name)
    keys, _ = pickle_reader.load(head)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise ValueError("lists other storages than its tensors have")
    stream.seek(head.tell())
    contents = {}
    for storage in (storages[key] for key in keys):
        if int.from_bytes(stream.read(8), "little") != storage.count:
            raise ValueError(f"storage {storage.key[:40]} has another size than its tensors say")
        if storage in needed:
            contents[storage] = stream.read(_size(storage))
        else:
            stream.seek(_size(storage), os.SEEK_CUR)
    return {key: _view(tensor, contents[tensor.storage]) for key, tensor in tensors.items()}


def _tensors(structure: Any, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Returns the tensors of a state dict that are wanted."""
    if not isinstance(structure, dict):
        raise ValueError(f"it holds a {type(structure).__name__}, not a dict of tensors")
    return {key: value for key, value in structure.items() if isinstance(value, Tensor) and wanted(str(key))}


def _checked_storages(tensors: Mapping[str, Tensor], name: str) -> set[Storage]:
    """Returns the storages of tensors; UserError if they are larger than `memory.limit`."""
    storages = {tensor.storage for tensor in tensors.values()}
    memory.check(name, sum(map(_size, storages)), "its tensors")
    return storages


def _size(storage: Storage) -> int:
    """Returns the bytes of a storage."""
    return storage.count * np.dtype(storage.dtype).itemsize


def _view(tensor: Tensor, content: bytes) -> np.ndarray:
    """Returns the tensor as a read-only view of its storage's bytes. ValueError if it reaches outside them."""
    if len(content) != _size(tensor.storage):
        raise ValueError(f"storage {tensor.storage.key[:40]} is cut short")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, tensor.storage.dtype)
    elements = np.frombuffer(content, tensor.storage.dtype)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride, strict=True))
    if last >= elements.size:
        raise ValueError(f"a tensor of shape {tensor.shape} leaves its storage of {elements.size} elements")
    strides = [stride * elements.itemsize for stride in tensor.stride]
    return np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides, writeable=False)
