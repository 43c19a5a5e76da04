"""Head phantoms, as CT or FLAIR MRI, for demonstrations and tests without real data.

`phantom_anatomy` gives the tissue at each point. This module turns tissues into intensities with texture, blur and noise,
and writes files.
"""

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from ipmedgan_jax.data import phantom_anatomy
from ipmedgan_jax.data.phantom_anatomy import TISSUES
from ipmedgan_jax.imaging.scans import MODALITIES

HOUNSFIELD = dict(zip(TISSUES, (-1000, 50, -90, 55, 1350, 520, 6, 38, 28, 36, 55, 22, 220), strict=True))
FLAIR = dict(zip(TISSUES, (0, 330, 560, 210, 25, 190, 35, 330, 255, 300, 120, 470, 30), strict=True))  # scanner units
_NO_TEXTURE = dict.fromkeys(TISSUES, 0.0)


def write_phantoms(
    directory: Path | str,
    modality: str,
    *,
    subjects: int,
    slices: int,
    seed: int,
    shape: tuple[int, int] = (256, 256),
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> list[Path]:
    """Writes head phantoms in BIDS layout and returns their paths; the same seed gives the same voxels.

    CT is int16 in HU, MRI is uint16.

    Args:
      directory: the folder to write to.
      modality: `ct` or `mri`.
      subjects: number of heads.
      slices: number of axial slices through the middle of the head.
      seed: seed of the anatomy and the noise.
      shape: voxels of a slice along x and y.
      spacing_mm: voxel spacing along x, y and z.
    """
    folder, suffix = {"ct": ("ct", "ct"), "mri": ("anat", "FLAIR")}[modality]
    paths = []
    for number in range(1, subjects + 1):
        name = f"sub-{number:03d}"
        path = Path(directory) / name / folder / f"{name}_{suffix}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        array = head(modality, shape=(*shape, slices), spacing_mm=spacing_mm, seed=(seed, number))
        affine = np.diag([*spacing_mm, 1.0])
        affine[:3, 3] = -(np.array(array.shape) - 1) / 2 * spacing_mm
        image = nibabel.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
        paths.append(path)
    return paths


def head(
    modality: str,
    *,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    seed: int | tuple[int, ...],
) -> np.ndarray:
    """Returns one head [X, Y, Z] in RAS+, int16 in HU for ct, uint16 for mri; a seed has the same anatomy in both."""
    if modality not in MODALITIES:
        raise ValueError(f"modality {modality!r} is none of {MODALITIES}")
    rng = np.random.default_rng(seed)
    anatomy = phantom_anatomy.draw_anatomy(rng)
    points = phantom_anatomy.head_points(anatomy, shape, spacing_mm)
    inside = phantom_anatomy.depth_below_skin(anatomy, points) > 0
    tissues = np.zeros(shape, np.uint8)
    tissues[inside] = phantom_anatomy.label_tissues(anatomy, points[:, inside])
    texture = np.zeros(shape, np.float32)
    texture[inside] = phantom_anatomy.field_values(anatomy.texture, points[:, inside])
    if modality == "ct":
        return _make_ct(tissues, texture, spacing_mm, rng)
    return _make_flair(tissues, texture, points, spacing_mm, rng)


def _make_ct(
    tissues: np.ndarray,
    texture: np.ndarray,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns HU with spongy bone of varying density, the scanner's blur, and correlated noise."""
    image = _paint(HOUNSFIELD, tissues)
    image += texture * _paint(_NO_TEXTURE | {"diploe": 190, "table": 90, "white": 1.2, "grey": 1.2}, tissues)
    image = _blur(image, 0.55, spacing_mm)
    image += 6 * _correlated_noise(rng, image.shape, 0.7)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)


def _make_flair(
    tissues: np.ndarray,
    texture: np.ndarray,
    points: np.ndarray,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns scanner units with a receive field brighter towards one side and the Rician noise of a magnitude image."""
    image = _paint(FLAIR, tissues)
    image += texture * _paint(_NO_TEXTURE | {"diploe": 45, "white": 8, "grey": 10, "fat": 40}, tissues)
    slope = rng.uniform(-1, 1, 3) * (0.0010, 0.0010, 0.0015)
    image *= np.exp(np.tensordot(slope.astype(np.float32), points, 1)) * (
        0.9 + np.square(phantom_anatomy.radius(points) / 200)
    )
    image = _blur(image, 0.6, spacing_mm)
    image = np.hypot(image + 9 * _correlated_noise(rng, image.shape, 0.4), 9 * _correlated_noise(rng, image.shape, 0.4))
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def _paint(values: Mapping[str, float], tissues: np.ndarray) -> np.ndarray:
    return np.array([values[name] for name in TISSUES], np.float32)[tissues]


def _blur(image: np.ndarray, sigma_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Blurs in plane, by at least half a voxel, which also models the partial volume effect at edges."""
    return ndimage.gaussian_filter(image, [max(sigma_mm / mm, 0.5) for mm in spacing_mm[:2]] + [0], mode="nearest")


def _correlated_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Returns noise of unit variance, correlated in plane over `sigma` voxels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (sigma, sigma, 0), mode="wrap")
    return noise / noise.std()
