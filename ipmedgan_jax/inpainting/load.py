"""Loading the generator and the finder that a command's flags name."""

from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.inpainting import shipped
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.model import Generator


def load(workdir: str | None, model: str | None, checkpoint: str) -> Generator:
    """Loads the generator of a run, or of a folder that `ipmedgan_jax.export` wrote, or of a model of the package.

    A compiled model needs no training code, and none is imported for it. UserError unless exactly one of the two is given.

    Args:
      workdir: the run's folder, or None.
      model: the exported folder or the name of a model of the package, or None.
      checkpoint: `best` or `latest`, of the run.
    """
    if (workdir is None) == (model is None):
        raise UserError("expected either --workdir or --model")
    if model is not None:
        return _load_model(shipped.find(model))
    from ipmedgan_jax.inpainting import load_run

    return load_run.load(user_path(str(workdir)), checkpoint)


def _load_model(folder: Path) -> Generator:
    """Loads a model folder of either kind."""
    from ipmedgan_jax.inpainting import model_files

    if model_files.read_description(folder)["format_version"] == model_files.WEIGHTS_FORMAT:
        from ipmedgan_jax.inpainting import exported_weights

        return exported_weights.read(folder)
    from ipmedgan_jax.inpainting import exported

    return exported.read(folder)


def load_finder(workdir: str, generator: Generator) -> LoadedFinder:
    """Loads a run's finder; UserError if it was trained on another modality than the generator."""
    from ipmedgan_jax.inpainting import load_run

    finder = load_run.load_finder(user_path(workdir), "best")
    modalities = finder.preparation.modality, generator.trained.preparation.modality
    if len(set(modalities)) > 1:
        raise UserError(f"--finder={workdir}: was trained on {modalities[0]}, the generator on {modalities[1]}")
    return finder
