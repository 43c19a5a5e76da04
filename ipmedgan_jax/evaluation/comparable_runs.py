"""Reads the runs of a comparison, pools folds, and checks that all were scored alike: the same data, holes and slices."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation import evaluated_runs, fold_pools
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.fold_pools import Row, folds_text


def read_all(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Reads the runs that can be compared, in the order of the folders; also returns the reasons why others cannot.

    The folds of a cross-validation come as one run (`fold_pools`).
    """
    found: list[Run] = []
    left_out: list[str] = []
    for folder in folders:
        try:
            run = evaluated_runs.read(folder)
            if same := next((other.folder for other in found if other.folder.resolve() == folder.resolve()), None):
                raise UserError(f"{folder}: the same folder as {same}, which is compared already")
            found.append(run)
        except UserError as error:
            left_out.append(str(error))
    names = evaluated_runs.distinct_names([run.folder for run in found])
    runs: list[Run] = []
    for row in fold_pools.pool([replace(run, name=name) for run, name in zip(found, names, strict=True)]):
        try:
            if runs:
                _check_same(runs[0], row)
            runs.append(row.run)
        except UserError as error:
            left_out.append(str(error))
    return _label_uniquely(runs), left_out


def _check_same(first: Run, row: Row) -> None:
    """Raises UserError unless both runs were scored on the same data and holes, with the same metrics."""
    run = row.run
    if first.folds != run.folds:
        apart = f"; it is not pooled with {row.apart}" if row.apart else ""
        others = f" and {len(run.parts) - 1} more" if len(run.parts) > 1 else ""
        raise UserError(
            f"{run.folder}{others}: scored on {folds_text(run)}, but {first.folder} on {folds_text(first)}{apart}"
        )
    if first.window != run.window:
        raise UserError(
            f"{run.folder}: scored on {_seen(run.window)}, but {first.folder} on {_seen(first.window)}; compare runs whose "
            "data.window is the same"
        )
    for what, key in (("data", "fingerprint"), ("weights of the VGG distance", "vgg19")):
        if first.report["data"][key] != run.report["data"][key]:
            raise UserError(f"{run.folder}: scored with other {what} than {first.folder}")
    if first.report["region"]["hole"].keys() != run.report["region"]["hole"].keys():
        raise UserError(f"{run.folder}: scored with other metrics than {first.folder}")
    if _holes(first) != _holes(run):
        raise UserError(f"{run.folder}: scored on other holes than {first.folder}")


def _seen(window: int) -> str:
    return f"windows of {window} pixels" if window else "whole slices"


def _holes(run: Run) -> list[tuple]:
    """Returns subject, volume, index and hole of each slice."""
    return [(score.subject, score.volume, score.index, score.hole) for score in run.scores]


def _label_uniquely(runs: Sequence[Run]) -> list[Run]:
    """Adds the folder's name to the label of each run whose system occurs more than once."""
    labels = [run.label for run in runs]
    return [replace(run, label=f"{run.label} ({run.name})") if labels.count(run.label) > 1 else run for run in runs]
