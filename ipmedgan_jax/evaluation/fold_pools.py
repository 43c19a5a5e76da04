"""Pools the folds of a cross-validation: runs of one system, each tested on the subjects of another fold, become one run.

So each subject is scored by the training that did not see it. Runs are pooled whose data are folds of one division and whose
configs are equal but for the fold. Runs with other seeds are pooled on their own; `seed_groups` then makes one row of them.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.evaluation import reports, saved_fills
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.metrics import KernelDistance
from ipmedgan_jax.evaluation.trainings import Training, read_training, why_different
from ipmedgan_jax.experiment.saved_config import DATASET, LESION_SHAPES


@dataclass(frozen=True, eq=False)
class Row:
    """A run to compare, pooled where it has folds.

    `apart` names an earlier run of its system and, in brackets, why the two are not pooled; it is empty without one.
    """

    run: Run
    apart: str = ""


def pool(runs: Sequence[Run]) -> list[Row]:
    """Pools the runs that have folds, and leaves the others as they are; a pool stands where its first run stood."""
    pools: list[list[Training]] = []
    reasons: list[str] = []
    for training in map(read_training, runs):
        earlier = [group for group in pools if _may_share_a_row(group[0], training)]
        apart = [_why_apart(group, training) for group in earlier]
        if "" in apart:
            earlier[apart.index("")].append(training)
            continue
        pools.append([training])
        reasons.append(f"{earlier[0][0].run.name} ({apart[0]})" if earlier else "")
    return [Row(_pooled([training.run for training in group]), apart) for group, apart in zip(pools, reasons, strict=True)]


def folds_text(run: Run) -> str:
    """Returns which folds a run has: `fold 2 of 5`, `folds 1, 2 and 4 of 5`, or `no fold of a cross-validation`."""
    indices = [str(fold.index) for fold in run.folds]
    if not indices:
        return "no fold of a cross-validation"
    return f"{_listed('fold', indices)} of {run.folds[0].count}"


def missing_folds(run: Run) -> str:
    """Returns which folds a pooled run lacks: `fold 3`, `folds 2 and 3`; empty if it has all, or is no fold."""
    present = {fold.index for fold in run.folds}
    missing = [str(index) for index in range(1, run.folds[0].count + 1) if index not in present] if present else []
    return _listed("fold", missing) if missing else ""


def _listed(noun: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{noun} {names[0]}"
    return f"{noun}s {', '.join(names[:-1])} and {names[-1]}"


def _may_share_a_row(first: Training, training: Training) -> bool:
    """Whether two runs are folds of one system, trained with one seed."""
    same = first.run.system == training.run.system and first.seed == training.seed
    return same and bool(first.run.folds) and bool(training.run.folds)


def _why_apart(group: Sequence[Training], training: Training) -> str:
    """Returns why a run is no further fold of the pool; empty if it is one."""
    first, run = group[0], training.run
    (fold,) = run.folds
    data, other = first.run.report["data"], run.report["data"]
    if first.run.folds[0].count != fold.count or data["division"] != other["division"]:
        return "prepared from other files, with other settings, or as one of another number of folds"
    if first.run.report["holes"] != run.report["holes"] or any(data[key] != other[key] for key in ("split", "vgg19")):
        return "scored on another split, on other holes or with other VGG-19 weights"
    if _form(first.run) != _form(run):
        return "scored with other metrics, or on images of another size"
    if run.learns and (
        different := why_different(first, training, free=("data.fold", DATASET, LESION_SHAPES), epochs_differ=True)
    ):
        return different
    for member in group:
        if member.run.folds == run.folds:
            return f"both are fold {fold}"
        if both := sorted(member.run.subject_means["hole"].keys() & run.subject_means["hole"].keys()):
            return f"{counted(len(both), 'subject')} of fold {fold} are in fold {member.run.folds[0]} too, such as {both[0]}"
    return ""


def _form(run: Run) -> tuple:
    """Returns what the scores and fills of all folds must share: the metrics, and the sizes of images and fills."""
    metrics = [set(names) for names in (run.report["region"]["hole"], run.scores[0].hole_scores, run.scores[0].image_scores)]
    images = (run.fills.image, *([run.fills.kept_grey] if len(run.fills.kept) else []))
    return (metrics, run.window, run.fills.fill.shape[1:], {array.shape[1:] for array in images})


def _pooled(runs: Sequence[Run]) -> Run:
    """Returns one run with the slices of all folds, in their order; a run without folds as it is."""
    if not runs[0].folds:
        return runs[0]
    parts = tuple(sorted(runs, key=lambda run: run.folds[0].index))
    first, scores = parts[0], tuple(score for run in parts for score in run.scores)
    fills = saved_fills.joined([run.fills for run in parts])
    return replace(first, report=_pooled_report(parts, scores), scores=scores, fills=fills, parts=parts)


def _pooled_report(parts: Sequence[Run], scores: Sequence[reports.SliceScore]) -> dict:
    """Returns the report of all folds; it names no step, and the division in the place of a fold's fingerprint."""
    report = parts[0].report
    seen = [part.report["images_seen"] or 0 for part in parts]
    seconds = [part.report["seconds_per_slice"] for part in parts if part.report["seconds_per_slice"] is not None]
    subjects = sorted({score.subject for score in scores})
    return reports.report(
        scores,
        system=report["system"],
        step=None,
        data=report["data"] | {"fingerprint": report["data"]["division"], "fold": "", "subjects": subjects},
        holes=report["holes"],
        seconds_per_slice=statistics.median(seconds) if seconds else None,
        kid=_pooled_kid(parts),
        parameters=report["parameters"] or 0,
        images_seen=round(statistics.mean(seen)),
    )


def _pooled_kid(parts: Sequence[Run]) -> KernelDistance | None:
    """Returns the mean of the folds' KID, each weighted by its subjects; None if a fold has none.

    Its pairs of slices are of different subjects of one fold: fills of two trainings are two distributions.
    """
    found = [part.estimate("kid") for part in parts]
    known = [entry for entry in found if entry is not None]
    if len(known) < len(parts):
        return None
    counts = [part.report["subjects"] for part in parts]
    value = sum(count * entry["mean"] for count, entry in zip(counts, known, strict=True)) / sum(counts)
    each = [entry.get("pseudo_values", {}) for entry in known]
    return KernelDistance(value, {name: found for values in each for name, found in values.items()} if all(each) else {})
