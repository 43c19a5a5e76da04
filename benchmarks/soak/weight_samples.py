"""Small valid weight files of each format, of one or two of VGG-19's arrays, for fuzzing."""

import io
import pickle
import zipfile
from collections.abc import Sequence

import h5py
import numpy as np
import safetensors.numpy

from ipmedgan_jax.pretrained.weight_files import FORMAT

_BIAS = np.arange(64, dtype=np.float32)


def files() -> Sequence[bytes]:
    """Returns one file of each format."""
    return tuple(make() for make in MAKERS.values())


def npz() -> bytes:
    stream = io.BytesIO()
    texts = {"format": FORMAT, "preprocessing": "caffe", "source": "x"}
    np.savez_compressed(stream, **texts, **{"conv1_1/bias": _BIAS})  # type: ignore[arg-type]
    return stream.getvalue()


def hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        kernel = np.arange(1728, dtype=np.float32).reshape(3, 3, 3, 64)
        file.create_dataset("block1_conv1/a/kernel", data=kernel, chunks=(3, 2, 3, 40), compression="gzip", shuffle=True)
        file["block1_conv1/a/bias"] = _BIAS
    return stream.getvalue()


def safe_tensors() -> bytes:
    return safetensors.numpy.save({"features.0.bias": _BIAS, "features.2.bias": _BIAS})


def _text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def _state() -> bytes:
    """Returns the pickle of a state dict of one tensor, in the opcodes of `torch.save`."""
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x40"
    view = b"K\0K\x40\x85K\x01\x85\x89ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + view + b"tR"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + _text("features.0.bias") + tensor + b"u."


def torch_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", _state())
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", _BIAS.tobytes())
    return stream.getvalue()


def torch_legacy() -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [*(pickle.dumps(part, 2) for part in head), _state(), pickle.dumps(["0"], 2)]
    return b"".join([*parts, (64).to_bytes(8, "little"), _BIAS.tobytes()])


MAKERS = {"npz": npz, "hdf5": hdf5, "safetensors": safe_tensors, "zip": torch_zip, "legacy": torch_legacy}
