"""Names of BIDS: their parts, the order of their entities, and the names that a derivative gives to its files.

Order, suffixes and entities are those of the BIDS schema 1.2.7 (BIDS 1.11.1), which BIDS 1.10 shares.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ipmedgan_jax.imaging import nifti

ORDER = (
    *("sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir"),
    *("run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "atlas"),
    *("seg", "scale", "res", "den", "label", "desc"),
)
"""The entities of BIDS in the order in which a name has them."""

_IN_MASKS = frozenset({"sub", "ses", "task", "acq", "ce", "rec", "run", "echo", "part", "space", "chunk", "res"})
"""Entities of a scan that the name of its mask may have."""

_IN_SCANS = _IN_MASKS | {"dir", "flip", "inv", "mt", "desc"}

_ANATOMY = frozenset(
    {
        *("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio", "T2star", "FLASH", "PD"),
        *("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat", "UNIT1", "T1rho"),
        *("MWFmap", "MTVmap", "Chimap", "S0map", "M0map", "MESE", "MEGRE", "VFA", "IRT1", "MP2RAGE", "MPM", "MTS", "MTR"),
    }
)
"""Suffixes of scans that a derivative may have in a folder `anat`."""

TEMPLATES = frozenset(
    {
        *("ICBM452AirSpace", "ICBM452Warp5Space", "IXI549Space", "fsaverage", "fsaverageSym", "fsLR", "MNIColin27"),
        *("MNI152Lin", "MNI152NLin2009aSym", "MNI152NLin2009bSym", "MNI152NLin2009cSym", "MNI152NLin2009aAsym"),
        *("MNI152NLin2009bAsym", "MNI152NLin2009cAsym", "MNI152NLin6Sym", "MNI152NLin6Asym", "MNI305", "NIHPD"),
        *("OASIS30AntsOASISAnts", "OASIS30Atropos", "Talairach", "UNCInfant"),
    }
)
"""Values of `space` that BIDS knows; files in any other space name their reference."""

ORIGINAL = "orig"
"""The space of a scan as it was taken, which a name without `space` means."""

_NATIVE = {ORIGINAL, "native", "individual", "scanner", "subject", "ct", "dwi", "bold", *_ANATOMY}
"""Spaces of a subject's own scans, whose millimetres are about those of the scanner."""

_SPACE = re.compile(r"(?:^|_)space-([a-zA-Z0-9]+)(?=_|$)")

FOLDER = re.compile(r"(?:sub|ses)-[a-zA-Z0-9]+")
"""Matches the name of a subject's or a session's folder."""

FILLED_MASK = re.compile(r"_label-lesion_desc-filled[a-zA-Z0-9]*_mask$")
"""Matches the end of the name of a mask that `mask_name` gave."""


@dataclass(frozen=True)
class BidsName:
    """A file name of BIDS without its extension.

    Attributes:
      entities: values by entity, in any order.
      suffix: the last part, for example FLAIR.
    """

    entities: dict[str, str]
    suffix: str

    @property
    def text(self) -> str:
        """The name, with its entities in the order of BIDS."""
        parts = [f"{key}-{self.entities[key]}" for key in ORDER if key in self.entities]
        return "_".join([*parts, self.suffix])


def parse(path: Path) -> BidsName | None:
    """Returns the parts of a file name; None if it has no subject, or a part or an order that BIDS does not know."""
    *parts, suffix = nifti.stem(path).split("_")
    pairs = [re.fullmatch(r"([a-z]+)-([a-zA-Z0-9+]+)", part) for part in parts]
    entities = {pair[1]: pair[2] for pair in pairs if pair}
    if len(entities) < len(parts) or "sub" not in entities or not re.fullmatch("[a-zA-Z0-9]+", suffix):
        return None
    name = BidsName(entities, suffix)
    return name if entities.keys() <= set(ORDER) and name.text == nifti.stem(path) else None


def space_of(path: Path) -> str:
    """Returns the space that a file name gives; `orig` if it gives none."""
    found = _SPACE.search(nifti.stem(path))
    return found[1] if found else ORIGINAL


def spaces_differ(path: Path, other: Path) -> bool:
    """Whether two file names give different spaces, or one of them alone gives one that is not a subject's own."""
    named = [space for space in (space_of(path), space_of(other)) if space != ORIGINAL]
    if len(named) == 2:
        return named[0] != named[1]
    return any(space not in _NATIVE for space in named)


def filled_name(image: BidsName) -> BidsName:
    """Returns the name of a filled scan: that of the scan with `desc-inpainted`, and `space-orig` unless it names a space."""
    return BidsName({"space": "orig"} | image.entities | {"desc": "inpainted"}, image.suffix)


def mask_name(image: BidsName, *, with_suffix: bool) -> BidsName:
    """Returns the name of the mask of the voxels that were filled in a scan.

    Args:
      image: the name of the scan.
      with_suffix: whether the name tells the scan's suffix, because scans of other contrasts have the same entities.
    """
    kept = {key: value for key, value in image.entities.items() if key in _IN_MASKS}
    own = {"label": "lesion", "desc": "filled" + (image.suffix if with_suffix else "")}
    return BidsName({"space": "orig"} | kept | own, "mask")


def is_scan_of_anatomy(path: Path) -> bool:
    """Whether a path is one that BIDS knows for a scan of a derivative: `sub-X/[ses-Y/]anat/sub-X_[ses-Y_]..._SUFFIX`.

    Args:
      path: a path below the root of the data set.
    """
    name = parse(path)
    if name is None or name.suffix not in _ANATOMY or not name.entities.keys() <= _IN_SCANS:
        return False
    folders = [f"{key}-{name.entities[key]}" for key in ("sub", "ses") if key in name.entities]
    return path.parts[:-1] == (*folders, "anat")


def has_other_contrasts(image: Path) -> bool:
    """Whether scans of another contrast lie beside a scan whose masks would have the name of its mask."""
    own = parse(image)
    others = (parse(path) for path in image.parent.iterdir() if path.name.endswith(nifti.SUFFIXES))
    mask = mask_name(own, with_suffix=False) if own else None
    return any(
        other.suffix in _ANATOMY and other.suffix != own.suffix and mask_name(other, with_suffix=False) == mask
        for other in others
        if other and own
    )
