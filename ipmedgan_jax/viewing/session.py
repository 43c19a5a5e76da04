"""What one `view` knows: its scan, its fill and its files, which lie in a private temporary folder."""

import math
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
from ipmedgan_jax.viewing.fill_worker import Fills
from ipmedgan_jax.viewing.requests import Refusal
from ipmedgan_jax.viewing.sources import Source, Sources, offered
from ipmedgan_jax.viewing.uploads import Limits, Uploads, too_large
from ipmedgan_jax.viewing.work_folder import WorkFolder

if TYPE_CHECKING:
    from ipmedgan_jax.viewing.open_scan import OpenScan

PLANES = ("axial", "coronal", "sagittal")

_MOST_SAMPLES, _MOST_MM = 100, 100.0

FILL_PARAMETERS = ("source", "dilate_mm", "planes", "samples", "scan")


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
        scan = self._scan
        return {
            "version": __version__,
            "models": [source.as_json() for source in self.sources.models],
            "classical": [{"name": source.key.partition(":")[2], "text": source.title} for source in self.sources.classical],
            "default": self.sources.default,
            "planes": list(PLANES),
            "scan": scan.as_json() if scan else None,
            "fill": self.fill_state(),
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
        """Opens an upload as the scan; returns its description. The earlier scan stays if this fails."""
        from ipmedgan_jax.viewing import open_scan

        with self._lock:
            self._fills.refuse_while_busy()
            upload = self._uploads.take(key)
            folder = self.folder / f"scan-{self._next()}"
            try:
                opened = open_scan.open_upload(upload, series, self._counter, folder)
                self._fills.reset()
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
            earlier, self._scan = self._scan, opened
            self._remove(earlier)
            return opened.as_json()

    def scan_view(self) -> Path:
        """Returns the scan as a .nii.gz file for the page."""
        scan = self._scan
        if scan is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "no scan is open")
        with self._view_lock:
            return scan.view()

    def fill(self, given: dict[str, str], length: int, body: Iterable[bytes]) -> dict[str, Any]:
        """Starts a fill with the mask that a body holds; returns the fill's state."""
        scan = self._scan
        if scan is None:
            raise Refusal(HTTPStatus.CONFLICT, "no scan is open")
        options = _fill_options(given)
        source = self.sources.find(given.get("source", self.sources.default))
        if source is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "source: expected a model or a system that the page offers")
        if options["samples"] and source in self.sources.classical:
            raise Refusal(HTTPStatus.BAD_REQUEST, "variations: a classical fill has none")
        if given.get("scan", str(scan.index)) != str(scan.index):
            raise Refusal(HTTPStatus.CONFLICT, "another scan was opened meanwhile; reload the page")
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
        """Begins the fill for which `reserve` was called, in a new folder; the earlier one's files are removed."""
        folder = self.folder / f"fill-{self._next()}"
        self._remove_fills()
        painted = folder / "painted" / mask.name
        try:
            painted.parent.mkdir(parents=True)
            mask.rename(painted)
        except OSError:
            self._fills.give_up()
            raise
        return self._fills.begin(Order(scan, source, folder, painted, **options)).as_json()

    def _refuse_other_scan(self, scan: "OpenScan") -> None:
        if scan is not self._scan:
            raise Refusal(HTTPStatus.CONFLICT, "another scan was opened meanwhile; reload the page")

    def fill_state(self) -> dict[str, Any]:
        """Returns the state of the fill."""
        return self._fills.state.as_json()

    def cancel(self) -> dict[str, Any]:
        """Asks the running fill to end."""
        return self._fills.cancel().as_json()

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

    def _remove(self, scan: "OpenScan | None") -> None:
        """Removes the files of a scan that is replaced, and of its fills."""
        self._remove_fills()
        if scan is not None:
            shutil.rmtree(scan.folder, ignore_errors=True)
            if scan.uploaded and scan.series:
                shutil.rmtree(scan.image, ignore_errors=True)

    def _remove_fills(self) -> None:
        for folder in self.folder.glob("fill-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _plain(self, text: str, names: dict[str, str]) -> str:
        """Returns a message about uploaded files without the places of temporary files."""
        text = re.sub(rf"{re.escape(str(self.folder))}/(?:[^/\s]+/)?", "", text)
        for stored, name in names.items():
            text = text.replace(stored, name)
        return without_homes(text)


def _fill_options(given: dict[str, str]) -> dict[str, Any]:
    """Returns the options of a fill; Refusal for a bad value."""
    planes = tuple(given.get("planes", "axial").split(","))
    if not set(planes) <= set(PLANES) or len(set(planes)) < len(planes):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"planes: expected some of {', '.join(PLANES)}, each once")
    samples = given.get("samples", "0")
    if not re.fullmatch("[0-9]{1,3}", samples) or int(samples) == 1 or int(samples) > _MOST_SAMPLES:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"variations: expected 0, or 2 to {_MOST_SAMPLES}")
    try:
        dilate_mm = float(given.get("dilate_mm", "0"))
    except ValueError:
        dilate_mm = math.nan
    if not 0 <= dilate_mm <= _MOST_MM:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"dilate by (mm): expected a number, 0 to {_MOST_MM:g}")
    return {"planes": planes, "samples": int(samples), "dilate_mm": dilate_mm}


def _write_mask(folder: Path, body: Iterable[bytes]) -> Path:
    """Writes a mask to a folder; returns the file, whose name says whether it is compressed."""
    folder.mkdir(parents=True)
    path = folder / "mask"
    with path.open("xb") as file:
        for piece in body:
            file.write(piece)
    from ipmedgan_jax.imaging import nifti

    return path.rename(folder / ("mask.nii.gz" if nifti.is_packed(path) else "mask.nii"))
