"""Labels are whole numbers, whatever rounding their storage has added."""

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.labels import read_labels

LABELS = np.zeros((9, 8, 7))
LABELS[1:5, 1:5, 1:5], LABELS[2:4, 2:4, 2:4], LABELS[6, 6, 6] = 2, 1, 4


def saved(tmp_path, array, stored=np.uint8, header=None):
    image = nibabel.Nifti1Image(array, np.eye(4), header)
    image.set_data_dtype(stored)
    nibabel.save(image, tmp_path / "labels.nii.gz")
    return read_labels(tmp_path / "labels.nii.gz")


@pytest.mark.parametrize("noise", [0.0, 1e-5, -9e-3])
@pytest.mark.parametrize(
    ("array", "stored"),
    [
        (LABELS.astype(np.uint8), np.uint8),
        (LABELS, np.int16),  # floats under the header of a scan: slope and intercept give 1.0000153 and 3.9999999
        (LABELS + np.where(LABELS == 4, 250, 0), np.int8),
        (LABELS * 100, np.int16),
        (LABELS, np.float32),
        (LABELS, np.float64),
    ],
)
def test_labels_are_the_nearest_whole_numbers(tmp_path, array, stored, noise):
    found = saved(tmp_path, array + noise if np.dtype(stored).kind == "f" else array, stored)
    np.testing.assert_array_equal(found.labels, array)
    np.testing.assert_array_equal(found.present, np.unique(array)[1:])
    for chosen in ([1], [1, 4], [1, 2, 4]):
        scaled = [int(np.unique(array[label == LABELS])[0]) for label in chosen]
        selected, warning = found.select(scaled)
        np.testing.assert_array_equal(selected, np.isin(LABELS, chosen))
        assert not warning


@pytest.mark.parametrize("spoilt", [0.02, 0.5, 0.98])
def test_values_between_labels_are_refused(tmp_path, spoilt):
    array = LABELS.copy()
    array[0, 0, 0] = spoilt
    with pytest.raises(UserError, match=rf"1 voxels hold values such as {spoilt}; a mask has whole numbers: save labels"):
        saved(tmp_path, array, np.float32)


@pytest.mark.parametrize(
    ("chosen", "warning"),
    [([1], ""), ([3], "has no label 3; its labels are 1, 2, 4"), ([1, 3, 5], "has no label 3, 5; its labels are 1, 2, 4")],
)
def test_absent_labels_are_named_with_those_that_there_are(tmp_path, chosen, warning):
    selected, found = saved(tmp_path, LABELS.astype(np.uint8)).select(chosen)
    assert found.endswith(warning)
    assert bool(found) == bool(warning)
    np.testing.assert_array_equal(selected, np.isin(LABELS, chosen))
    assert saved(tmp_path, LABELS.astype(np.uint8) * 0).select([1])[1].endswith("has no label 1; every voxel is 0")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((4, 4)), "has shape .4, 4.; a mask is 3-D"),
        (np.ones((4, 4, 4, 2)), "has shape .4, 4, 4, 2.; a mask is 3-D"),
        (np.full((4, 4, 4), np.nan), "NaN or infinite"),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path, array, message):
    with pytest.raises(UserError, match=message):
        saved(tmp_path, array, np.float32)
    with pytest.raises(UserError, match="is a folder; expected one mask"):
        read_labels(tmp_path)
