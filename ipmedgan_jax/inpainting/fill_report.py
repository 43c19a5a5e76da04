"""The report of a cohort of fills: one page, `report.html`, with the pictures of each scan beside it in `report/`.

Each scan has an entry in `report/`. The page is made of all entries, so that processes which share a cohort, and later runs,
add to one page. An entry whose output was made anew or is gone is removed.

The page is written while scans are filled, but so seldom that this takes at most a twentieth of the time.
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import logging
from PIL import Image

from ipmedgan_jax.core import files, json_fields
from ipmedgan_jax.core.user_paths import as_utf8
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.mask_files import EmptyMaskError
from ipmedgan_jax.imaging.nifti import stem
from ipmedgan_jax.inpainting import (
    fill_pictures,
    fill_report_page,
    report_entries,
    report_names,
    report_places,
    report_text,
    scan,
    sidecar,
)
from ipmedgan_jax.inpainting.filled_scan import FilledScan
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job, Unpaired
from ipmedgan_jax.inpainting.plausibility import plausibility
from ipmedgan_jax.pages import document

ABOUT = "about.json"
"""File beside the entries: the number of the report, by which a browser keeps its reviews apart, and what fills."""

_SHARE, _SECONDS = 20, 3
"""The page is written again once this many times as long has passed as its last writing took, and at least these seconds."""


@dataclasses.dataclass(frozen=True)
class ReportPaths:
    """Where a report is.

    Attributes:
      page: the page.
      pictures: the folder with the entries, beside the page.
      outputs: the folder of the filled scans, for their names.
    """

    page: Path
    pictures: Path
    outputs: Path


def paths_in(output: Path) -> ReportPaths:
    """Returns the place of the report of several scans, in their output folder."""
    return ReportPaths(output / "report.html", output / "report", output)


def paths_beside(output: Path) -> ReportPaths:
    """Returns the place of the report of a single scan, beside its output."""
    name = f"{stem(output)}_report"
    return ReportPaths(output.with_name(f"{name}.html"), output.with_name(name), output.parent)


class FillReport:
    """The report of one call of `inpaint`. Nothing that goes wrong in it ends the call: it warns once, and stops.

    Args:
      paths: where it is; None for no report.
      filler: what fills.
      filling: the options of the fill.
    """

    def __init__(self, paths: ReportPaths | None, filler: Filler, filling: Filling):
        self._paths = paths
        self._filler = filler
        self._filling = filling
        self._next_page = 0.0

    def start(self, jobs: Iterable[Job], unpaired: Iterable[Unpaired] = ()) -> None:
        """Removes entries whose outputs are gone or were made anew, and errors of unpaired images of earlier calls.

        Args:
          jobs: the jobs of all processes of this call.
          unpaired: its images without a mask.
        """
        self._guarded(self._start, list(jobs), list(unpaired))

    def add(self, job: Job, result: FilledScan, content: dict[str, Any]) -> None:
        """Adds a filled scan with the content of its sidecar."""
        self._guarded(self._add, job, result, content)

    def add_unfilled(self, job: Job, reason: str, *, failed: bool, warnings: Sequence[str] = ()) -> None:
        """Adds a scan that was not filled: because of an error, or because there was nothing to fill."""
        entry = {"state": "failed" if failed else "empty", "reason": reason, "warnings": list(warnings)}
        self._guarded(self._save, job, entry)

    def add_unpaired(self, unpaired: Unpaired) -> None:
        """Adds an image without a unique mask, by its error."""
        dicom = "there is not one mask that fits; the message of the command names the masks"
        reason = dicom if unpaired.job.series else unpaired.reason
        entry = {"state": "failed", "unpaired": True, "reason": reason, "warnings": []}
        self._guarded(self._save, unpaired.job, entry)

    def name_of(self, job: Job) -> str:
        """Returns ` (NAME in the report)` for a message, where the name is not that of the scan's file; else nothing."""
        if self._paths is None or not (title := self._name(job)).endswith(report_names.scan_number(job, self._paths.outputs)):
            return ""
        return f" ({title} in the report)"

    def add_finished(self, job: Job) -> None:
        """Adds an output that was there already, unless its entry is: the scan, its mask and the output are read again."""
        self._guarded(self._add_finished, job)

    def write(self) -> None:
        """Writes the page."""
        self._guarded(self._write)

    def _guarded(self, action: Callable[..., None], *arguments: Any) -> None:
        if self._paths is None:
            return
        try:
            action(*arguments)
        except Exception as error:  # whatever it is, hours of filling must go on
            logging.warning(
                "%s: cannot be brought up to date, the report is not complete (%s: %s)",
                self._paths.page,
                type(error).__name__,
                error,
            )
            self._paths = None

    # ------------------------------------------------------------------ entries

    def _start(self, jobs: list[Job], unpaired: list[Unpaired]) -> None:
        paths = self._known_paths()
        if paths.page.exists() and not (paths.pictures / ABOUT).exists():
            raise FileExistsError(f"exists, and was not made by inpaint: no {paths.pictures.name}/{ABOUT}")
        paths.pictures.mkdir(parents=True, exist_ok=True)
        self._write_about(paths.pictures / ABOUT)
        known = {self._key(job): job.sidecar for job in [*jobs, *(one.job for one in unpaired)]}
        folders = report_entries.folders(paths.pictures)
        others: set[str] = set()
        if not {path.name for path in folders} <= known.keys():  # an earlier call filled other scans
            found = paths.outputs.rglob("*.json")
            others = report_entries.digests_of(path for path in found if paths.pictures not in path.parents)
        for path in folders:
            entry = report_entries.read(path)
            if path.name in known:
                stays = entry.get("state") == "failed" or report_entries.is_of(entry, known[path.name])
            else:  # a failure of another call stays, such as that of another participant's
                failed = entry.get("state") == "failed" and not entry.get("unpaired")
                stays = failed or entry.get("sidecar_sha256") in others
            if not stays:
                shutil.rmtree(path, ignore_errors=True)

    def _write_about(self, path: Path) -> None:
        """Writes what fills; the number of the report stays, so that a browser finds its reviews again."""
        if not path.exists():
            files.create_json(path, fill_report_page.about(self._filler))
        try:
            saved = json_fields.read(path)
        except ValueError:
            saved = {}
        if saved != (about := fill_report_page.about(self._filler, str(saved.get("report") or ""))):
            files.write_json(path, about)

    def _add(self, job: Job, result: FilledScan, content: dict[str, Any]) -> None:
        pictures = fill_pictures.draw(result.scan.volume, result.mask, result.filled)
        found = (
            content.get("plausibility") or plausibility(result.filled, result.mask, result.scan.volume.spacing_mm).for_json()
        )
        entry = {
            "state": "filled",
            "plausibility": found,
            "voxels": content["mask_voxels"],
            "ml": content["mask_ml"],
            "slices": content["slices"],
            "warnings": content["warnings"],
            "placed": result.scan.file.placed,
            "size": list(pictures.size),
            "planes": [report_places.with_place(plane, result.scan) for plane in pictures.planes],
            "left_out": pictures.left_out,
            "fill": fill_report_page.settings(content),
        }
        self._save(job, entry, pictures.layers)

    def _add_finished(self, job: Job) -> None:
        path = self._known_paths().pictures / self._key(job)
        if report_entries.is_of(report_entries.read(path), job.sidecar):
            return
        content = sidecar.read(job.sidecar)
        if content.get("empty_mask"):
            self._save(job, {"state": "empty", "reason": content["empty_mask"], "warnings": content.get("warnings", [])})
            return
        before = scans.read_scan(job.image, series=job.series, finite=False)
        with contextlib.suppress(EmptyMaskError):
            mask, _ = scan.select_voxels(before, job, self._filling.mask, self._filler)
            filled = scans.read_scan(job.output).volume.array
            self._add(job, FilledScan(before, mask, filled, None, content["slices"], content["warnings"]), content)

    def _save(self, job: Job, entry: dict[str, Any], layers: dict[str, Image.Image] | None = None) -> None:
        if entry["state"] != "failed":
            entry |= {"sidecar_sha256": report_entries.digest_of(job.sidecar)}
        for key in ("reason", "warnings"):
            if key in entry:
                entry[key] = report_text.of_job(entry[key], job)
        numbered = {"name": self._name(job), "number": report_names.scan_number(job, self._known_paths().outputs)}
        report_entries.save(self._known_paths().pictures / self._key(job), entry | numbered, layers or {})
        if time.monotonic() > self._next_page:
            self._write()

    def _key(self, job: Job) -> str:
        return report_names.key(job, self._known_paths().outputs)

    def _name(self, job: Job) -> str:
        return as_utf8(report_names.title(job, self._known_paths().outputs))

    # ------------------------------------------------------------------ the page

    def _write(self) -> None:
        """Writes the page of all entries, and again if another process added one meanwhile."""
        paths, started = self._known_paths(), time.monotonic()
        for _ in range(5):
            read = report_entries.times(paths.pictures)
            entries = {name: entry for name in read if (entry := report_entries.read(paths.pictures / name))}
            about = json_fields.read(paths.pictures / ABOUT)
            text = fill_report_page.page(about, paths.pictures.name, entries)
            if not document.is_written(paths.page, text):
                document.write(paths.page, text)
            if read == report_entries.times(paths.pictures):
                break
        now = time.monotonic()
        self._next_page = now + max(_SECONDS, _SHARE * (now - started))

    def _known_paths(self) -> ReportPaths:
        assert self._paths is not None  # `_guarded` calls nothing without a place
        return self._paths
