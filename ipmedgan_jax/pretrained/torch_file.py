"""Reads tensors from files of `torch.save`, without PyTorch and without running any code that a file names.

A pickle may call anything that it can name. This reader allows ordered dictionaries, tensors, parameters and storages,
stands its own records in for the last three, and refuses a file that names anything else. A file has one of two layouts:

- zip archive (since PyTorch 1.6): `NAME/data.pkl` holds the structure, `NAME/data/KEY` the raw bytes of each storage;
- legacy stream: pickles of a magic number, the version, the byte order, the structure and the list of storage keys,
  then, for each key, the number of elements (int64) and the raw bytes.
"""

import io
import pickle
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ipmedgan_jax.core.errors import UserError

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a legacy stream: the pickled magic number."""

STORAGES = {
    "ByteStorage": "<u1",
    "CharStorage": "<i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
}
"""NumPy's element type for each of torch's storage classes."""

_READ_ERRORS = (
    *(pickle.PickleError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, MemoryError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""Exceptions that pickle, zipfile and NumPy raise for truncated or altered bytes."""


def read_tensors(stream: BinaryIO, *, name: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a saved state dict by name; entries that are not tensors are left out.

    Reads either layout from the start of a seekable `stream`. Raises UserError, which begins with `name`, if the file is
    damaged, does not hold a dict, or names anything but tensors.
    """
    try:
        if stream.read(2) == b"PK":
            structure, storages = _read_zip(stream, name)
        else:
            stream.seek(0)
            structure, storages = _read_legacy(stream, name)
        if not isinstance(structure, dict):
            raise pickle.UnpicklingError(f"it holds a {type(structure).__name__}, not a dict of tensors")
        tensors = {key: value.data if isinstance(value, _Parameter) else value for key, value in structure.items()}
        return {key: _tensor_view(value, storages) for key, value in tensors.items() if isinstance(value, _Tensor)}
    except _READ_ERRORS as error:
        raise UserError(f"{name}: not a readable PyTorch file: {error or type(error).__name__}") from error


@dataclass(frozen=True)
class _Storage:
    """A storage that the pickle names: NumPy's element type, and the key of its bytes."""

    dtype: str
    key: str


class _Tensor:
    """A view into a storage; `offset` and `stride` count elements, as torch counts them."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride


class _Parameter:
    """A parameter in a state dict: torch before 0.4 saved parameters there, not their tensors."""

    data: _Tensor | None

    def __new__(cls, data: _Tensor | None = None, requires_grad: bool = True) -> "_Parameter":
        parameter = super().__new__(cls)
        parameter.data = data
        return parameter

    def __setstate__(self, state: tuple) -> None:
        if len(state) == 5:  # the oldest form; later ones give `data` to the constructor
            self.data = state[0]


class _Unpickler(pickle.Unpickler):
    """Resolves the names that a state dict needs and refuses all others; imports nothing.

    `storages` lists the storages in the order in which the pickle names them.
    """

    def __init__(self, stream: BinaryIO, name: str):
        super().__init__(stream)
        self._name = name
        self.storages: list[_Storage] = []

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda *args: _Tensor(*args)  # a new function each time: a pickle may set attributes on it
        if (module, name) == ("torch.nn.parameter", "Parameter"):
            return _Parameter
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise UserError(f"{self._name}: asks for {module}.{name}, which weights do not need: refused, nothing was run")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, _, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"unknown kind of storage {pid!r}")
        self.storages.append(_Storage(dtype, key))
        return self.storages[-1]


def _read_zip(stream: BinaryIO, name: str) -> tuple[Any, dict[_Storage, np.ndarray]]:
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        [root] = [entry.removesuffix("data.pkl") for entry in names if entry.endswith("/data.pkl")]
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise pickle.UnpicklingError("written on a big-endian machine")
        unpickler = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")), name)
        structure = unpickler.load()
        storages = {}
        for storage in unpickler.storages:
            storages[storage] = np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)
        return structure, storages


def _read_legacy(stream: BinaryIO, name: str) -> tuple[Any, dict[_Storage, np.ndarray]]:
    def unpickle() -> Any:
        return _Unpickler(stream, name).load()

    unpickle(), unpickle()  # magic number, version
    if not unpickle()["little_endian"]:
        raise pickle.UnpicklingError("written on a big-endian machine")
    unpickler = _Unpickler(stream, name)
    structure = unpickler.load()
    by_key = {storage.key: storage for storage in unpickler.storages}
    storages = {}
    for key in unpickle():
        storage = by_key[key]
        count = int(np.frombuffer(stream.read(8), "<i8")[0])
        storages[storage] = np.frombuffer(stream.read(count * np.dtype(storage.dtype).itemsize), storage.dtype, count)
    return structure, storages


def _tensor_view(tensor: _Tensor, storages: dict[_Storage, np.ndarray]) -> np.ndarray:
    """Returns the tensor as a read-only view of its storage. UnpicklingError if it reaches outside the storage."""
    storage = storages[tensor.storage]
    steps = [(size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride, strict=True)]
    if min(tensor.offset, *tensor.shape, *tensor.stride, 0) < 0 or tensor.offset + sum(steps) >= storage.size:
        raise pickle.UnpicklingError(f"a tensor of shape {tensor.shape} leaves its storage of {storage.size} elements")
    strides = [stride * storage.itemsize for stride in tensor.stride]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)
