"""Made-up heads, as CT or FLAIR MRI, for demonstrations and tests where no one's data are at hand.

A head is a set of closed forms in millimetres (x to the right, y to the front, z upwards, 0 between the thalami) whose
sizes are drawn for each subject: scalp, skull with diploe, folded cortex, ventricles, deep grey matter, falx and
calcifications. Left and right mirror each other but for a slight warp, so that the other side tells what a hole held.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from ipmedgan_jax.imaging.scans import MODALITIES

TISSUES = (
    "air",
    "skin",
    "fat",
    "muscle",
    "table",  # of the skull: the compact outer and inner layers
    "diploe",  # the spongy layer between them
    "csf",
    "grey",
    "white",
    "nucleus",  # deep grey matter
    "falx",
    "lesion",  # of the white matter beside the ventricles
    "calcification",
)
HOUNSFIELD = dict(zip(TISSUES, (-1000, 50, -90, 55, 1350, 520, 6, 38, 28, 36, 55, 22, 220), strict=True))
FLAIR = dict(zip(TISSUES, (0, 330, 560, 210, 25, 190, 35, 330, 255, 300, 120, 470, 30), strict=True))  # scanner units
_NO_TEXTURE = dict.fromkeys(TISSUES, 0.0)

_Layers = Iterator[tuple[str, np.ndarray]]  # (tissue, where), each painted over those before

_FOLD_MM = 15.0  # from one sulcus to the next
_GRID_MM = 4.0  # of the random fields
_GRID = 56  # points along each axis of the random fields


@dataclass(frozen=True)
class _Anatomy:
    """What differs between heads; lengths in mm."""

    half_width: float
    half_length: float
    half_height: float
    egg: float  # how much narrower the front is than the back
    turn: float  # radians, in the axial plane
    nod: float  # rise of the midline per mm to the front
    centre: np.ndarray
    level: float  # z of the middle slice
    skull: float  # thickness
    fat: float
    ventricles: float  # size of the ventricles, 1 is usual
    sulci: float  # half width of the sulci
    pineal: float  # radius of its calcification
    plexus: float
    folds: np.ndarray  # random fields over [-_GRID/2, _GRID/2] * _GRID_MM
    warp: np.ndarray
    texture: np.ndarray


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
    """Writes `subjects` heads in BIDS layout and returns their paths; the same seed gives the same voxels.

    `slices` axial slices through the middle of the head, each of `shape` voxels along x and y; CT is int16 in HU, MRI
    uint16.
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
    """One head [X, Y, Z] in RAS+: int16 HU for ct, uint16 for mri; the same seed is the same anatomy in both."""
    if modality not in MODALITIES:
        raise ValueError(f"modality {modality!r} is none of {MODALITIES}")
    rng = np.random.default_rng(seed)
    anatomy = _draw_anatomy(rng)
    points = _points(anatomy, shape, spacing_mm)
    inside = _depth(anatomy, points) > 0
    tissues = np.zeros(shape, np.uint8)
    tissues[inside] = _tissues(anatomy, points[:, inside])
    texture = np.zeros(shape, np.float32)
    texture[inside] = _field(anatomy.texture, points[:, inside])
    if modality == "ct":
        return _ct(tissues, texture, spacing_mm, rng)
    return _flair(tissues, texture, points, spacing_mm, rng)


def _draw_anatomy(rng: np.random.Generator) -> _Anatomy:
    uniform = rng.uniform
    return _Anatomy(
        half_width=uniform(70, 80),
        half_length=uniform(87, 99),
        half_height=uniform(88, 98),
        egg=uniform(0.04, 0.11),
        turn=uniform(-0.09, 0.09),
        nod=uniform(-0.12, 0.12),
        centre=uniform((-5, -5), (5, 5)),
        level=uniform(8, 20),
        skull=uniform(5.5, 8.5),
        fat=uniform(2.5, 5.5),
        ventricles=uniform(0.8, 1.35),
        sulci=uniform(0.10, 0.22),
        pineal=uniform(1.5, 3.0),
        plexus=uniform(1.0, 3.2),
        folds=_random_field(rng, _FOLD_MM),
        warp=np.stack([_random_field(rng, 40.0) for _ in range(3)]),
        texture=_random_field(rng, 10.0),
    )


def _random_field(rng: np.random.Generator, wavelength_mm: float) -> np.ndarray:
    """A smooth random field of unit variance, a band of wavelengths around the given one."""
    sigma = wavelength_mm / _GRID_MM / 2 / np.pi
    noise = rng.standard_normal((_GRID,) * 3, np.float32)
    band = ndimage.gaussian_filter(noise, sigma, mode="wrap") - ndimage.gaussian_filter(noise, 1.6 * sigma, mode="wrap")
    return band / band.std()


