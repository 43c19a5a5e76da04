"""The voxels of a mask file for the page, which are those that `inpaint` would fill: read by the same function."""

import base64
import gzip
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.imaging.labels import SeveralLabelsError, read_labels
from ipmedgan_jax.imaging.mask_files import MisplacedMaskError, read_mask
from ipmedgan_jax.viewing.requests import Refusal

if TYPE_CHECKING:
    from ipmedgan_jax.viewing.open_scan import OpenScan

_LEVEL = 1
_MOST_LABELS = 500
_PATIENTS = re.compile(r"is of the patient .*")


def labels_of(text: str) -> tuple[int, ...]:
    """Returns the labels of a request, such as `1,4`; Refusal for what is no list of whole numbers."""
    if not re.fullmatch(r"(-?[0-9]{1,10}(,-?[0-9]{1,10}){0,999})?", text):
        raise Refusal(HTTPStatus.BAD_REQUEST, "labels: expected whole numbers, separated by commas")
    return tuple(int(label) for label in text.split(",")) if text else ()


def read(path: Path, scan: "OpenScan", labels: tuple[int, ...], name: str) -> dict[str, Any]:
    """Returns `mask`, the voxels of a mask file that are filled in a scan (see `packed`), and `warnings`.

    Refusal, with a line that calls the file `name`, for what `inpaint` refuses. A file with several labels, of which none
    was chosen, is refused with `labels`: the number and the name of each.
    """

    def plain(message: str) -> str:
        """Returns a message without the places of temporary files, and without the numbers of patients."""
        message = message.replace(str(path), name)
        if scan.uploaded and scan.series:
            message = message.replace(scan.image.name, scan.name)
        return without_homes(_PATIENTS.sub("is of another patient than the series", message))

    try:
        opened = scan.read()
        found, warnings = read_mask(path, opened, labels)
    except SeveralLabelsError as error:
        if len(error.names) > _MOST_LABELS:
            message = f"{name}: holds {len(error.names):,} different values; a scan rather than a mask?"
            raise Refusal(HTTPStatus.BAD_REQUEST, message) from error
        message = f"{name}: holds several labels; choose those to be filled"
        labelled = [{"label": label, "name": text} for label, text in error.names.items()]
        raise Refusal(HTTPStatus.CONFLICT, message, labels=labelled) from error
    except MisplacedMaskError as error:
        message = f"{plain(error.problem)}; correct its position, or use ipmedgan inpaint with --match_mask"
        raise Refusal(HTTPStatus.BAD_REQUEST, message) from error
    except UserError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, plain(str(error))) from error
    return {"mask": packed(opened.in_file_order(found)), "warnings": [plain(warning) for warning in warnings]}


def painted(path: Path) -> dict[str, Any]:
    """Returns the voxels of a mask that was painted on a scan's own grid, as `read` does."""
    try:
        return {"mask": packed(read_labels(path).labels != 0), "warnings": []}
    except UserError as error:  # the fill was cancelled, or replaced by another
        raise Refusal(HTTPStatus.GONE, "the painted mask is not kept any more") from error


def packed(mask: np.ndarray) -> str:
    """Returns a mask `[i, j, k]` as one byte a voxel, in the order of a NIfTI file (i fastest), gzip, base64."""
    return base64.b64encode(gzip.compress(mask.astype(np.uint8).tobytes(order="F"), _LEVEL, mtime=0)).decode()
