"""Messages of the BIDS App: its arguments in place of the flags of `inpaint`."""

import logging as python_logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from absl import logging

from ipmedgan_jax.core.errors import UserError

_ARGUMENTS = {
    "output": "OUT_DIR",
    "image": "BIDS_DIR",
    "mask": "--mask-dir",
    "mask_labels": "--mask-labels",
    "match_mask": "--match-mask",
    "empty_mask": "--empty-mask",
    "dilate_mm": "--dilate-mm",
    "skull_stripped": "--skull-stripped",
    "planes": "--planes",
}
"""The arguments of the App for flags of `inpaint`."""

_LISTS = {"planes", "mask_labels"}
"""Flags whose values are separated by commas, and in the App by spaces."""

_ONLY_INPAINT = re.compile(r",? or give --nobids to inpaint[^;,]*")
"""Matches advice that the App has no argument for."""

_FLAG = re.compile(r"(?<![^\s(:])--([a-z]\w*)(?![\w-])(?:=((?:[^\s,;:)?]|,(?=\S))*))?")
"""Matches a flag, and its value up to a space or the end of a clause."""


@contextmanager
def app_names() -> Iterator[None]:
    """Names the App's arguments in errors and in the log, in place of flags of `inpaint`."""
    handler = logging.get_absl_handler()
    handler.addFilter(_translate)
    try:
        yield
    except UserError as error:
        error.args = (as_argument(str(error)),)
        raise
    finally:
        handler.removeFilter(_translate)


def _translate(record: python_logging.LogRecord) -> bool:
    """Translates a record of the log; always true, because none is left out."""
    record.msg, record.args = as_argument(record.getMessage()), ()
    return True


def as_argument(text: str) -> str:
    """Returns a message in which `--output=x` is `OUT_DIR x`, and `--mask_labels=1,4` is `--mask-labels 1 4`."""
    return _FLAG.sub(_argument, _ONLY_INPAINT.sub("", text))


def _argument(flag: re.Match) -> str:
    name, value = flag.groups()
    if name not in _ARGUMENTS:
        return flag[0]
    if value is None:
        return _ARGUMENTS[name]
    if name in _LISTS and "," in value:
        return f"{_ARGUMENTS[name]} {value.replace(',', ' ')}"
    return f"{_ARGUMENTS[name]}{'=' if _ARGUMENTS[name].startswith('-') else ' '}{value}"
