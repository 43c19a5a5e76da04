"""What one `view` knows: its scan, its fill and its files, which lie in a private temporary folder."""

import re
import shutil
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipmedgan_jax import __version__
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.viewing.fill_files import Order
from ipmedgan_jax.viewing.fill_options import PLANES, fill_options
from ipmedgan_jax.viewing.fill_worker import Fills, Forgotten
from ipmedgan_jax.viewing.requests import Refusal, check_name
from ipmedgan_jax.viewing.sources import Source, Sources, offered
from ipmedgan_jax.viewing.uploads import Limits, Uploads, too_large
from ipmedgan_jax.viewing.work_folder import WorkFolder

if TYPE_CHECKING:
    from ipmedgan_jax.viewing.open_scan import OpenScan

_OTHER_SCAN = "another scan was opened meanwhile; reload the page"


class Session:
    """One scan and one fill at a time, for any number of tabs. Safe between threads.

    Methods raise Refusal for what a request may not have; the scan and the fill then stay as they were.
    """

    def __init__(
        self, sources: Sources | None = None, limits: Limits | None = None, *, set_up: Callable[[], object] = lambda: None
    ):
        """Creates the folder and starts the thread of the fills; UserError if there can be no such folder.

        Args:
          sources: what fills; None for the package's own.
          limits: of uploads.
          set_up: is called in the thread of the fills before it imports JAX.
        """
        self.sources, self.limits = sources or offered(), limits or Limits()
        self._work = WorkFolder()
        self.folder = self._work.path
        self._uploads = Uploads(self.folder, self.limits)
        self._fills = Fills(set_up)
        self._lock = threading.RLock()  # of the scan: held while one is opened
        self._view_lock, self._mask_lock = threading.Lock(), threading.Lock()
        self._scan: OpenScan | None = None
        self._replaced: tuple[OpenScan | None, Forgotten] | None = None  # until the page has shown the scan
        self._counter = 0

    def start(self, *, preload: bool = True) -> None:
        """Starts the thread of the fills; `preload` loads the default model at once."""
        self._fills.start(self.sources.find(self.sources.default) if preload else None)

    def close(self) -> None:
        """Ends a running fill and removes all files."""
        try:
            self._fills.close()
        finally:
            self._work.close()

    def open_path(self, path: Path, series: str = "") -> None:
        """Opens the scan that the command names; UserError if it cannot be opened, or holds several series."""
        from ipmedgan_jax.viewing import open_scan

        self._scan = open_scan.open_path(path, series, self._next(), self.folder / f"scan-{self._counter}")

    def state(self) -> dict[str, Any]:
        """Returns all that a page needs when it opens."""
        scan, finished = self._scan, self._fills.finished
        return {
            "version": __version__,
            "models": [source.as_json() for source in self.sources.models],
            "classical": [{"name": source.key.partition(":")[2], "text": source.title} for source in self.sources.classical],
            "default": self.sources.default,
            "planes": list(PLANES),
            "scan": scan.as_json() if scan else None,
            "fill": self.fill_state(),
            "finished": finished.as_json() if finished else None,
            "limit_bytes": self.limits.bytes,
        }

    def begin_upload(self) -> str:
        """Returns the name of a new upload."""
        return self._uploads.begin()

    def add_file(self, upload: str, name: str, length: int, body: Iterable[bytes]) -> dict[str, int]:
        """Adds a file to an upload; returns the numbers of its files and bytes."""
        count, size = self._uploads.add(upload, name, length, body)
        return {"files": count, "bytes": size}

    def drop_upload(self, upload: str) -> None:
        """Removes an upload that is not wanted any more."""
        self._uploads.discard(upload)

    def open_upload(self, key: str, series: str = "") -> dict[str, Any]:
        """Opens an upload as the scan; returns its description. The earlier scan stays if this fails.

        The earlier scan and its fill are kept until `keep`, the next fill or the next opening: `go_back` can undo this one.
        """
        from ipmedgan_jax.viewing import open_scan

        with self._lock:
            self._fills.refuse_while_busy()
            upload = self._uploads.take(key)
            folder = self.folder / f"scan-{self._next()}"
            try:
                opened = open_scan.open_upload(upload, series, self._counter, folder)
                forgotten = self._fills.reset()
            except Refusal:
                self._uploads.release(key)
                raise
            except BaseException as error:
                self._uploads.drop(key)
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, UserError):
                    raise Refusal(HTTPStatus.BAD_REQUEST, self._plain(str(error), upload.names)) from error
                raise
            (self._uploads.keep if opened.series else self._uploads.drop)(key)
            self._drop_replaced()
            self._replaced, self._scan = (self._scan, forgotten), opened
            return opened.as_json()

    def keep(self, number: str) -> dict[str, Any]:
        """Takes it that the page shows the scan with a number: the one before is not needed any more."""
        with self._lock:
            self._open_scan(number)
            self._drop_replaced()
            return {}

    def go_back(self, number: str) -> dict[str, Any]:
        """Undoes the opening of the scan with a number, which the page cannot show; returns what is open then."""
        with self._lock:
            refused = self._open_scan(number)
            if self._replaced is None:
                raise Refusal(HTTPStatus.CONFLICT, "the scan before is not kept any more; reload the page")
            (self._scan, forgotten), self._replaced = self._replaced, None
            self._fills.restore(forgotten)
            _remove_scan(refused)
            return {"scan": self._scan.as_json() if self._scan else None}

    def scan_view(self, number: str | None = None) -> Path:
        """Returns the scan as a .nii.gz file for the page; refuses another than the one with a number."""
        scan = self._open_scan(number, HTTPStatus.NOT_FOUND)
        with self._view_lock:
            return scan.view()

    def open_mask(self, given: dict[str, str], length: int, body: Iterable[bytes]) -> dict[str, Any]:
        """Returns the voxels that `inpaint` would fill for a mask file: see `opened_mask.read`."""
        from ipmedgan_jax.viewing import opened_mask

        scan = self._open_scan(given.get("scan"))
        labels, name = opened_mask.labels_of(given.get("labels", "")), check_name(given.get("name", "the mask"))
        if length > self.limits.bytes:
            raise too_large(self.limits.bytes)
        received = self.folder / f"mask-{self._next()}"
        try:
            mask = _write_mask(received, body)
            with self._mask_lock:  # as for a fill
                return opened_mask.read(mask, scan, labels, name)
        finally:
            shutil.rmtree(received, ignore_errors=True)

    def painted(self, number: str) -> dict[str, Any]:
        """Returns the painted voxels of the fill with a number, which runs or is done, as `open_mask` does."""
        from ipmedgan_jax.viewing import opened_mask

        return opened_mask.painted(self._fills.painted(number))

    def fill(self, given: dict[str, str], length: int, body: Iterable[bytes]) -> dict[str, Any]:
        """Starts a fill with the mask that a body holds; returns the fill's state."""
        scan = self._open_scan(given.get("scan"))
        options = fill_options(given)
        source = self.sources.find(given.get("source", self.sources.default))
        if source is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "source: expected a model or a system that the page offers")
        if options["samples"] and source in self.sources.classical:
            raise Refusal(HTTPStatus.BAD_REQUEST, "variations: a classical fill has none")
        self._fills.refuse_while_busy()
        if length > (most := min(self.limits.bytes, scan.most_mask_bytes)):
            raise too_large(most)
        received = self.folder / f"mask-{self._next()}"
        try:
            mask = _write_mask(received, body)
            with self._mask_lock:  # a check holds the whole mask in memory
                self._fills.refuse_while_busy()
                self._refuse_other_scan(scan)
                scan.check_mask(mask)
                with self._lock:
                    self._refuse_other_scan(scan)
                    self._fills.reserve(scan.index, source.key)
                    return self._begin_fill(scan, source, mask, options)
        finally:
            shutil.rmtree(received, ignore_errors=True)

    def _begin_fill(self, scan: "OpenScan", source: Source, mask: Path, options: dict[str, Any]) -> dict[str, Any]:
        """Begins the fill for which `reserve` was called, in a new folder."""
        self._drop_replaced()
        folder = self.folder / f"fill-{self._next()}"
        painted = folder / "painted" / mask.name
        try:
            painted.parent.mkdir(parents=True)
            mask.rename(painted)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            self._fills.give_up()
            raise
        return self._fills.begin(Order(scan, source, folder, painted, **options)).as_json()

    def _open_scan(self, number: str | None = None, missing: HTTPStatus = HTTPStatus.CONFLICT) -> "OpenScan":
        """Returns the scan that is open; refuses if there is none, or another than the one with a number."""
        scan = self._scan
        if scan is None:
            raise Refusal(missing, "no scan is open")
        if number not in (None, str(scan.index)):
            raise Refusal(HTTPStatus.CONFLICT, _OTHER_SCAN)
        return scan

    def _refuse_other_scan(self, scan: "OpenScan") -> None:
        if scan is not self._scan:
            raise Refusal(HTTPStatus.CONFLICT, _OTHER_SCAN)

    def fill_state(self) -> dict[str, Any]:
        """Returns the state of the fill."""
        return self._fills.state.as_json()

    def cancel(self, number: str | None = None) -> dict[str, Any]:
        """Asks the running fill to end; refuses if another than the one with a number runs."""
        return self._fills.cancel(number).as_json()

    def fill_view(self, name: str, number: str | None = None) -> Path:
        """Returns a file of the fill for the page: `filled`, `mask` or `deviation`; refuses another than `number`."""
        return self._fills.view(name, number)

    def save(self, name: str, number: str | None = None) -> Path:
        """Returns a file of the fill as `inpaint` writes it: `filled`, `mask`, `deviation` or `sidecar`."""
        return self._fills.save(name, number)

    def _next(self) -> int:
        with self._lock:
            self._counter += 1
            return self._counter

    def _drop_replaced(self) -> None:
        """Removes the files of the scan that was replaced, and of its fills."""
        if self._replaced is not None:
            (scan, _), self._replaced = self._replaced, None
            for folder in self.folder.glob("fill-*"):
                shutil.rmtree(folder, ignore_errors=True)
            if scan is not None:
                _remove_scan(scan)

    def _plain(self, text: str, names: dict[str, str]) -> str:
        """Returns a message about uploaded files without the places of temporary files."""
        text = re.sub(rf"{re.escape(str(self.folder))}/(?:[^/\s]+/)?", "", text)
        for stored, name in names.items():
            text = text.replace(stored, name)
        return without_homes(text)


def _remove_scan(scan: "OpenScan") -> None:
    shutil.rmtree(scan.folder, ignore_errors=True)
    if scan.uploaded and scan.series:
        shutil.rmtree(scan.image, ignore_errors=True)


def _write_mask(folder: Path, body: Iterable[bytes]) -> Path:
    """Writes a mask to a folder; returns the file, whose name says of which kind it is."""
    folder.mkdir(parents=True)
    path = folder / "mask"
    with path.open("xb") as file:
        for piece in body:
            file.write(piece)
    from ipmedgan_jax.imaging import dicom_files, nifti

    suffix = ".nii.gz" if nifti.is_packed(path) else ".dcm" if dicom_files.is_dicom(path) else ".nii"
    return path.rename(path.with_suffix(suffix))
