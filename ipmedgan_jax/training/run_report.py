"""`report.html` in a run's folder: its curves, examples, settings, data and environment, for a reader without TensorBoard.

The curves come from the event files, so that page and TensorBoard agree, through resumed and killed processes. What was
appended since the last page is read, not all of it again.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.experiment import folder_lock, published, run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.training import curves, health, messages, run_facts, step_files
from ipmedgan_jax.training.event_reader import EventReader
from ipmedgan_jax.training.run_page import Content, page
from ipmedgan_jax.training.summaries import Progress, Summaries, duration

REPORT_FILE = "report.html"

FIRST_DUE = 3600.0
"""Seconds within which the next page is due, as long as the speed is not known."""


class RunReport:
    """Writes the report of a run while it trains; a context manager that writes it at the begin and at the end too.

    A page that cannot be written costs one warning, whatever the reason; the run goes on.

    Args:
      shown: whether this process writes it: the first one alone.
    """

    def __init__(
        self, experiment: Experiment, workdir: Path, summaries: Summaries, progress: Progress, first: int, *, shown: bool
    ) -> None:
        self._experiment, self._workdir, self._progress, self._shown = experiment, workdir, progress, shown
        self._reader = EventReader(workdir / "tensorboard")
        self._messages = messages.Messages(workdir, summaries)
        self._first = self._step = first
        self._summaries, self._was_warned = summaries, False
        self._place = _place(workdir)

    def __enter__(self) -> "RunReport":
        if self._shown:
            self._messages.__enter__()
            self._try(lambda: write_texts(self._experiment, self._workdir, self._summaries, self._first))
            self._write("running")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not self._shown:
            return
        self._messages.write(self._step)
        self._messages.__exit__()
        if error is None:
            self._write("finished" if self._step >= self._experiment.training.steps else "stopped")
        elif isinstance(error, UserError):
            self._write("failed", run_facts.shareable(reason(error), self._workdir))
        else:
            self._write("stopped", f"Stopped without saving ({type(error).__name__}).")

    def note(self, step: int) -> None:
        """Keeps the warnings up to this step, without writing the page."""
        if self._shown:
            self._messages.write(step)

    def write(self, step: int) -> None:
        """Writes the page of a running run, after the step was saved."""
        self._step = step
        if self._shown:
            self._messages.write(step)
            self._write("running")

    def _write(self, state: str, detail: str = "") -> None:
        settings, due, left = self._experiment.training, FIRST_DUE, None
        if self._step > self._first:
            step_seconds = self._progress.mean_step_seconds(self._step)
            due = min(settings.validate_every, settings.checkpoint_every) * step_seconds
            left = (settings.steps - self._step) * step_seconds if state == "running" else None
        about = (self._experiment, self._workdir, self._reader, self._step, state)
        self._try(lambda: _write_page(*about, detail=detail, due=due, left=left))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            if _place(self._workdir) != self._place:
                raise OSError("the run's folder was moved or deleted")
            write()
        except Exception as error:  # a report is no reason to end a run, whatever a file beside it holds
            if not self._was_warned:
                logging.warning("%s: cannot be written (%s); the run goes on", self._workdir / REPORT_FILE, reason(error))
            self._was_warned = True


def _place(folder: Path) -> tuple[int, int] | None:
    """Returns what tells a folder from another one of its name; None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def refresh(experiment: Experiment, workdir: Path) -> None:
    """Writes the report of a run that does not train now, after its evaluation for example; a warning if it cannot be.

    A run that another process trains keeps that process's page.
    """
    if folder_lock.is_held(workdir):
        return
    try:
        with run_folder.open_checkpoints(experiment.training, workdir, create=False) as checkpoints:
            step = checkpoints.latest_step() or 0
        state = "finished" if step >= experiment.training.steps else "stopped"
        _write_page(experiment, workdir, EventReader(workdir / "tensorboard"), step, state)
    except Exception as error:  # as above: the evaluation itself is written
        logging.warning("%s: cannot be written (%s)", workdir / REPORT_FILE, reason(error))


def write_texts(experiment: Experiment, workdir: Path, summaries: Summaries, step: int) -> None:
    """Writes settings, data and environment to TensorBoard, as Markdown tables."""
    settings = published.beside_published(experiment.config)
    summaries.text(step, "settings", published.markdown(settings, published.published_name(experiment.config)))
    summaries.text(step, "data", run_facts.markdown(run_facts.data_rows(experiment)))
    for rows in run_facts.environment_rows(workdir)[:1]:
        summaries.text(step, "environment", run_facts.markdown(rows))


