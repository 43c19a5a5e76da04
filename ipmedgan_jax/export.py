"""Exports a run's generator to a folder that `inpaint --model` fills with, without the run.

  python -m ipmedgan_jax.export --workdir=runs/mri --output=models/mri
  python -m ipmedgan_jax.export --workdir=runs/mri --output=models/mri --format=weights --licence='CC BY 4.0' \\
      --attribution=data_terms.txt
  python -m ipmedgan_jax.inpaint --model=models/mri --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz

The folder holds the generator, the intensity and grid settings, and a model card, with the run's scores if they are of the
checkpoint that is exported. There are two formats:

  stablehlo  the compiled program (for CPUs and NVIDIA GPUs) and float32 weights. It fills without the training code. JAX
             promises to read it for six months after the version that wrote it.
  weights    bfloat16 weights (safetensors) and the run's config, half as large. This package builds the network from them.
"""

from absl import flags, logging

from ipmedgan_jax.core import checkpoint_choice, runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.lines import print_line
from ipmedgan_jax.core.regular_files import read_text
from ipmedgan_jax.core.user_paths import user_path


def main() -> None:
    runtime.set_up()
    from ipmedgan_jax.evaluation import evaluated_runs
    from ipmedgan_jax.experiment import run_folder
    from ipmedgan_jax.inpainting import exported, exported_weights, load_run
    from ipmedgan_jax.inpainting.model_card import Terms, card, of_other_checkpoint

    given = flags.FLAGS
    workdir, output = (user_path(path) for path in (given.workdir, given.output))
    terms = Terms(given.licence, tuple(_text("attribution", path) for path in given.attribution))
    notes = _text("notes", given.notes) if given.notes is not None else ""
    network = load_run.load_network(workdir, given.checkpoint)
    generator = network.generator()
    evaluated = (workdir / "evaluation" / "metrics.json").exists()
    try:
        scores = evaluated_runs.read(workdir).report if evaluated else None
    except UserError as error:
        raise UserError(f"{error}, or move {workdir / 'evaluation'} away to export without scores") from error
    if other := of_other_checkpoint(generator, scores):
        logging.warning("%s: %s The scores are left out of the card; evaluate this checkpoint for its own", workdir, other)
    text = card(generator, scores, terms, notes)
    if given.format == "weights":
        exported_weights.write(output, network, run_folder.read_config(workdir), text, terms)
    else:
        exported.write(output, generator, network.program, network.weights, text, terms)
    size = sum(path.stat().st_size for path in output.iterdir())
    print_line(f"{output}: {generator.name}, step {generator.step}, {size / 1e6:.1f} MB")


def _text(flag: str, path: str) -> str:
    """Returns the content of a text file that a flag names; UserError if it cannot be read."""
    try:
        return read_text(user_path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--{flag}={path}: expected a text file ({reason(error)})") from error


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "the run's folder")
    flags.DEFINE_string("output", None, "folder to write; it must not exist")
    flags.DEFINE_enum("format", "stablehlo", ["stablehlo", "weights"], "a compiled program, or weights for this package")
    checkpoint_choice.define_flag()
    flags.DEFINE_string("licence", "", "licence of the weights, for model.json and the model card")
    flags.DEFINE_list("attribution", [], "text files that name the training data, their authors and their licences")
    flags.DEFINE_string("notes", None, "Markdown file to add to the model card, for example further scores and known limits")


if __name__ == "__main__":
    run_command(main, define_flags, required=["workdir", "output"])
