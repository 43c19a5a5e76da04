"""VGG-19 up to conv5_1, the fixed network whose features the style term and the VGG distance compare.

Simonyan and Zisserman 2015 (arXiv:1409.1556), configuration E: 3x3 convolutions with zero padding, each followed by ReLU, and
2x2 maximum pooling between blocks. Kernels are `[row, column, in, out]`. Their input channels have the order that the
weights were trained with: BGR for the original (Caffe) weights, RGB for torchvision's. `ipmedgan_jax.pretrained` supplies
the weights.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.winograd import conv3x3

BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (1, 512))
"""(Number of convolutions, channels) of each block; of the last block only conv5_1 is used."""

LAYERS = {f"conv{block}_{i}": width for block, (count, width) in enumerate(BLOCKS, 1) for i in range(1, count + 1)}
"""The 13 convolutions in order, with their output channels."""

FEATURES = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
"""Layers whose activations are returned: the style layers of Gatys et al. 2016."""

MIN_SIDE = 16
"""Pixels: side of an image that has one pixel at conv5_1."""

PREPROCESSINGS = ("caffe", "torchvision")


def kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    """The kernel shape `[3, 3, in, out]` of each layer."""
    inputs = [3, *LAYERS.values()]
    return {name: (3, 3, before, width) for before, (name, width) in zip(inputs, LAYERS.items(), strict=False)}


def blank_params() -> dict[str, dict[str, Array]]:
    """Returns parameters of the right shapes that are all zero."""
    shapes = kernel_shapes().items()
    return {name: {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[-1])} for name, shape in shapes}


def preprocess(image: Array, preprocessing: str) -> Array:
    """Scales grey images as the weights' training images were: `[B, H, W, 1]` in [-1, 1] -> `[B, H, W, 3]`.

    `caffe`: BGR, 0..255 minus the mean colour. `torchvision`: RGB, [0, 1] standardised by ImageNet's mean and standard
    deviation. ValueError for another name.
    """
    if preprocessing == "caffe":
        return (image + 1.0) * 127.5 - _per_channel(103.939, 116.779, 123.68)
    if preprocessing == "torchvision":
        return ((image + 1.0) * 0.5 - _per_channel(0.485, 0.456, 0.406)) / _per_channel(0.229, 0.224, 0.225)
    raise ValueError(f"preprocessing {preprocessing!r}: must be one of {', '.join(PREPROCESSINGS)}")


class VGG19(nn.Module):
    """Grey images `[B, H, W, 1]` in [-1, 1] -> the activations of `FEATURES`, `[B, H/2^n, W/2^n, C]` for n = 0..4.

    H and W are at least 16; the pooling drops the last row or column of an odd size. Parameters are float32; `dtype` is the
    type of the computation and of the features. ValueError for another shape or a smaller image.
    """

    preprocessing: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, ...]:
        if image.ndim != 4 or image.shape[-1] != 1 or min(image.shape[1:3]) < MIN_SIDE:
            raise ValueError(f"image {image.shape}: expected [B, H, W, 1] with H and W of at least {MIN_SIDE}")
        x = preprocess(image.astype(jnp.float32), self.preprocessing)
        features = []
        for name, width in LAYERS.items():
            if name.endswith("_1") and name != "conv1_1":
                x = max_pool(x)
            x = nn.relu(Conv3x3(width, self.dtype, name=name)(x))
            if name in FEATURES:
                features.append(x)
        return tuple(features)


class Conv3x3(nn.Module):
    """3x3 convolution with zero padding of 1 and a bias: `[B, H, W, C] -> [B, H, W, F]`."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return conv3x3(x.astype(self.dtype), kernel.astype(self.dtype)) + bias.astype(self.dtype).reshape(1, 1, 1, -1)


def max_pool(x: Array) -> Array:
    """Maximum over 2x2 pixels: `[B, H, W, C] -> [B, H//2, W//2, C]`.

    `nn.max_pool` is the same function, but its gradient takes 13 times as long on a CPU (127 ms against 9 ms at
    256x256x64). Here equal pixels share the gradient; `nn.max_pool` gives it to the first of them.
    """
    rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = jnp.maximum(x[:, 0:rows:2], x[:, 1:rows:2])
    return jnp.maximum(x[:, :, 0:columns:2], x[:, :, 1:columns:2])


def _per_channel(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(1, 1, 1, 3)
