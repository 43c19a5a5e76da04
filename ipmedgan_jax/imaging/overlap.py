"""Which voxels of one grid the masked voxels of another grid touch."""

import math
from collections.abc import Iterator

import nibabel
import numpy as np

_SHRUNK = 0.998
"""Factor on a masked voxel's edges, so that it does not touch a neighbour because affines are rounded."""

BYTES_PER_VOXEL = 128
"""Memory that `touched_voxels` takes at most, per masked voxel."""

_BLOCK = 2**18
"""Number of pairs of voxels that are compared at once; bounds the memory."""


def touched_voxels(mask: np.ndarray, transform: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Returns the voxels of a grid that share some volume with a masked voxel, and the number of masked voxels outside it.

    A masked voxel is a parallelepiped in the grid's voxel coordinates, where each voxel is a unit cube. Two convex
    polyhedra are apart if and only if an axis separates them: the normal of a face of either, or the cross product of an edge
    of one and an edge of the other (Gottschalk, Lin and Manocha, SIGGRAPH 1996, section 5). All pairs of voxels have the same
    axes and, along each axis, the same sum of half widths.

    Args:
      mask: bool `[i, j, k]`.
      transform: maps the mask's voxel indices to those of the grid, `[4, 4]`.
      shape: of the grid.
    """
    touched = np.zeros(shape, bool)
    centres = nibabel.affines.apply_affine(transform, np.argwhere(mask))
    inside = np.zeros(len(centres), bool)
    edges = transform[:3, :3] * _SHRUNK
    axes = _separating_axes(edges)
    widths = (np.abs(axes).sum(1) + np.abs(axes @ edges).sum(1)) / 2
    for block, index in _candidate_pairs(centres, _reach(edges), shape):
        distances = index - centres[block, None]
        meets = np.all(index < shape, axis=-1)
        for axis, width in zip(axes, widths, strict=True):
            meets &= np.abs(distances @ axis) < width
        touched[tuple(index[meets].T)] = True
        inside[block] |= meets.any(1)
    return touched, int(np.count_nonzero(~inside))


def candidates(transform: np.ndarray, shape: tuple[int, ...]) -> int:
    """Returns the number of the grid's voxels with which `touched_voxels` compares each masked voxel."""
    return math.prod(_extent(_reach(transform[:3, :3] * _SHRUNK), shape))


def _reach(edges: np.ndarray) -> np.ndarray:
    """Returns the distance along each axis below which a masked voxel may touch a unit cube, `[3]`."""
    return (1 + np.abs(edges).sum(1)) / 2


def _extent(reach: np.ndarray, shape: tuple[int, ...]) -> list[int]:
    return np.minimum(np.ceil(2 * reach), shape).astype(int).tolist()  # an open interval of length L has at most ceil(L)


def _separating_axes(edges: np.ndarray) -> np.ndarray:
    """Returns the directions `[n, 3]`, of unit length, that can separate a unit cube from a parallelepiped.

    The columns of `edges` are the parallelepiped's. If they are parallel to the cube's, the cube's normals suffice.
    """
    cube, columns = np.eye(3), edges.T
    normals = np.cross(columns, np.roll(columns, 1, axis=0))
    crossed = np.cross(cube[:, None], columns[None]).reshape(-1, 3)
    axes = np.concatenate([normals, crossed])
    lengths = np.linalg.norm(axes, axis=1)
    axes = axes[lengths > 0] / lengths[lengths > 0, None]
    return np.concatenate([cube, axes[np.count_nonzero(axes, axis=1) > 1]])


def _candidate_pairs(centres: np.ndarray, reach: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields blocks of centres, and for each of them the voxels nearer than `reach` along every axis.

    Voxels are `[n, candidates, 3]`; some may lie beyond the grid's far faces.
    """
    first = np.clip(np.ceil(centres - reach), 0, shape).astype(int)
    extent = _extent(reach, shape)
    total = math.prod(extent)
    for start in range(0, total, _BLOCK):
        block_of_offsets = np.arange(start, min(start + _BLOCK, total))
        offsets = np.stack(np.unravel_index(block_of_offsets, tuple(extent)), -1)
        rows = max(1, _BLOCK // len(offsets))
        for row in range(0, len(centres), rows):
            block = slice(row, row + rows)
            yield block, first[block, None] + offsets
