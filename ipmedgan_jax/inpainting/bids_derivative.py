"""The BIDS derivative that `inpaint` writes over a BIDS data set: its description, its `.bidsignore`, and URIs of sources."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging

import ipmedgan_jax
from ipmedgan_jax.core import file_locks, files, json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.core.user_paths import home_of, percent_encoded
from ipmedgan_jax.imaging import bids_dataset, bids_names, contrasts
from ipmedgan_jax.imaging.bids_dataset import DESCRIPTION, BidsDataset
from ipmedgan_jax.imaging.nifti import stem
from ipmedgan_jax.inpainting.bids_entries import BidsEntries
from ipmedgan_jax.inpainting.derivative_place import check_place
from ipmedgan_jax.inpainting.jobs import Job

BIDS_VERSION = "1.10.0"

IGNORED = ("/report.html", "/report", "*_std.nii.gz")
"""Lines of `.bidsignore` for what BIDS has no names for: the report and the standard deviations.

The validator takes a line with a slash at its end for the files in a folder, and still asks for the folder's name.
"""

_NAME = "ipmedgan_jax"
"""The name under which this package stands in `GeneratedBy`."""

_CT_LINES = ("**/ct", "*_ct.nii*", "*_ct.json")

_README = """\
Scans whose masked voxels were filled by ipmedgan_jax. Not for diagnosis.

*_desc-inpainted_*.nii.gz            the filled scan; every voxel outside the mask is that of the source
*_desc-inpainted_*.json              what filled it, from which files, with which settings, and every warning
*_label-lesion_desc-filled*_mask     the voxels that were filled
*_std.nii.gz                         standard deviation of varied fills, if any were asked for
"""


@dataclass(frozen=True)
class Derivative:
    """The derivative of one call.

    Attributes:
      output: its folder.
      dataset: the data set of the images.
      links: the names of source folders in BIDS URIs, `DatasetLinks`, by folder.
      description: the description that the folder has now; None without one.
    """

    output: Path
    dataset: BidsDataset
    links: dict[Path, str]
    description: dict[str, Any] | None

    @property
    def is_own(self) -> bool:
        """Whether the description is this package's, or there is none yet."""
        made_by = (self.description or {}).get("GeneratedBy")
        names = [entry.get("Name") for entry in made_by if isinstance(entry, dict)] if isinstance(made_by, list) else []
        return self.description is None or _NAME in names

    def job(self, job: Job, skull_stripped: bool | None) -> Job:
        """Returns a job with the entries of its JSON files; `skull_stripped` is what the user says, or None."""
        name, metadata = bids_names.parse(job.image), _metadata(job.image)
        entities = name.entities if name else {}
        image, *others = (self._uri(path) for path in (job.image, job.mask) if path)
        reference = metadata.get("SpatialReference") if "space" in entities else image
        known = isinstance(reference, str) or entities.get("space") in bids_names.TEMPLATES
        recorded = metadata.get("SkullStripped")
        if skull_stripped is None and isinstance(recorded, bool):
            skull_stripped = recorded
        entries = BidsEntries(
            sources=(image, *others),
            reference=(reference if isinstance(reference, str) else "") if known else image,
            resolution=_resolution(metadata, entities) if "res" in entities else "",
            skull_stripped=skull_stripped,
            type_of_mask="ROI" if contrasts.modality_of(job.image) == "ct" else "Lesion",
        )
        return replace(job, bids=entries, mask_output=job.mask_output or job.beside)

    def _uri(self, path: Path) -> str:
        """Returns the BIDS URI of a source."""
        path = bids_dataset.full(path)
        folder = next(folder for folder in path.parents if folder in self.links)
        return f"bids:{self.links[folder]}:{percent_encoded(path.relative_to(folder).as_posix(), safe='/+')}"

    def write(self, jobs: Sequence[Job]) -> None:
        """Writes the description, `.bidsignore` and README, or adds what they lack; leaves those of others alone.

        UserError if a file cannot be written, or if the description has other links of the same names by now: jobs of a
        cluster may share a folder.
        """
        links = {name: _link(folder, self.output) for folder, name in self.links.items()}
        if not self.is_own:
            known = _links_in(self.description)
            if missing := {name: link for name, link in links.items() if name not in known}:
                logging.warning("%s: not written by this package and left as it is; its DatasetLinks lack %s",
                                self.output / DESCRIPTION, missing)  # fmt: skip
            return
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            with file_locks.locked(self.output / DESCRIPTION):
                self._write_description(links)
                self._write_ignored(jobs)
            if not any(self.output.glob("README*")):
                files.write_text(self.output / "README", _README)
        except OSError as error:
            raise UserError(f"{self.output}: cannot be written ({error.strerror or error})") from error

    def _write_description(self, links: dict[str, str]) -> None:
        """Writes the description if there is none, or adds links to it, as it is by now."""
        found = replace(self, description=_description_in(self.output))
        before, known = _links_in(self.description), _links_in(found.description)
        taken = [name for name, link in links.items() if known.get(name, link) not in (link, before.get(name))]
        if taken or not found.is_own:
            raise UserError(
                f"{self.output / DESCRIPTION}: another process has changed it since this one began"
                f"{f', and uses the link {taken[0]} for another folder' if taken else ''}; run the same command again"
            )
        content = dict(found.description or _new_description(self.dataset, links))
        content["DatasetLinks"] = known | links
        if content != found.description:
            files.write_json(self.output / DESCRIPTION, content)

    def _write_ignored(self, jobs: Sequence[Job]) -> None:
        """Adds the files that BIDS has no names for to `.bidsignore`, and says which scans are such."""
        path = self.output / ".bidsignore"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        ct = [job for job in jobs if contrasts.modality_of(job.image) == "ct"]
        others = [job for job in jobs if job not in ct and not self._is_legal(job.output)]
        if ct:
            logging.warning("BIDS has no place for CT: the outputs of %s are BIDS-like, and .bidsignore lists them",
                            counted(len(ct), "scan"))  # fmt: skip
        if others:
            logging.warning("%s: no name or place of an anatomical scan in BIDS, %s in all; .bidsignore lists the outputs",
                            others[0].image, counted(len(others), "scan"))  # fmt: skip
        needed = [*IGNORED, *(_CT_LINES if ct else ())]
        needed += [self._line(output) for job in others for output in job.outputs(deviation=False)]
        if missing := [line for line in dict.fromkeys(needed) if line not in lines]:
            files.write_text(path, "\n".join([*lines, *missing]) + "\n")

    def _is_legal(self, output: Path) -> bool:
        return bids_names.is_scan_of_anatomy(output.relative_to(self.output))

    def _line(self, output: Path) -> str:
        """Returns the line of `.bidsignore` for an output and the JSON file beside it."""
        relative = output.relative_to(self.output)
        return "/" + re.sub(r"([\[\]*?\\])", r"\\\1", (relative.parent / stem(relative)).as_posix()) + ".*"


