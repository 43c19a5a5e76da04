"""Model cards: what a model fills, what it was trained on, its scores, its limits and its terms, in Markdown."""

from dataclasses import dataclass
from typing import Any

import ipmedgan_jax
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.inpainting.model import Generator

INTENDED_USE = (
    "For research: to give later steps of a pipeline an image without the masked part. What is filled in is invented. "
    "Not for diagnosis."
)


@dataclass(frozen=True)
class Terms:
    """The terms under which a model may be used, and the sources of its training data.

    Attributes:
      licence: the licence of the weights; empty if not stated.
      attribution: texts that name the training data, their authors and their licences.
    """

    licence: str = ""
    attribution: tuple[str, ...] = ()


NOT_STATED = Terms()


def card(generator: Generator, scores: dict[str, Any] | None, terms: Terms = NOT_STATED, notes: str = "") -> str:
    """Returns a model card in Markdown.

    Args:
      generator: the model.
      scores: the content of the run's metrics.json, or None; those of another checkpoint are left out.
      terms: licence and attribution.
      notes: Markdown to add at the end, for example further scores and known limits.
    """
    trained = generator.trained
    settings = trained.preparation
    seen = "whole slices, seen in windows" if settings.keeps_whole_slices else "slices"
    shape = "of any shape, at most" if trained.trained_on_any_shape else "that are squares of"
    lines = [
        f"# {generator.name}, step {generator.step}",
        "",
        f"Fills holes {shape} {trained.hole_size} x {trained.hole_size} pixels in {settings.modality.upper()} {seen} of "
        f"{settings.image_size} x {settings.image_size} pixels. Made with ipmedgan_jax {ipmedgan_jax.__version__}.",
        "",
        "## Use",
        "",
        "`python -m ipmedgan_jax.inpaint --model=THIS_FOLDER --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz`",
        "",
        INTENDED_USE.replace("Not for diagnosis", "**Not for diagnosis**"),
        "",
        "## Trained on",
        "",
        *_training_lines(generator.training_data),
        "",
        "## Scores",
        "",
        *([other] if (other := of_other_checkpoint(generator, scores)) else _score_lines(scores)),
        "",
        "## Licence",
        "",
        f"{terms.licence or 'Not stated.'}",
    ]
    for text in terms.attribution:
        lines += ["", "```text", text.strip(), "```"]
    if notes.strip():
        lines += ["", notes.strip()]
    return "\n".join(lines) + "\n"


def _training_lines(data: dict[str, Any]) -> list[str]:
    """Returns the lines about the training scans; `data` is `Generator.training_data`."""
    if "slices" not in data:
        return ["Not recorded."]
    spacing = [" x ".join(f"{value:.3g}" for value in data[key]) for key in ("lowest_spacing_mm", "highest_spacing_mm")]
    slices, volumes, subjects = (
        counted(data[key], noun) for key, noun in (("slices", "slice"), ("volumes", "scan"), ("subjects", "subject"))
    )
    line = (
        f"{slices} of {volumes} of {subjects}; voxels of {spacing[0]} to {spacing[1]} mm. Nothing is known of how it "
        "does on other scanners, sequences, ages or illnesses."
    )
    return [line]


def of_other_checkpoint(generator: Generator, scores: dict[str, Any] | None) -> str:
    """Returns a sentence if scores are of another checkpoint than the generator, by their step and weights; else nothing."""
    if scores is None:
        return ""
    if scores.get("step") != generator.step:
        return f"Evaluated at step {scores.get('step')}, not at this one, {generator.step}."
    if (scores.get("weights_sha256") or generator.weights_sha256) != generator.weights_sha256:
        return f"Evaluated at step {generator.step}, with other weights than these."
    return ""


def _score_lines(scores: dict[str, Any] | None) -> list[str]:
    """Returns the lines about the scores; `scores` is the content of metrics.json, or None."""
    if not scores:
        return ["Not evaluated."]
    subjects = counted(scores["subjects"], f"{scores['data']['split']} subject")
    holes = counted(scores["slices"], "square hole")
    lines = [f"On {holes} of {subjects}, mean and 95 % interval over subjects, for this one training:", ""]
    lines += ["| score | mean | interval |", "|---|---|---|"]
    for name, score in scores["region"]["hole"].items():
        if isinstance(score, dict):  # others are derived from these
            interval = " to ".join(f"{end:.4g}" for end in score["ci95"] or ())
            lines.append(f"| {name} | {score['mean']:.4g} | {interval} |")
    return lines
