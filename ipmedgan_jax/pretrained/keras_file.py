"""Reads VGG-19's arrays from Keras' HDF5 files, and from no other file that they name.

HDF5 can refer to other files: by external links, by external storage and by virtual datasets. A small file can also ask for
much memory, by shapes, chunks and compression. So links are not followed, shapes are compared first, and compressed chunks
are unpacked here, no further than to their size: HDF5's own filter unpacks them whole.
"""

import itertools
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from ipmedgan_jax.core import regular_files
from ipmedgan_jax.core.errors import UserError, reason

_DEEPEST, _MOST = 4, 32
"""Levels of groups below a layer's, and members of a layer at all levels; Keras has one or two levels, and two arrays."""

_LARGEST_CHUNK = 2**20
"""Bytes of a dataset's chunk that may be larger than the dataset."""

_MOST_CHUNKS = 10_000
"""Chunks of one dataset; HDF5 makes some hundred of VGG-19's largest."""

_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE)
"""Filters of compressed datasets that are read, in the order in which they are applied."""


def read(path: Path, layers: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[np.ndarray | None, np.ndarray | None]]:
    """Returns each layer's (kernel, bias), None where there is none, by the name of its group.

    A layer's group, in a file of any age, holds one kernel and one bias, whose names vary. Other arrays are left out.

    Args:
      path: the file.
      layers: the expected shape of each layer's kernel, by the name of its group.

    Raises UserError if the file is damaged, or if an array has another shape, lies in another file or is compressed.
    """
    try:
        with h5py.File(regular_files.regular_file(path), "r") as file:
            return {name: _read_layer(file, name, shape) for name, shape in layers.items()}
    except UserError:
        raise
    except Exception as error:  # h5py raises many types for a damaged file
        raise UserError(f"{path}: not a readable HDF5 file: {reason(error)}") from error


def _read_layer(file: h5py.File, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray | None, np.ndarray | None]:
    found: dict[int, np.ndarray] = {}
    expected = {4: shape, 1: shape[-1:]}
    layer = _member(file, name)
    for place, dataset in _datasets(layer, name) if isinstance(layer, h5py.Group) else ():
        if dataset.ndim in expected:
            _check(dataset, place, expected[dataset.ndim])
            found[dataset.ndim] = _unpacked(dataset, place) if _filters(dataset) else dataset[()]
    return found.get(4), found.get(1)


def _member(group: h5py.Group, name: str) -> object:
    """Returns an object of a group, None if there is none; ValueError for a link to another place or file."""
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name[:80]} is a link to another place or file")
    return group[name]


def _datasets(layer: h5py.Group, name: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the datasets in a layer's group and in the groups below it, with their places; ValueError for too many."""
    level, count = [(name, layer)], 0
    for _ in range(_DEEPEST):
        below = []
        for place, group in level:
            for inner in group:
                if (count := count + 1) > _MOST:
                    raise ValueError(f"{name} holds more than {_MOST} groups and datasets")
                member = _member(group, inner)
                if isinstance(member, h5py.Dataset):
                    yield f"{place}/{inner}", member
                elif isinstance(member, h5py.Group):
                    below.append((f"{place}/{inner}", member))
        level = below


def _check(dataset: h5py.Dataset, place: str, shape: tuple[int, ...]) -> None:
    """ValueError unless a dataset lies whole in its file, has this shape and holds floats."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{place[:80]} lies in another file")
    if dataset.shape != shape:
        raise ValueError(f"{place[:80]}: expected shape {shape}, found {dataset.shape}")
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
        raise ValueError(f"{place[:80]}: expected floats, found {str(dataset.dtype)[:40]}")
    if any(kind not in _FILTERS for kind in _filters(dataset)):
        raise ValueError(f"{place[:80]} is compressed in another way than by gzip; unpack it with h5repack -f NONE")
    chunks = dataset.chunks or dataset.shape
    size = math.prod(chunks) * dataset.dtype.itemsize
    if size > max(dataset.nbytes, _LARGEST_CHUNK) or math.prod(_grid(dataset.shape, chunks)) > _MOST_CHUNKS:
        raise ValueError(f"{place[:80]} has chunks of the shape {chunks}")


def _filters(dataset: h5py.Dataset) -> list[int]:
    """Returns the filters that the bytes of a dataset went through, in order."""
    made = dataset.id.get_create_plist()
    return [made.get_filter(i)[0] for i in range(made.get_nfilters())]


def _grid(shape: tuple[int, ...], chunks: tuple[int, ...]) -> list[int]:
    """Returns the number of chunks along each axis."""
    return [-(-side // chunk) for side, chunk in zip(shape, chunks, strict=True)]


def _unpacked(dataset: h5py.Dataset, place: str) -> np.ndarray:
    """Returns a compressed dataset; ValueError for a chunk that is missing, damaged, or larger than a chunk is."""
    array, chunks, filters = np.empty(dataset.shape, dataset.dtype), dataset.chunks, _filters(dataset)
    size = math.prod(chunks) * dataset.dtype.itemsize
    for corner in itertools.product(*(range(0, side, chunk) for side, chunk in zip(array.shape, chunks, strict=True))):
        info = dataset.id.get_chunk_info_by_coord(corner)
        if info.byte_offset is None or info.size > 2 * size + 1024:
            raise ValueError(f"{place[:80]}: a chunk is missing or too large")
        skipped, content = dataset.id.read_direct_chunk(corner)
        for i in reversed(range(len(filters))):
            if not skipped >> i & 1:
                content = _undone(filters[i], content, size, dataset.dtype.itemsize)
        if len(content) != size:
            raise ValueError(f"{place[:80]}: a chunk is damaged")
        box = tuple(slice(start, start + chunk) for start, chunk in zip(corner, chunks, strict=True))
        inside = tuple(slice(0, side) for side in array[box].shape)
        array[box] = np.frombuffer(content, dataset.dtype).reshape(chunks)[inside]
    return array


def _undone(kind: int, content: bytes, size: int, itemsize: int) -> bytes:
    """Returns what a filter made `content` of; ValueError if that has not `size` bytes."""
    if kind == h5py.h5z.FILTER_DEFLATE:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(content, size + 1)
    if len(content) != size:
        raise ValueError("a chunk has another size than the file says")
    if kind == h5py.h5z.FILTER_SHUFFLE:
        return np.frombuffer(content, np.uint8).reshape(itemsize, -1).T.tobytes()
    return content