def prepare(
    jobs: Sequence[Job], dataset: BidsDataset, masks: Path | None, output: Path, skull_stripped: bool | None
) -> tuple[Derivative, list[Job]]:
    """Returns the derivative for the outputs of jobs, and the jobs with what its JSON files say.

    UserError if the folder lies among the files of a data set, if it is another data set that is no derivative, or if it
    holds outputs of these images under names of earlier versions: they must not be filled twice.

    Args:
      jobs: all jobs of a call.
      dataset: the data set of their images.
      masks: the folder that --mask names; None for a template, and if the masks are found in the images.
      output: the folder of the derivative.
      skull_stripped: whether the scans are skull-stripped; None if their JSON files or voxels have to tell.
    """
    check_place(output, dataset.root)
    if earlier := [job for job in jobs if job.output != job.earlier_output and job.earlier_output.exists()]:
        raise UserError(
            f"--output={output}: holds {counted(len(earlier), 'output')} of these images under names of earlier versions, "
            f"for example {earlier[0].earlier_output.name}; choose a new folder for a BIDS derivative, or give "
            "--nobids to inpaint to go on under those names"
        )
    description = _description_in(output)
    if description is not None and description.get("DatasetType") != "derivative":
        title = bids_dataset.text_of(description, "Name") or "without a name"
        raise UserError(
            f"--output={output}: is a data set of its own, {title!r}, and no "
            f"derivative; choose another folder, for example {output / 'derivatives' / 'inpainted'}"
        )
    derivative = Derivative(output, dataset, _links(jobs, dataset, masks, output, description or {}), description)
    return derivative, [derivative.job(job, skull_stripped) for job in jobs]


def _description_in(output: Path) -> dict[str, Any] | None:
    """Returns the description of a folder; None without one. UserError if it cannot be read."""
    return bids_dataset.read_description(output) if (output / DESCRIPTION).exists() else None


