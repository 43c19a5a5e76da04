"""What a generator was trained on, for the sidecar, and warnings if that makes its fills doubtful."""

from typing import Any

from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.imaging.contrasts import contrast_of, modality_of
from ipmedgan_jax.imaging.scans import Scan
from ipmedgan_jax.inpainting.model import Generator

FEWEST_SLICES_SEEN = 1000
"""Training slices, repetitions included, below which a generator has hardly learned; docs/results.md starts at 1,200."""

_RECORDED = ("phantom", "modality", "contrasts", "subjects", "volumes", "slices", "slices_seen", "fingerprint")


def describe_training(generator: Generator) -> dict[str, Any]:
    """Returns what a generator was trained on: the entries of a sidecar; null for what an earlier version did not record.

    `phantom` tells whether the scans were the built-in phantom. `slices_seen` counts repetitions, `slices` does not.
    """
    known = {"modality": generator.trained.preparation.modality} | generator.training_data
    return {name: known.get(name) for name in _RECORDED} | {"steps": generator.step}


def training_warnings(generator: Generator, scan: Scan) -> list[str]:
    """Returns the warnings about the training and about a scan of another contrast, one line each."""
    known = generator.training_data
    phantom, seen = known.get("phantom"), known.get("slices_seen")
    lines = []
    if phantom:
        lines.append("the generator was trained on the built-in phantom: what it fills into a real scan means nothing")
    if seen is not None and seen < FEWEST_SLICES_SEEN:
        lines.append(
            f"the generator was trained for {counted(generator.step, 'step')}, on {counted(seen, 'slice')}, repetitions "
            f"included; below {FEWEST_SLICES_SEEN:,} it has hardly learned"
        )
    if phantom is None or seen is None:
        lines.append("the model does not record how long it was trained, or whether on a phantom; export it again")
    return [*lines, *_contrast_warning(generator, scan)]


def _contrast_warning(generator: Generator, scan: Scan) -> list[str]:
    """Warns of a scan whose name or DICOM header tells another modality or contrast than the training scans had."""
    modality = generator.trained.preparation.modality
    contrast, trained_on = contrast_of(scan.volume.path), generator.training_data.get("contrasts") or []
    told = scan.file.modality or modality_of(scan.volume.path)
    if told and told != modality:
        return [f"is of modality {told} by its name or header; the generator was trained on {modality}"]
    if contrast and trained_on and contrast not in trained_on:
        return [f"is a {contrast} scan by its name; the generator was trained on {', '.join(trained_on)}"]
    return []
