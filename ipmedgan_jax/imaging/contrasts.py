"""The contrast of a scan by its file name: BIDS suffixes (`_T1w`), and the names of BraTS (`-t1n`) and of common tools."""

import re
from collections.abc import Iterable
from pathlib import Path

_TOKENS = {
    "CT": ("ct",),
    "T1w": ("t1", "t1w", "t1n", "mprage"),
    "T1w with contrast agent": ("t1c", "t1ce", "t1gd"),
    "T2w": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f"),
    "PDw": ("pd", "pdw"),
}
"""Parts of file names, in lower case, by the contrast that they stand for."""

_CONTRASTS = {token: contrast for contrast, tokens in _TOKENS.items() for token in tokens}


def is_contrast(word: str) -> bool:
    """Whether one part of a file name stands for a contrast."""
    return word.lower() in _CONTRASTS


def contrast_of(path: Path) -> str:
    """Returns the contrast that the last telling part of a file name stands for; empty if none does."""
    tokens = re.split(r"[^a-z0-9]+", path.name.lower())
    return next((_CONTRASTS[token] for token in reversed(tokens) if token in _CONTRASTS), "")


def modality_of(path: Path) -> str:
    """Returns the modality that a file name tells, `ct` or `mri`; empty if it tells none."""
    contrast = contrast_of(path)
    return "" if not contrast else "ct" if contrast == "CT" else "mri"


def contrasts_of(paths: Iterable[Path]) -> list[str]:
    """Returns the contrasts of several file names, sorted; names that tell none are left out."""
    return sorted({contrast for path in paths if (contrast := contrast_of(path))})