def _links(
    jobs: Sequence[Job], dataset: BidsDataset, masks: Path | None, output: Path, description: dict[str, Any]
) -> dict[Path, str]:
    """Returns the names of all source folders, by folder: those of the description where it has them."""
    given = {link: name for name, link in _links_in(description).items()}
    links: dict[Path, str] = {}
    paths = [bids_dataset.full(path) for job in jobs for path in (job.image, job.mask) if path]
    roots = {folder: bids_dataset.find_root(folder) for folder in {path.parent for path in paths}}
    sources = {root: BidsDataset(root, bids_dataset.read_description(root)) for root in set(roots.values()) if root}
    for path in paths:
        root = roots[path.parent]
        source, folder = (sources[root], root) if root else (None, _folder_of(path, masks))
        if folder in links:
            continue
        wish = _wish(source, dataset, folder)
        taken = {*links.values(), *given.values()}
        free = next(
            name for number in range(1, len(taken) + 2) if (name := f"{wish}{number if number > 1 else ''}") not in taken
        )
        links[folder] = given.get(_link(folder, output), given.get(_relative(folder, output), free))
    return links


def _links_in(description: dict[str, Any] | None) -> dict[str, str]:
    """Returns the links of a description, by name; entries of another kind are left out."""
    links = (description or {}).get("DatasetLinks")
    return {name: link for name, link in links.items() if isinstance(link, str)} if isinstance(links, dict) else {}


def _wish(source: BidsDataset | None, dataset: BidsDataset, folder: Path) -> str:
    """Returns the name that a source folder gets unless it is taken: `raw` for a raw data set, else like the folder's."""
    if source is None:
        return "masks"
    if not source.is_derivative:
        return "raw"
    return re.sub("[^a-zA-Z0-9]", "", folder.name) or ("images" if source == dataset else "masks")


def _folder_of(path: Path, masks: Path | None) -> Path:
    """Returns the folder that stands for the data set of a file without one: that of the flag, or the one above `sub-...`."""
    if masks is not None and path.is_relative_to(bids_dataset.full(masks)):
        return bids_dataset.full(masks)
    return next((folder.parent for folder in path.parents if re.fullmatch("sub-[a-zA-Z0-9+]+", folder.name)), path.parent)


def _link(folder: Path, output: Path) -> str:
    """Returns the URI of a source folder: relative to the output, or with `~` for a home that the output does not lie in."""
    home = home_of(folder.resolve())
    if home is None or output.resolve().is_relative_to(home):
        return _relative(folder, output)
    return "file:" + percent_encoded(Path("~", folder.resolve().relative_to(home)).as_posix(), safe="/~")


def _relative(folder: Path, output: Path) -> str:
    """Returns the relative URI of a source folder; earlier versions wrote it for some that lie in another home too."""
    return percent_encoded(os.path.relpath(folder.resolve(), output.resolve()))


def _new_description(dataset: BidsDataset, links: dict[str, str]) -> dict[str, Any]:
    """Returns the description of a derivative that has none yet."""
    title = bids_dataset.text_of(dataset.description, "Name")
    sources = [{"URL": link} for link in links.values()]
    if doi := bids_dataset.text_of(dataset.description, "DatasetDOI"):
        sources[0]["DOI"] = doi
    content: dict[str, Any] = {
        "Name": f"Inpainted scans of {title}" if title else "Inpainted scans",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
    }
    if terms := bids_dataset.text_of(dataset.description, "License"):
        content["License"] = terms
    made_by = {"Name": _NAME, "Version": ipmedgan_jax.__version__, "Description": "fills masked voxels; not for diagnosis"}
    return content | {"GeneratedBy": [made_by], "SourceDatasets": sources}


def _metadata(image: Path) -> dict[str, Any]:
    """Returns the JSON file beside an image; empty if there is none that can be read."""
    try:
        return json_fields.read(image.with_name(f"{stem(image)}.json"))
    except (OSError, ValueError, UserError):
        return {}


def _resolution(metadata: dict[str, Any], entities: dict[str, str]) -> str:
    """Returns what `Resolution` says of a scan whose name has the entity `res`."""
    given = metadata.get("Resolution")
    if isinstance(given, dict):
        given = given.get(entities["res"])
    return given if isinstance(given, str) and given else "that of the source"
