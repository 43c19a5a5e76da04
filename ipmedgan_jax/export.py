"""Exports a run's generator to a folder that `inpaint --model` runs without the run, its config or the training code.

  python -m ipmedgan_jax.export --workdir=runs/mri --output=models/mri
  python -m ipmedgan_jax.inpaint --model=models/mri --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz

The folder holds the program (StableHLO, for CPUs and NVIDIA GPUs), the weights, the intensity and grid settings, and a model
card.
"""

from absl import flags

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.user_paths import user_path


def main() -> None:
    runtime.set_up()
    from ipmedgan_jax.evaluation import evaluated_runs
    from ipmedgan_jax.inpainting import exported, load_run

    workdir, output = (user_path(given) for given in (flags.FLAGS.workdir, flags.FLAGS.output))
    generator, program, weights = load_run.load_program(workdir, flags.FLAGS.checkpoint)
    evaluated = (workdir / "evaluation" / "metrics.json").exists()
    scores = evaluated_runs.read(workdir).report if evaluated else None
    exported.write(output, generator, program, weights, exported.card(generator, scores))
    size = sum(path.stat().st_size for path in output.iterdir())
    print(f"{output}: {generator.name}, step {generator.step}, {size / 1e6:.1f} MB")


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "the run's folder")
    flags.DEFINE_string("output", None, "folder to write; it must not exist")
    flags.DEFINE_enum(
        "checkpoint", "best", ["best", "latest"], "checkpoint of the run: the best by validation, or the latest"
    )


if __name__ == "__main__":
    run_command(main, define_flags, required=["workdir", "output"])
