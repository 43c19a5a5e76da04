"""The side of the images that a config's networks see."""

from ml_collections import ConfigDict


def input_size(config: ConfigDict) -> int:
    """Returns the side in pixels: `data.window` if networks see windows of slices, else `data.image_size`."""
    return config.data.window or config.data.image_size
