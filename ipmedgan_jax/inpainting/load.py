"""A generator by the command's flags: from a run, or from an exported folder."""

from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.model import Generator


def load(workdir: str | None, model: str | None, checkpoint: str) -> Generator:
    """The generator of a run, or of a folder that `ipmedgan_jax.export` wrote, for which no training code is imported."""
    if (workdir is None) == (model is None):
        raise UserError("expected either --workdir or --model")
    if model is not None:
        from ipmedgan_jax.inpainting import exported

        return exported.read(Path(model).expanduser())
    from ipmedgan_jax.inpainting import load_run

    return load_run.load(Path(str(workdir)).expanduser(), checkpoint)


def load_finder(workdir: str, generator: Generator) -> LoadedFinder:
    """The network of a run that finds damage, on scans like the generator's."""
    from ipmedgan_jax.inpainting import load_run

    finder = load_run.load_finder(Path(workdir).expanduser(), "best")
    modalities = finder.preparation.modality, generator.trained.preparation.modality
    if len(set(modalities)) > 1:
        raise UserError(f"--finder={workdir}: was trained on {modalities[0]}, what fills on {modalities[1]}")
    return finder
