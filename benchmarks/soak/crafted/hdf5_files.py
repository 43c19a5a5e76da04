"""Crafted HDF5 files, as Keras writes VGG-19."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from benchmarks.soak.crafted.registry import BOMB, crafted


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


@crafted
def hdf5_whose_layer_is_an_external_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["block1_conv1"] = h5py.ExternalLink(str(_other(path)), "block1_conv1")


@crafted
def hdf5_whose_array_is_an_external_link(path: Path) -> None:
    other = _other(path)
    _hdf5(path, lambda group: group.__setitem__("kernel", h5py.ExternalLink(str(other), "block1_conv1/kernel")))


@crafted
def hdf5_with_a_soft_link(path: Path) -> None:
    _hdf5(path, lambda group: group.__setitem__("kernel", h5py.SoftLink("/block1_conv1")))


@crafted
def hdf5_with_external_storage(path: Path) -> None:
    other = path.with_name("other.raw")
    other.write_bytes(bytes(4 * 1728))
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, "f4", external=[(str(other), 0, 4 * 1728)]))


@crafted
def hdf5_with_a_virtual_dataset(path: Path) -> None:
    layout = h5py.VirtualLayout(_KERNEL, "f4")
    layout[:] = h5py.VirtualSource(str(_other(path)), "block1_conv1/kernel", _KERNEL)
    _hdf5(path, lambda group: group.create_virtual_dataset("kernel", layout))


@crafted
def hdf5_of_a_huge_shape(path: Path) -> None:
    _hdf5(path, lambda group: group.create_dataset("kernel", (2**20, 2**20, 3, 3), "f4", chunks=(1, 1, 3, 3)))


@crafted
def hdf5_with_huge_chunks(path: Path) -> None:
    most, chunks = (None, None, 3, 64), (1024, 512, 3, 64)
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, "f4", maxshape=most, chunks=chunks, compression="gzip"))


@crafted
def hdf5_whose_chunk_unpacks_to_a_bomb(path: Path) -> None:
    import zlib

    def add(group: h5py.Group) -> None:
        dataset = group.create_dataset("kernel", _KERNEL, "f4", chunks=_KERNEL, compression="gzip")
        dataset.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(BOMB), 9)[:12_000])

    _hdf5(path, add)


@crafted
def hdf5_compressed_by_a_plugin(path: Path) -> None:
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, "f4", chunks=_KERNEL, compression="lzf"))


@crafted
def hdf5_of_texts(path: Path) -> None:
    _hdf5(path, lambda group: group.create_dataset("kernel", _KERNEL, h5py.string_dtype()))


@crafted
def hdf5_of_a_million_groups(path: Path) -> None:
    _hdf5(path, lambda group: [group.create_group(str(i)) for i in range(1000)])


@crafted
def hdf5_with_a_loop_of_groups(path: Path) -> None:
    def add(group: h5py.Group) -> None:
        group["again"] = group

    _hdf5(path, add)