def _write_page(
    experiment: Experiment,
    workdir: Path,
    reader: EventReader,
    step: int,
    state: str,
    *,
    detail: str = "",
    due: float = FIRST_DUE,
    left: float | None = None,
) -> None:
    reader.update()
    best = experiment.training.best
    content = Content(
        name=workdir.absolute().name,
        state=state,
        detail=detail,
        step=step,
        steps=experiment.training.steps,
        written=time.time(),
        due=due,
        facts=_facts(experiment, reader, left),
        findings=health.findings(reader.scalars, best, _phase_start(experiment, step)),
        charts=curves.charts(reader.scalars, best),
        marks=_marks(experiment, reader),
        examples=_examples(workdir, step),
        tiles=("damaged", "damage", "found") if experiment.is_finder else ("image", "context", "filled"),
        settings=published.beside_published(experiment.config),
        published=published.published_name(experiment.config),
        column=published.column_title(experiment.config),
        data=run_facts.data_rows(experiment),
        environment=run_facts.environment_rows(workdir),
        messages=_messages(experiment, workdir, reader),
        scores=run_facts.evaluation_report(workdir),
    )
    files.write_text(workdir / REPORT_FILE, page(content))  # a folder that was moved away is not made again


def _facts(experiment: Experiment, reader: EventReader, left: float | None) -> list[run_facts.Row]:
    """Returns the facts of the header: system, speed, time, best score."""
    settings = experiment.training
    rows = [("system", experiment.name), ("data", experiment.dataset.modality.upper())]
    if speed := reader.scalars.get("images_per_second"):
        steps, values = speed.arrays()
        recent = float(np.median(values[-10:]))
        rows.append(("speed", f"{recent:.3g} images/s, {settings.batch_size / recent:.3g} s/step"))
        rows.append(("trained for", duration(_seconds(steps, np.array(speed.times), reader.starts))))
    if left is not None:
        rows.append(("time left", duration(left)))
    scores = reader.scalars.get(curves.VALIDATION + settings.best)
    if scores and (best := curves.best_step(scores, settings.best)) is not None:
        rows.append((f"best {settings.best}", f"{scores.values[scores.steps.index(best)]:.4g} at step {best:,}"))
    if run_facts.is_phantom(experiment):
        rows.append(("warning", run_facts.PHANTOM_WARNING))
    return rows


def _seconds(steps: np.ndarray, times: np.ndarray, starts: Sequence[int]) -> float:
    """Returns the seconds between the reports of each process, validation included; not those between two processes."""
    process = np.searchsorted(np.array(sorted(starts)), steps, side="right")
    return float(np.diff(times)[np.diff(process) == 0].sum())


def _phase_start(experiment: Experiment, step: int) -> int:
    """Returns the last step before the phase of a step; 0 in the first one."""
    return max((phase.last for phase in experiment.phases if phase.last < step), default=0)


def _marks(experiment: Experiment, reader: EventReader) -> list[dict[str, object]]:
    """Returns the steps that charts mark: resumed processes, and beginnings of phases after the first one."""
    marks: list[dict[str, object]] = [{"step": start, "text": "resumed"} for start in reader.starts if start > 1]
    phases = experiment.phases
    return marks + [
        {"step": before.last, "text": phase.name.removeprefix("the ")} for before, phase in itertools.pairwise(phases)
    ]


def _examples(workdir: Path, step: int) -> list[tuple[int, str]]:
    """Returns step and path, relative to the page, of each example picture up to a step."""
    folder = workdir / "examples"
    steps = [kept for kept in step_files.steps_in(folder, ".png") if kept <= step]
    return [(kept, f"examples/{step_files.path_of(folder, kept, '.png').name}") for kept in steps]


def _messages(experiment: Experiment, workdir: Path, reader: EventReader) -> list[tuple[str, str]]:
    """Returns (when, text) of the run's warnings: those kept in the event files, and steps that were not finite."""
    said: dict[str, list[int]] = {}
    for step, text in reader.texts.get(messages.TAG, []):
        for line in text.splitlines():
            said.setdefault(line, []).append(step)
    found = [
        (f"step {steps[-1]:,}" + (f", {len(steps)} times" if len(steps) > 1 else ""), line) for line, steps in said.items()
    ]
    steps = [(f"step {step:,}", f"not finite: {problem}") for step, problem in run_facts.nonfinite_steps(workdir)]
    phantom = [("data", run_facts.PHANTOM_WARNING)] if run_facts.is_phantom(experiment) else []
    return phantom + steps + found
