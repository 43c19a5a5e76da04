"""Texts of the report of fills, without what names a patient or an account: messages name files by their paths."""

import re
from pathlib import Path
from typing import TypeVar

from ipmedgan_jax.core.user_paths import as_utf8, without_homes
from ipmedgan_jax.imaging import bids_names
from ipmedgan_jax.inpainting.jobs import Job

_DELIMITERS = r"\s:;,'\"()={}"
"""Characters, for a regular expression, at which a path in a text ends; see `_odd_folders`."""

_FOLDERS = re.compile(rf"(?<![^{_DELIMITERS}])(?<!}})(?!\d+/\d)/?(?:[^{_DELIMITERS}/]*/)+")
"""Matches the folders of a path; not those that follow a field `{...}` of a template, nor a fraction."""

_NAMED_AFTER = re.compile(r"is named after (?P<mask>[^:]+), the image after (?P<image>[^:]+): .*")

_HIDDEN_OF_SERIES = (
    (re.compile(r"is of the patient .*"), "is of another patient than the series"),
    (re.compile(r"\b(the series|the mask|the output)/.*?(?=: |; | and the |$)"), r"a file of \1"),
    (re.compile(r'"[^"]*"'), "(text not shown)"),
    (re.compile(r"\b\d+(?:\.\d+){4,}\b"), "(UID not shown)"),
    (re.compile(r"[^\s:;,'\"()]*/[^\s:;,'\"()]*"), "(file not shown)"),
)
"""What a text about a DICOM series must not show, and what stands for it."""

_SHORTEST = 4
"""Length of a name from which on it is looked for without its folder; shorter ones are numbers of series or of slices."""

Text = TypeVar("Text", str, list[str])


def of_job(text: Text, job: Job) -> Text:
    """Returns a text about a job, or each of a list, with file names instead of paths, in valid UTF-8.

    Of a DICOM series no names of files and folders are left, by which exports name patients, nor UIDs and descriptions.
    """
    if isinstance(text, list):
        return [of_job(line, job) for line in text]
    for path, word in ((job.mask, "the mask"), (job.image, "the series"), (job.output, "the output")):
        if path is not None:
            text = _without_path(text, path, word if job.series else path.name)
    if job.series:
        for pattern, words in _HIDDEN_OF_SERIES:
            text = pattern.sub(words, text)
    else:
        for name in _odd_folders(job):
            text = re.sub(rf"(?<![^{_DELIMITERS}/]){re.escape(name)}/", "", text)
        text = _NAMED_AFTER.sub(_named_after, _FOLDERS.sub("", text))
    return without_homes(as_utf8(text))


def _without_path(text: str, path: Path, word: str) -> str:
    """Replaces a path, in each form that a message may have, by a word; its bare name too, unless that is a short word."""
    for form in sorted({str(path), str(path.absolute()), str(path.resolve())}, key=len, reverse=True):
        text = text.replace(form, word).replace(without_homes(form), word)
    if len(path.name) < _SHORTEST or word == path.name:
        return text
    return re.sub(rf"(?<![\w^-]){re.escape(path.name)}(?![\w^-])", word.replace("\\", "/"), text)


def _odd_folders(job: Job) -> list[str]:
    """Returns the names of a job's folders that hold characters at which a path in a text seems to end, longest first."""
    folders = {part for path in (job.image, job.mask, job.output) if path for part in path.absolute().parent.parts}
    return sorted((name for name in folders if re.search(f"[{_DELIMITERS}]", name)), key=len, reverse=True)


def _named_after(found: re.Match) -> str:
    """Returns the warning about the names of a mask and its image, without names that folders may have."""
    if all(bids_names.FOLDER.fullmatch(name) for name in found.groups()):
        return found[0]
    return "is named after another number than the image: is it the mask of this image?"
