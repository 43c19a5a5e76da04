"""Every voxel that a mask on another grid touches is found, and no other, for any pair of grids."""

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from scipy.optimize import linprog
from scipy.spatial.transform import Rotation

from ipmedgan_jax.imaging import overlap
from ipmedgan_jax.imaging.overlap import touched_voxels
from tests.properties import property_test

SHAPE = (9, 8, 7)
"""Of the scans."""

EDGE = st.sampled_from([0.3, 0.5, 0.9, 1.0, 2.0, 5.0])
ANGLE = st.sampled_from([0.0, 90.0, 1.0, 30.0, 45.0, -77.0])
ORIENTATIONS = st.builds(
    lambda edges, angles: Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * edges,
    st.tuples(EDGE, EDGE, EDGE),
    st.tuples(ANGLE, ANGLE, ANGLE),
)
"""The columns are the edges of a voxel."""

SHIFT = st.tuples(*[st.floats(-3, 3, width=16)] * 3)


def sampled(mask, transform, shape, samples=9):
    """Brute force: the voxels of `shape` that hold one of 9 x 9 x 9 points of a masked voxel."""
    steps = np.linspace(-0.499, 0.499, samples)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    hit = np.zeros(shape, bool)
    for voxel in np.argwhere(mask):
        points = nibabel.affines.apply_affine(transform, voxel + offsets)
        index = np.rint(points).astype(int)
        index = index[((index >= 0) & (index < shape)).all(1)]
        hit[tuple(index.T)] = True
    return hit


def depth(voxel, masked, transform):
    """How far two voxels can shrink, in shares of an edge, until they no longer meet; negative if they are apart."""
    edges, centre = transform[:3, :3], transform[:3, :3] @ masked + transform[:3, 3]
    inverse = np.linalg.inv(edges)
    sides = np.concatenate([np.eye(3), -np.eye(3), inverse, -inverse])
    limits = np.concatenate([voxel, -voxel, inverse @ centre, -inverse @ centre]) + np.repeat([0.5, 0.499], 6)
    best = linprog([0, 0, 0, -1], np.column_stack([sides, np.ones(12)]), limits, bounds=[(None, None)] * 4)
    return -best.fun


@property_test
@given(mask_edges=ORIENTATIONS, edges=ORIENTATIONS, shift=SHIFT, seed=st.integers(0, 10**6))
def test_touched_voxels_are_those_of_brute_force_and_their_neighbours_are_not_touched(mask_edges, edges, shift, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((5, 4, 3), bool)
    mask[tuple(rng.integers(0, mask.shape, (3, 3)).T)] = True
    linear = np.linalg.solve(edges, mask_edges)
    centred = (np.array(SHAPE) - 1) / 2 - linear @ (2, 1.5, 1)
    transform = nibabel.affines.from_matvec(linear, centred + shift)
    found, _ = touched_voxels(mask, transform, SHAPE)
    points = sampled(mask, transform, SHAPE)
    assert not (points & ~found).any()
    beyond_points, beyond_found = found & ~points, binary_dilation(found, np.ones((3, 3, 3))) & ~found
    for voxels, is_touched in ((beyond_points, True), (beyond_found, False)):
        for voxel in rng.permutation(np.argwhere(voxels))[:5]:
            deepest = max(depth(voxel, masked, transform) for masked in np.argwhere(mask))
            assert deepest > -1e-9 if is_touched else deepest < 1e-9


@pytest.mark.parametrize(("mask_edges", "count"), [((0.5, 0.5, 5), 220), ((5, 0.5, 0.5), 220), ((0.5, 5, 0.5), 220)])
def test_a_mask_that_is_finer_in_one_direction_and_coarser_in_another_is_whole(mask_edges, count):
    mask = np.zeros((128, 128, 8), bool)
    mask[61, 60:80, 3:5] = True
    order = np.argsort(np.array(mask_edges) == 5, kind="stable")  # the coarse axis is the mask's last
    mask, shape = mask.transpose(np.argsort(order)), np.array((64, 64, 40))[np.argsort(order)]
    found, outside = touched_voxels(mask, np.diag([*mask_edges, 1.0]), tuple(shape))
    assert (np.count_nonzero(found), outside) == (count, 0)


def test_voxels_that_share_a_face_do_not_touch_and_those_that_share_a_sliver_do():
    mask = np.ones((1, 1, 1), bool)
    for shift, expected in ((1.0, {2}), (1.0 + 1e-4, {2}), (1.01, {2, 3}), (1.5, {2, 3})):
        transform = np.eye(4)
        transform[:3, 3] = 1 + shift, 3, 3
        found, _ = touched_voxels(mask, transform, (6, 6, 6))
        assert {int(index) for index in np.argwhere(found)[:, 0]} == expected
        assert np.count_nonzero(found) == len(expected)


def test_masked_voxels_outside_the_grid_are_counted():
    transform = np.eye(4)
    transform[0, 3] = 2.5
    found, outside = touched_voxels(np.ones((4, 1, 1), bool), transform, (4, 1, 1))
    np.testing.assert_array_equal(found.ravel(), [False, False, True, True])
    assert outside == 2
    assert touched_voxels(np.ones((2, 2, 2), bool), np.diag([1e30, 1e30, 1e30, 1.0]), (4, 4, 4))[1] == 7


def test_blocks_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(0)
    mask, transform = rng.random((6, 5, 4)) < 0.3, np.eye(4)
    transform[:3, :3] = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix() * (0.4, 3.0, 1.0)
    whole = touched_voxels(mask, transform, (8, 9, 10))
    monkeypatch.setattr(overlap, "_BLOCK", 7)
    in_blocks = touched_voxels(mask, transform, (8, 9, 10))
    np.testing.assert_array_equal(whole[0], in_blocks[0])
    assert whole[1] == in_blocks[1]
