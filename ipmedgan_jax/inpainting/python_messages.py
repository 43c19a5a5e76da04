"""Warnings and errors for callers in Python: through `warnings`, with options named as in Python."""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ipmedgan_jax.core.errors import FillWarning, UserError


def warn(text: str) -> None:
    """Gives a warning at the line that called the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("ipmedgan_jax."):
        frame, level = frame.f_back, level + 1
    warnings.warn(_as_option(text), FillWarning, stacklevel=level)


@contextmanager
def python_names() -> Iterator[None]:
    """Names options in errors as Python has them, and not as flags."""
    try:
        yield
    except UserError as error:
        if (text := _as_option(str(error))) == str(error):
            raise
        error.args = (text,)
        raise


def _as_option(text: str) -> str:
    """Returns a message in which `--model=x` is `model='x'`, and `--strict` is `strict=True`."""
    text = text.replace("(--strict)", "(strict=True)")
    text = re.sub(r"(?<![^\s(:])--(\w+)=((?:[^\s,;:)?]|,(?=\S))+)", lambda found: f"{found[1]}={_literal(found[2])}", text)
    return re.sub(r"(?<![^\s(:])--(?=[a-z])", "", text)


def _literal(text: str) -> str:
    return text if re.fullmatch(r"-?[\d.]+", text) else repr(text)
