"""Texts of the report of fills, without what names a patient or an account: messages name files by their paths."""

import re
from pathlib import Path
from typing import TypeVar

from ipmedgan_jax.core.user_paths import as_utf8, without_homes
from ipmedgan_jax.inpainting.jobs import Job

_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")
_PATH = re.compile(r"(?:[^\s:;,'\"()]*/)[^\s:;,'\"()]*")
_QUOTED = re.compile(r'"[^"]*"')
_PATIENT = re.compile(r"is of the patient .*")

_SHORTEST = 4
"""Length of a name from which on it is looked for without its folder; shorter ones are numbers of series or of slices."""

Text = TypeVar("Text", str, list[str])


def public(text: str) -> str:
    """Returns a text with `~` for home folders, and valid UTF-8."""
    return without_homes(as_utf8(text))


def of_job(text: Text, job: Job) -> Text:
    """Returns a text about a job, or each of a list, with file names instead of paths.

    Of a DICOM series no names of files and folders are left, by which exports name patients, nor UIDs and descriptions.
    """
    if isinstance(text, list):
        return [of_job(line, job) for line in text]
    for path, word in ((job.mask, "the mask"), (job.image, "the series"), (job.output, "the output")):
        if path is not None:
            text = _without_path(text, path, word if job.series else path.name)
    if job.series:
        text = _PATIENT.sub("is of another patient than the series", text)
        for pattern in (_QUOTED, _UID, _PATH):
            text = pattern.sub("(not shown)", text)
    return public(text)


def _without_path(text: str, path: Path, word: str) -> str:
    """Replaces a path, in each form that a message may have, by a word; its bare name too, unless that is a short word."""
    for form in sorted({str(path), str(path.absolute()), str(path.resolve())}, key=len, reverse=True):
        text = text.replace(form, word).replace(without_homes(form), word)
    if len(path.name) < _SHORTEST or word == path.name:
        return text
    return re.sub(rf"(?<![\w^-]){re.escape(path.name)}(?![\w^-])", word.replace("\\", "/"), text)