def _field(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The field's values at points [3, ...] in mm."""
    places = points / np.float32(_GRID_MM) + np.float32(_GRID / 2)
    return ndimage.map_coordinates(field, places, order=1, mode="grid-wrap")


def _points(anatomy: _Anatomy, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The head's own coordinates [3, X, Y, Z] of every voxel: turned, nodded and off the centre of the scan."""
    x, y, z = np.meshgrid(
        *((np.arange(n, dtype=np.float32) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing_mm, strict=True)),
        indexing="ij",
    )
    x, y = x - anatomy.centre[0], y - anatomy.centre[1]
    cosine, sine = np.cos(anatomy.turn), np.sin(anatomy.turn)
    x, y = cosine * x + sine * y, cosine * y - sine * x
    return np.stack([x, y, z + anatomy.level + anatomy.nod * y]).astype(np.float32)


def _radius(points: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(points).sum(axis=0)) + np.float32(1e-3)


def _depth(anatomy: _Anatomy, points: np.ndarray) -> np.ndarray:
    """Millimetres below the skin, along the ray to the middle of the head."""
    x, y, z = points
    width = anatomy.half_width * (1 - anatomy.egg * y / anatomy.half_length)
    reach = (np.abs(x / width), np.abs(y / anatomy.half_length), np.abs(z / anatomy.half_height))
    relative = sum(part**2.2 for part in reach) ** (1 / 2.2)  # a little squarer than an ellipsoid
    return _radius(points) * (1 / (relative + np.float32(1e-3)) - 1)


def _tissues(anatomy: _Anatomy, points: np.ndarray) -> np.ndarray:
    """Index into TISSUES for points [3, N] inside the head, painted from the brain outwards, small things last."""
    mirrored = points + 1.3 * np.stack([_field(component, points) for component in anatomy.warp])
    mirrored[0] = np.abs(mirrored[0])  # everything below is the same on both sides, but for the warp
    coat = _Coat(anatomy, points, mirrored)
    tissues = np.full(points.shape[1], TISSUES.index("white"), np.uint8)

    def paint(name: str, where: np.ndarray) -> None:
        tissues[where] = TISSUES.index(name)

    for name, where in _brain(anatomy, mirrored, coat.brain_depth):
        paint(name, where)
    for name, where in coat.layers():
        paint(name, where)
    return tissues


class _Coat:
    """The layers around the brain, by depth below the skin."""

    def __init__(self, anatomy: _Anatomy, points: np.ndarray, mirrored: np.ndarray):
        self.depth = _depth(anatomy, points)
        surface = mirrored * (80 / _radius(mirrored))
        uneven = _field(anatomy.warp[0], surface)
        ends = np.square(mirrored[1] / anatomy.half_length)  # thicker in front and behind
        self.fat = 2.0 + anatomy.fat * (0.8 + 0.5 * ends + 0.12 * uneven)
        side = np.clip(1 - np.abs(mirrored[1] - 28) / 32, 0, 1) * np.clip(1 - mirrored[2] / 55, 0, 1)
        self.muscle = self.fat + 9.0 * np.clip(side, 0, 0.7) * (mirrored[0] > 35)
        skull = anatomy.skull * (0.85 + 0.5 * ends + 0.10 * _field(anatomy.warp[1], surface)) * (1 - 0.35 * side)
        self.skull = self.muscle + skull
        self.outer, self.inner = self.muscle + 0.26 * skull + 0.3, self.skull - 0.22 * skull - 0.3
        self.brain_depth = self.depth - self.skull - 1.6

    def layers(self) -> _Layers:
        """(tissue, where) from the inside out."""
        yield "csf", self.brain_depth < 0
        yield "table", self.depth < self.skull
        yield "diploe", (self.depth < self.inner) & (self.depth > self.outer)
        yield "muscle", self.depth < self.muscle
        yield "fat", self.depth < self.fat
        yield "skin", self.depth < 2.0


def _brain(anatomy: _Anatomy, mirrored: np.ndarray, depth: np.ndarray) -> _Layers:
    """(tissue, where) within the brain, each over what came before; `mirrored` has x to the side, from the midline."""
    x, y, z = mirrored
    size = anatomy.ventricles
    direction = mirrored * (1 / _radius(mirrored))
    folds = _field(anatomy.folds, direction * (58 + 0.30 * (_radius(mirrored) - 58)))
    fading = np.clip((24 - depth) / 20, 0, 1)  # sulci end about 24 mm below the surface
    crest = np.abs(folds)
    yield "grey", (depth < 3.2) | (crest < (anatomy.sulci + 0.42) * np.sqrt(fading))
    yield "csf", crest < anatomy.sulci * fading * np.clip(1.4 - depth / 18, 0, 1)
    yield from _sylvian_fissure(x, y, z)
    yield from _midline(x, y, z, depth)
    yield "nucleus", _ellipse(x, y, z, (12, -9, 4), (8.5, 14, 10), 0.45) < 1  # thalamus
    yield "nucleus", _ellipse(x, y, z, (26, 4, 4), (6, 17, 12), 0.25) < 1  # putamen and pallidum
    yield "nucleus", _ellipse(x, y, z, (15.5, 21, 8), (5.5, 9, 12), 0.35) < 1  # head of the caudate
    ventricle = _ventricles(x, y, z, size)
    yield "lesion", (ventricle < 1.5) & (folds > 0.9) & (depth > 22)
    yield "csf", ventricle < 1
    yield "calcification", _ellipse(x, y, z, (0, -27, 4), (anatomy.pineal,) * 3, 0) < 1
    yield "calcification", _ellipse(x, y, z, (21, -33, 8), (anatomy.plexus, 1.6 * anatomy.plexus, 4), 0.5) < 1


def _ellipse(x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple, radii: tuple, turn: float) -> np.ndarray:
    """Below 1 inside an ellipsoid whose length is turned outwards, towards the back, by `turn` radians."""
    x, y, z = x - centre[0], y - centre[1], z - centre[2]
    cosine, sine = np.cos(turn), np.sin(turn)
    x, y = cosine * x + sine * y, cosine * y - sine * x
    return np.square(x / radii[0]) + np.square(y / radii[1]) + np.square(z / radii[2])


def _ventricles(x: np.ndarray, y: np.ndarray, z: np.ndarray, size: float) -> np.ndarray:
    """Below 1 inside the lateral and third ventricles."""
    horn = _ellipse(x, y, z, (8.5, 24, 9), (4.2 * size, 13 * size, 13), -0.35)
    body = _ellipse(x, y, z, (10.5, -2, 21), (6.5 * size, 30, 8 * size), 0.22)
    atrium = _ellipse(x, y, z, (22, -36, 9), (6 * size, 17 * size, 12), 0.42)
    third = _ellipse(x, y, z, (0, -4, -2), (2.2 * size, 15, 12), 0)
    return np.minimum(np.minimum(horn, body), np.minimum(atrium, third))


def _sylvian_fissure(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> _Layers:
    """The cleft from the side of the brain to the insula, below the parietal lobe."""
    along = np.clip((x - 34) / 30, 0, 1)
    off = np.abs(y - (14 - 8 * along) + 0.25 * (z - 5))
    low = (x > 34) & (z < 26)
    bend = np.abs(x - 36 - 0.012 * np.square(y - 4))  # distance from the insula
    yield "grey", (low & (off < 5.5)) | ((bend < 4.5) & (np.abs(y - 4) < 20) & (z < 22))
    yield "csf", (low & (off < 1.0 + 1.6 * along)) | ((bend < 1.4) & (np.abs(y - 4) < 18) & (z < 20))


def _midline(x: np.ndarray, y: np.ndarray, z: np.ndarray, depth: np.ndarray) -> _Layers:
    """The cleft between the hemispheres around the corpus callosum, with the falx in its outer part."""
    callosum = np.square((y + 2) / 42) + np.square((z - 8) / 26) < 1
    yield "grey", (x < 4.5) & ~callosum
    yield "white", (x < 16) & callosum
    yield "csf", (x < 1.3) & ~callosum
    yield "falx", (x < 0.8) & ~callosum & (depth < 30)


def _ct(
    tissues: np.ndarray,
    texture: np.ndarray,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """HU: spongy bone of varying density, the blur of the scanner, grainy noise."""
    image = _paint(HOUNSFIELD, tissues)
    image += texture * _paint(_NO_TEXTURE | {"diploe": 190, "table": 90, "white": 1.2, "grey": 1.2}, tissues)
    image = _blur(image, 0.55, spacing_mm)
    image += 6 * _grain(rng, image.shape, 0.7)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)


def _flair(
    tissues: np.ndarray,
    texture: np.ndarray,
    points: np.ndarray,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Scanner units: a receive field brighter towards one side, and the Rician noise of a magnitude image."""
    image = _paint(FLAIR, tissues)
    image += texture * _paint(_NO_TEXTURE | {"diploe": 45, "white": 8, "grey": 10, "fat": 40}, tissues)
    slope = rng.uniform(-1, 1, 3) * (0.0010, 0.0010, 0.0015)
    image *= np.exp(np.tensordot(slope.astype(np.float32), points, 1)) * (0.9 + np.square(_radius(points) / 200))
    image = _blur(image, 0.6, spacing_mm)
    image = np.hypot(image + 9 * _grain(rng, image.shape, 0.4), 9 * _grain(rng, image.shape, 0.4))
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def _paint(values: Mapping[str, float], tissues: np.ndarray) -> np.ndarray:
    return np.array([values[name] for name in TISSUES], np.float32)[tissues]


def _blur(image: np.ndarray, sigma_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """In-plane blur, of half a voxel at least: it stands for the partial volume of the edges too."""
    return ndimage.gaussian_filter(image, [max(sigma_mm / mm, 0.5) for mm in spacing_mm[:2]] + [0], mode="nearest")


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Noise of unit variance with neighbours alike over `sigma` voxels in plane."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (sigma, sigma, 0), mode="wrap")
    return noise / noise.std()
