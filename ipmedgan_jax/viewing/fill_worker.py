"""One fill at a time, in a thread of its own: through `inpaint_file`, so that its files are those that `inpaint` writes."""

import queue
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.viewing import fill_files
from ipmedgan_jax.viewing.fill_files import Order
from ipmedgan_jax.viewing.fill_state import BUSY, FillFiles, FillState, Finished, Forgotten
from ipmedgan_jax.viewing.requests import Refusal
from ipmedgan_jax.viewing.sources import Source

if TYPE_CHECKING:
    from ipmedgan_jax.inpainting.filled_scan import FilledScan
    from ipmedgan_jax.inpainting.filler import Filler

OTHER_FILL = "another fill was made meanwhile; fill again"

_WAIT_SECONDS = 1


class _Cancelled(Exception):
    """Raised inside a fill to end it."""


class Fills:
    """The fills of a session: one runs, or none; the last one that is done stays until the next is. Safe between threads."""

    def __init__(self, set_up: Callable[[], object]):
        """`set_up` is called once in the thread of the fills, before anything that computes is imported."""
        self._set_up = set_up
        self._lock = threading.Lock()
        self._state = FillState()  # of the latest fill
        self._order: Order | None = None  # of the fill that runs
        self._finished: Finished | None = None
        self._zip_lock = threading.Lock()
        self._stop = threading.Event()
        self._fillers: dict[str, Filler] = {}
        self._orders: queue.SimpleQueue[Order | Source | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="fills", daemon=True)

    def start(self, preload: Source | None) -> None:
        """Starts the thread, which first loads what will probably be used."""
        self._thread.start()
        if preload is not None:
            self._orders.put(preload)

    def close(self) -> None:
        """Ends the running fill and the thread."""
        self._stop.set()
        self._orders.put(None)
        if self._thread.is_alive():
            self._thread.join(_WAIT_SECONDS)

    @property
    def state(self) -> FillState:
        with self._lock:
            return self._state

    @property
    def finished(self) -> FillState | None:
        """The state of the last fill that is done; None without one."""
        with self._lock:
            return self._finished.state if self._finished else None

    def refuse_while_busy(self) -> None:
        """Refuses while a fill runs."""
        if self._state.state in BUSY:
            raise Refusal(HTTPStatus.CONFLICT, "a fill is running, perhaps in another tab; wait for its end, or cancel it")

    def reserve(self, scan: int, source: str) -> None:
        """Marks a fill as begun; refuses while another runs."""
        with self._lock:
            self.refuse_while_busy()
            self._stop.clear()
            self._state = FillState("loading", scan=scan, source=source, index=self._state.index + 1)
            self._order = None

    def begin(self, order: Order) -> FillState:
        """Hands a fill, for which `reserve` was called, to the thread."""
        with self._lock:
            self._order = order
        self._orders.put(order)
        return self.state

    def give_up(self) -> None:
        """Ends a fill for which `reserve` was called, and which cannot begin."""
        self._update(state="failed", error="the painted mask could not be kept; is the disk with the temporary files full?")

    def cancel(self, number: str | None = None) -> FillState:
        """Asks the running fill to end, at its next slice; refuses if another than `number` runs."""
        with self._lock:
            if number is not None and self._state.state in BUSY and number != str(self._state.index):
                raise Refusal(HTTPStatus.CONFLICT, "another tab's fill is running; cancel it there")
            self._stop.set()
            return self._state

    def reset(self) -> Forgotten:
        """Forgets the fills of a scan, because it is replaced, and returns them; refuses while one runs."""
        with self._lock:
            self.refuse_while_busy()
            forgotten = Forgotten(self._state, self._finished)
            self._state, self._finished = FillState(index=self._state.index), None
            return forgotten

    def restore(self, forgotten: Forgotten) -> None:
        """Undoes `reset`, after which no fill has begun."""
        with self._lock:
            self._state, self._finished = forgotten.state, forgotten.finished

    def painted(self, number: str) -> Path:
        """Returns the painted mask of the running or finished fill; refuses another fill than `number`."""
        with self._lock:
            if self._order is not None and self._state.state in BUSY and number == str(self._state.index):
                return self._order.mask
            if (finished := self._numbered(number)) is None:
                raise Refusal(HTTPStatus.CONFLICT, OTHER_FILL)
            return finished.order.mask

    def view(self, name: str, number: str | None = None) -> Path:
        """Returns a file of the finished fill for the page; refuses what there is not, and another fill than `number`."""
        with self._lock:
            return _existing(self._files(number).views, name)

    def save(self, name: str, number: str | None = None) -> Path:
        """Returns a file of the finished fill to be saved, as `inpaint` writes it; a series as a zip file."""
        with self._lock:
            path = _existing(self._files(number).saves, name)
        with self._zip_lock:
            return fill_files.zipped(path) if path.is_dir() else path

    def _files(self, number: str | None) -> FillFiles:
        """Returns the files of the finished fill; refuses a number that is not its. None stands for whichever it is."""
        finished = self._numbered(number)
        if finished is None and number is not None:
            raise Refusal(HTTPStatus.CONFLICT, OTHER_FILL)
        return finished.result if finished else FillFiles()

    def _numbered(self, number: str | None) -> Finished | None:
        """Returns the finished fill, if it has this number."""
        finished = self._finished
        return finished if finished and number in (None, str(finished.state.index)) else None

    # ------------------------------------------------------------------ in the thread of the fills

    def _work(self) -> None:
        """Loads and fills, one order after another."""
        ready = False
        while (order := self._orders.get()) is not None:
            try:
                if not ready:
                    self._set_up()
                    ready = True
                if isinstance(order, Source):
                    self._filler(order)
                else:
                    self._fill(order)
            except _Cancelled:
                self._end(order, state="cancelled")
            except UserError as error:
                self._fail(order, str(error))
            except MemoryError:
                self._fail(order, "the machine has too little memory for this fill")
            except Exception:
                logging.exception("a fill failed")
                self._fail(order, "an unexpected error; the terminal shows it")

    def _fail(self, order: Order | Source, message: str) -> None:
        """Shows an error on the page; one of loading ahead is shown again when it matters."""
        if isinstance(order, Source):
            logging.warning("%s: %s", order.key, message)
        else:
            self._end(order, state="failed", error=fill_files.without_folder(message, order))

    def _end(self, order: Order | Source, **changes: Any) -> None:
        """Ends a fill without a result, and removes what it has written."""
        if isinstance(order, Order):
            shutil.rmtree(order.folder, ignore_errors=True)
        self._update(**changes)

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)

    def _filler(self, source: Source) -> "Filler":
        if source.key not in self._fillers:
            self._fillers[source.key] = source.load()
        return self._fillers[source.key]

    def _fill(self, order: Order) -> None:
        from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
        from ipmedgan_jax.inpainting.scan import inpaint_file
        from ipmedgan_jax.viewing.open_scan import sentence

        self._check_cancelled()
        filler = self._filler(order.source)
        self._check_cancelled()
        self._update(state="filling")
        job = fill_files.job_of(order)
        filling = Filling(planes=order.planes, samples=order.samples, mask=MaskChoice(dilate_mm=order.dilate_mm))

        def progress(done: int, total: int) -> None:
            self._check_cancelled()
            self._update(done=done, total=total)

        result = FillFiles()

        def finished(filled: "FilledScan", report: dict[str, Any]) -> None:
            result.views = fill_files.write_views(job, filled)

        report = inpaint_file(filler, job, filling, progress=progress, finished=finished)
        report = fill_files.for_others(report, order)
        files.write_json(job.sidecar, report)
        result.saves = {"filled": job.output, "sidecar": job.sidecar} | ({"mask": job.mask_output} if job.mask_output else {})
        if order.samples:
            result.saves["deviation"] = job.deviation
        with self._lock:
            before = self._finished
            self._state = replace(
                self._state,
                state="done",
                warnings=tuple(sentence(fill_files.without_folder(warning, order)) for warning in report["warnings"]),
                voxels=report["mask_voxels"],
                ml=report["mask_ml"],
                slices=report["slices"],
                plausibility=report.get("plausibility"),
                deviation=order.samples > 0,
            )
            self._finished = Finished(self._state, result, order)
            if before is not None:
                shutil.rmtree(before.order.folder, ignore_errors=True)

    def _check_cancelled(self) -> None:
        if self._stop.is_set():
            raise _Cancelled


def _existing(paths: dict[str, Path], name: str) -> Path:
    if name not in paths:
        raise Refusal(HTTPStatus.NOT_FOUND, "there is no such file; fill first")
    return paths[name]
