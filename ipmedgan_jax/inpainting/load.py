"""Loading the filler and the finder that a command's flags name."""

from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.inpainting import shipped
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.model import Generator


def load_filler(workdir: str | None, model: str | None, system: str | None, checkpoint: str) -> Filler:
    """Loads what fills: a run's generator, an exported one, or a classical fill by its name.

    UserError unless exactly one of `workdir`, `model` and `system` is given.
    """
    given = sum(source is not None for source in (workdir, model, system))
    if given != 1:
        example = "" if given else ", for example --model=flair"
        raise UserError(f"expected one of --workdir, --model and --system{example}")
    return LearnedFiller(load(workdir, model, checkpoint)) if system is None else ClassicalFiller(system)


def load(workdir: str | None, model: str | None, checkpoint: str) -> Generator:
    """Loads the generator of a run, or of a folder that `ipmedgan_jax.export` wrote, or of a model of the package.

    A compiled model needs no training code, and none is imported for it. Exactly one of the two is given.

    Args:
      workdir: the run's folder, or None.
      model: the exported folder or the name of a model of the package, or None.
      checkpoint: `best`, `latest` or a step, of the run.
    """
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


def load_finder(workdir: str, filler: Filler) -> LoadedFinder:
    """Loads a run's finder; UserError if it was trained on another modality than a generator."""
    from ipmedgan_jax.experiment.checkpoints import DamagedChoice
    from ipmedgan_jax.inpainting import load_run

    try:
        finder = load_run.load_finder(user_path(workdir), "best")
    except DamagedChoice as error:
        raise UserError(f"--finder={workdir}: {error.problem}; move that checkpoint away to use another") from error
    modality = finder.preparation.modality
    if filler.modality not in (None, modality):
        raise UserError(f"--finder={workdir}: was trained on {modality}, the generator on {filler.modality}")
    return finder
