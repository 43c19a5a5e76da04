"""A run's health in a few lines: what a practised reader looks for in its curves, with the bound of each warning."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.training.curves import VALIDATION, best_step
from ipmedgan_jax.training.event_reader import Points
from ipmedgan_jax.training.metrics_watch import LOSS

RECENT = 0.2
"""Share of a curve's points, at its end, that counts as now."""

WEAK_LOSS, OFTEN = 0.05, 0.25
"""A discriminator with a lower loss than the first tells fakes almost without error; if so in a larger share of the latest
reports than the second, the generator learns little from it."""

SPIKE = 20.0
"""A gradient norm of so many times the median is a spike."""

SLOWER = 0.7
"""Share of the usual speed below which a run has become slow."""

PATIENCE = 5
"""Validations without a better score after which it is worth a warning."""


@dataclass(frozen=True)
class Finding:
    """One line about a run, and whether it is a warning."""

    text: str
    is_warning: bool = False


def findings(scalars: Mapping[str, Points], best_score: str, phase_start: int = 0) -> list[Finding]:
    """Returns what the curves of a run say: validation, discriminators, gradients, skipped steps and speed.

    Args:
      phase_start: the last step before the present phase; an earlier phase, without discriminators, has another speed.
    """
    found = [*_validation(scalars, best_score), *_discriminators(scalars), *_gradients(scalars)]
    return [*found, *_skipped(scalars), *_speed(scalars, phase_start)]


def _recent(points: Points) -> np.ndarray:
    """Returns the last values that are finite."""
    values = points.arrays()[1]
    values = values[-max(1, round(RECENT * len(values))) :]
    return values[np.isfinite(values)]


def _validation(scalars: Mapping[str, Points], best_score: str) -> list[Finding]:
    points = scalars.get(VALIDATION + best_score)
    if points is None:
        return [Finding("No validation yet.")]
    steps, values = points.arrays()
    lost = int((~np.isfinite(values)).sum())
    bad = [Finding(f"{counted(lost, 'validation')} gave a {best_score} that is not finite.", True)] if lost else []
    best = best_step(points, best_score)
    if best is None:
        return bad
    since = int((steps > best).sum())
    value = f"{best_score} {values[steps == best][-1]:.4g}"
    first = f" (the first: {values[0]:.4g})" if len(steps) > 1 and best != steps[0] else ""
    if len(steps) == 1:
        return [*bad, Finding(f"One validation so far: {value}.")]
    if since == 0:
        return [*bad, Finding(f"The last of {len(steps)} validations is the best: {value} at step {best:,}{first}.")]
    text = f"Best validation: {value} at step {best:,}{first}; {counted(since, 'later validation')} brought no better one."
    return [*bad, Finding(text, since >= PATIENCE)]


def _discriminators(scalars: Mapping[str, Points]) -> list[Finding]:
    found = []
    for name, points in sorted(scalars.items()):
        recent = _recent(points)
        if not name.startswith(LOSS) or not len(recent):
            continue
        network, loss = name.removeprefix(LOSS), recent.mean()
        won = (recent < WEAK_LOSS).mean()
        if won > OFTEN:
            when = f"a loss below {WEAK_LOSS:g} in {won:.0%} of the latest reports"
            text = f"Discriminator {network} tells fakes almost without error ({when}): the generator learns little from it."
            found.append(Finding(text, True))
        else:
            found.append(Finding(f"Discriminator {network} still errs (loss {loss:.2g}): the generator can learn from it."))
    return found


def _gradients(scalars: Mapping[str, Points]) -> list[Finding]:
    found = []
    for name, points in sorted(scalars.items()):
        recent = _recent(points)
        if name.startswith("gradient_norm/") and len(recent) and recent.max() > SPIKE * max(np.median(recent), 1e-30):
            times = recent.max() / np.median(recent)
            text = f"Gradient of {name.removeprefix('gradient_norm/')}: a spike of {times:.0f} times the median lately."
            found.append(Finding(text, True))
    has_norms = any(name.startswith("gradient_norm/") for name in scalars)
    return found or ([Finding("Gradient norms have no large spike lately.")] if has_norms else [])


def _skipped(scalars: Mapping[str, Points]) -> list[Finding]:
    points = scalars.get("skipped_steps")
    if points is None or not len(points.values):
        return []
    return [Finding(f"{counted(int(points.values[-1]), 'step')} skipped: a number was not finite (see Messages).", True)]


def _speed(scalars: Mapping[str, Points], phase_start: int) -> list[Finding]:
    steps, values = scalars.get("images_per_second", Points()).arrays()
    values = values[(steps > phase_start) & np.isfinite(values)]
    if len(values) < 10:
        return []
    now, usual = np.median(values[-round(RECENT * len(values)) :]), np.median(values)
    if now < SLOWER * usual:
        return [Finding(f"Slower than usual: {now:.3g} images a second lately, {usual:.3g} over this phase.", True)]
    return [Finding(f"Speed is steady: {now:.3g} images a second.")]
