"""The anatomy of head phantoms: closed forms with sizes drawn for each subject, which give the tissue at every point.

Coordinates are in millimetres: x to the right, y to the front, z upwards, with the origin between the thalami. Points are
`[3, ...]`. A head has scalp, skull with diploe, folded cortex, ventricles, deep grey matter, falx and calcifications. Left
and right are mirror images except for a slight warp, so that one side predicts the content of a hole in the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

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

_Layers = Iterator[tuple[str, np.ndarray]]  # (tissue, where); later layers are painted over earlier ones

_FOLD_MM = 15.0  # distance between neighbouring sulci
_GRID_MM = 4.0  # spacing of the random fields' grid
_GRID = 56  # points of that grid along each axis


@dataclass(frozen=True)
class Anatomy:
    """The parameters that differ between heads; lengths are in mm."""

    half_width: float
    half_length: float
    half_height: float
    egg: float  # share by which the width falls from the middle to the front
    turn: float  # rotation in the axial plane, in radians
    nod: float  # rise of the midline per mm to the front
    centre: np.ndarray  # x and y of the head's centre in the scan
    level: float  # z of the middle slice
    skull: float  # thickness of the skull
    fat: float  # thickness of the fat
    ventricles: float  # size of the ventricles; 1 is typical
    sulci: float  # half width of the sulci
    pineal: float  # radius of the pineal gland's calcification
    plexus: float  # half width of the choroid plexus's calcification
    folds: np.ndarray  # random fields over [-_GRID/2, _GRID/2] * _GRID_MM, as are the next two
    warp: np.ndarray
    texture: np.ndarray


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draws a head's sizes, its position in the scan, and its random fields."""
    uniform = rng.uniform
    return Anatomy(
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
    """Returns a smooth random field of unit variance, band-limited around the given wavelength."""
    sigma = wavelength_mm / _GRID_MM / 2 / np.pi
    noise = rng.standard_normal((_GRID,) * 3, np.float32)
    band = ndimage.gaussian_filter(noise, sigma, mode="wrap") - ndimage.gaussian_filter(noise, 1.6 * sigma, mode="wrap")
    return band / band.std()


def field_values(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolates a random field at points [3, ...] in mm."""
    coordinates = points / np.float32(_GRID_MM) + np.float32(_GRID / 2)
    return ndimage.map_coordinates(field, coordinates, order=1, mode="grid-wrap")


def head_points(anatomy: Anatomy, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Returns every voxel's coordinates [3, X, Y, Z] in the head's frame, which is rotated, tilted and off-centre."""
    x, y, z = np.meshgrid(
        *((np.arange(n, dtype=np.float32) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing_mm, strict=True)),
        indexing="ij",
    )
    x, y = x - anatomy.centre[0], y - anatomy.centre[1]
    cosine, sine = np.cos(anatomy.turn), np.sin(anatomy.turn)
    x, y = cosine * x + sine * y, cosine * y - sine * x
    return np.stack([x, y, z + anatomy.level + anatomy.nod * y]).astype(np.float32)


def radius(points: np.ndarray) -> np.ndarray:
    """Returns the distance from the head's origin in mm, slightly above 0 at the origin."""
    return np.sqrt(np.square(points).sum(axis=0)) + np.float32(1e-3)


def depth_below_skin(anatomy: Anatomy, points: np.ndarray) -> np.ndarray:
    """Returns the depth below the skin in mm, along the ray to the head's origin."""
    x, y, z = points
    width = anatomy.half_width * (1 - anatomy.egg * y / anatomy.half_length)
    reach = (np.abs(x / width), np.abs(y / anatomy.half_length), np.abs(z / anatomy.half_height))
    relative = sum(part**2.2 for part in reach) ** (1 / 2.2)  # slightly squarer than an ellipsoid
    return radius(points) * (1 / (relative + np.float32(1e-3)) - 1)


def label_tissues(anatomy: Anatomy, points: np.ndarray) -> np.ndarray:
    """Returns the index into TISSUES of points [3, N] inside the head."""
    mirrored = points + 1.3 * np.stack([field_values(component, points) for component in anatomy.warp])
    mirrored[0] = np.abs(mirrored[0])  # makes both sides equal except for the warp
    coat = _Coat(anatomy, points, mirrored)
    tissues = np.full(points.shape[1], TISSUES.index("white"), np.uint8)

    def paint(name: str, where: np.ndarray) -> None:
        tissues[where] = TISSUES.index(name)

    # Painted from the brain outwards; within the brain, small structures come last.
    for name, where in _brain_layers(anatomy, mirrored, coat.brain_depth):
        paint(name, where)
    for name, where in coat.layers():
        paint(name, where)
    return tissues


class _Coat:
    """The layers around the brain, defined by their depth below the skin."""

    def __init__(self, anatomy: Anatomy, points: np.ndarray, mirrored: np.ndarray):
        self.depth = depth_below_skin(anatomy, points)
        surface = mirrored * (80 / radius(mirrored))
        uneven = field_values(anatomy.warp[0], surface)
        ends = np.square(mirrored[1] / anatomy.half_length)  # makes layers thicker in front and behind
        self.fat = 2.0 + anatomy.fat * (0.8 + 0.5 * ends + 0.12 * uneven)
        side = np.clip(1 - np.abs(mirrored[1] - 28) / 32, 0, 1) * np.clip(1 - mirrored[2] / 55, 0, 1)
        self.muscle = self.fat + 9.0 * np.clip(side, 0, 0.7) * (mirrored[0] > 35)
        skull = anatomy.skull * (0.85 + 0.5 * ends + 0.10 * field_values(anatomy.warp[1], surface)) * (1 - 0.35 * side)
        self.skull = self.muscle + skull
        self.outer, self.inner = self.muscle + 0.26 * skull + 0.3, self.skull - 0.22 * skull - 0.3
        self.brain_depth = self.depth - self.skull - 1.6

    def layers(self) -> _Layers:
        """Yields (tissue, where) from the inside outwards."""
        yield "csf", self.brain_depth < 0
        yield "table", self.depth < self.skull
        yield "diploe", (self.depth < self.inner) & (self.depth > self.outer)
        yield "muscle", self.depth < self.muscle
        yield "fat", self.depth < self.fat
        yield "skin", self.depth < 2.0


def _brain_layers(anatomy: Anatomy, mirrored: np.ndarray, depth: np.ndarray) -> _Layers:
    """Yields (tissue, where) within the brain, each painted over the earlier ones; x of `mirrored` is from the midline."""
    x, y, z = mirrored
    size = anatomy.ventricles
    direction = mirrored * (1 / radius(mirrored))
    folds = field_values(anatomy.folds, direction * (58 + 0.30 * (radius(mirrored) - 58)))
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
    """Returns values below 1 inside an ellipsoid whose long axis is turned outwards, towards the back, by `turn` radians."""
    x, y, z = x - centre[0], y - centre[1], z - centre[2]
    cosine, sine = np.cos(turn), np.sin(turn)
    x, y = cosine * x + sine * y, cosine * y - sine * x
    return np.square(x / radii[0]) + np.square(y / radii[1]) + np.square(z / radii[2])


def _ventricles(x: np.ndarray, y: np.ndarray, z: np.ndarray, size: float) -> np.ndarray:
    """Returns values below 1 inside the lateral and third ventricles."""
    horn = _ellipse(x, y, z, (8.5, 24, 9), (4.2 * size, 13 * size, 13), -0.35)
    body = _ellipse(x, y, z, (10.5, -2, 21), (6.5 * size, 30, 8 * size), 0.22)
    atrium = _ellipse(x, y, z, (22, -36, 9), (6 * size, 17 * size, 12), 0.42)
    third = _ellipse(x, y, z, (0, -4, -2), (2.2 * size, 15, 12), 0)
    return np.minimum(np.minimum(horn, body), np.minimum(atrium, third))


def _sylvian_fissure(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> _Layers:
    """Yields the layers of the cleft from the side of the brain to the insula, below the parietal lobe."""
    along = np.clip((x - 34) / 30, 0, 1)
    off = np.abs(y - (14 - 8 * along) + 0.25 * (z - 5))
    low = (x > 34) & (z < 26)
    bend = np.abs(x - 36 - 0.012 * np.square(y - 4))  # distance from the insula
    yield "grey", (low & (off < 5.5)) | ((bend < 4.5) & (np.abs(y - 4) < 20) & (z < 22))
    yield "csf", (low & (off < 1.0 + 1.6 * along)) | ((bend < 1.4) & (np.abs(y - 4) < 18) & (z < 20))


def _midline(x: np.ndarray, y: np.ndarray, z: np.ndarray, depth: np.ndarray) -> _Layers:
    """Yields the layers of the cleft between the hemispheres around the corpus callosum, with the falx in its outer part."""
    callosum = np.square((y + 2) / 42) + np.square((z - 8) / 26) < 1
    yield "grey", (x < 4.5) & ~callosum
    yield "white", (x < 16) & callosum
    yield "csf", (x < 1.3) & ~callosum
    yield "falx", (x < 0.8) & ~callosum & (depth < 30)
