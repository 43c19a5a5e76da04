"""Phantom heads are reproducible, symmetric, in their units, and different for each subject."""

import numpy as np
import pytest

from ipmedgan_jax.data import phantom, phantom_anatomy
from ipmedgan_jax.imaging.scans import read_volume

SMALL = {"shape": (64, 64, 6), "spacing_mm": (4.0, 4.0, 4.0)}


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_the_same_seed_is_the_same_head_and_another_subject_is_not(tmp_path, modality):
    options = {"subjects": 2, "slices": 4, "seed": 3, "shape": (64, 64), "spacing_mm": (4.0, 4.0, 4.0)}
    first = [read_volume(path).array for path in phantom.write_phantoms(tmp_path / "a", modality, **options)]
    second = [read_volume(path).array for path in phantom.write_phantoms(tmp_path / "b", modality, **options)]
    np.testing.assert_array_equal(first, second)
    assert first[0].shape == (64, 64, 4)
    noise = {"ct": 6, "mri": 9}[modality]
    difference = np.abs(first[0].astype(float) - first[1])
    assert (difference > 10 * noise).mean() > 0.02  # another anatomy, not only other noise


def test_files_are_in_bids_layout(tmp_path):
    options = {"subjects": 1, "slices": 1, "seed": 0, "shape": (16, 16), "spacing_mm": (16.0, 16.0, 4.0)}
    ct, mri = (phantom.write_phantoms(tmp_path, modality, **options)[0] for modality in ("ct", "mri"))
    assert ct == tmp_path / "sub-001/ct/sub-001_ct.nii.gz"
    assert mri == tmp_path / "sub-001/anat/sub-001_FLAIR.nii.gz"
    np.testing.assert_allclose(read_volume(ct).spacing_mm, (16, 16, 4))


def test_ct_is_in_hu_with_air_brain_and_bone():
    head = phantom.head("ct", shape=(128, 128, 4), spacing_mm=(2.0, 2.0, 4.0), seed=0)
    assert head.dtype == np.int16
    assert np.median(head[:4]) == pytest.approx(-1000, abs=5)
    brain = head[(head > -20) & (head < 80)]
    assert 25 < np.median(brain) < 42
    assert 0.02 < (head > 300).mean() < 0.15


def test_flair_has_dark_fluid_and_grey_matter_brighter_than_white():
    shape, spacing = (192, 192, 2), (1.0, 1.0, 4.0)
    head = phantom.head("mri", shape=shape, spacing_mm=spacing, seed=0)
    assert head.dtype == np.uint16
    assert np.median(head[:4]) < 30
    anatomy = phantom_anatomy.draw_anatomy(np.random.default_rng(0))
    points = phantom_anatomy.head_points(anatomy, shape, spacing)
    inside = phantom_anatomy.depth_below_skin(anatomy, points) > 0
    tissues = phantom_anatomy.label_tissues(anatomy, points[:, inside])
    csf, white, grey = (
        np.median(head[inside][tissues == phantom_anatomy.TISSUES.index(name)]) for name in ("csf", "white", "grey")
    )
    assert csf < 0.7 * white < white < grey


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_other_half_tells_what_a_hole_held(seed):
    """The detail of the brain (folds, ventricles), not only its outline, is symmetric about the head's own midline."""
    rng = np.random.default_rng(seed)
    anatomy = phantom_anatomy.draw_anatomy(rng)
    grid = np.mgrid[-60:61:2, -70:71:2, 0:31:10].astype(np.float32)
    inside = phantom_anatomy.depth_below_skin(anatomy, grid) > 14
    tissues = np.zeros(inside.shape)
    tissues[inside] = phantom._paint(phantom.FLAIR, phantom_anatomy.label_tissues(anatomy, grid[:, inside]))
    both = inside & inside[::-1]
    alike = np.corrcoef(tissues[both], tissues[::-1][both])[0, 1]
    shifted = np.corrcoef(tissues[both], np.roll(tissues[::-1], 8, axis=1)[both])[0, 1]
    assert alike > 0.4
    assert alike > shifted + 0.2


def test_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="modality 'pet' is none of"):
        phantom.head("pet", **SMALL, seed=0)
