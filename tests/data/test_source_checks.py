"""What is no scan, or lies nobody knows how, is not prepared; one scan under two subjects is noticed."""

import dataclasses
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, source_checks
from ipmedgan_jax.data.preparation import prepare
from ipmedgan_jax.imaging import scans
from tests.data.test_preparation import SMALL
from tests.inpainting.test_scan import write
from tests.properties import property_test

FOUR = ("sub-1", "sub-2", "sub-3", "sub-4")
ASSUMED = dataclasses.replace(SMALL, assume_axial=True)


def noise(seed=0, shape=(20, 18, 6)):
    """A block of noise in air, which has no two equal views."""
    array = np.zeros(shape, np.int16)
    array[3:-3, 4:-3, 1:] = np.random.default_rng(seed).integers(100, 200, array[3:-3, 4:-3, 1:].shape)
    return array


def save(path: Path, array, affine=None, *, image_type=nibabel.Nifti1Image, codes=(2, 0)) -> Path:
    """Writes an image; `codes` are those of its sform and its qform."""
    affine = np.eye(4) if affine is None else affine
    image = image_type(array, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    nibabel.save(image, path)
    return path


# ------------------------------------------------------------------ masks and label maps


def parcels():
    """A label map of 108 labels."""
    return np.repeat(np.repeat(1 + np.arange(108).reshape(2, 9, 6), 10, 0), 2, 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (noise() > 150, "only the values 0, 1: a mask"),
        (np.where(noise() > 150, 255.0, 0.0), "only the values 0, 255: a mask"),
        (np.where(noise() > 150, 3.5, -1.5), "only the values -1.5, 3.5: a mask"),
        (noise() // 50, "only the values 0, 2, 3: a label map"),
        (np.eye(20)[:, :, None] * np.ones(6), "only the values 0, 1: a mask"),
        (parcels(), "only the values .*: a label map"),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a_mask_or_label_map_under_the_name_of_a_scan_is_refused(tmp_path, array, message, kind):
    if kind != np.float32 and not np.array_equal(array, np.rint(array)):
        pytest.skip("no such integers")
    paths = [save(tmp_path / f"{name}_FLAIR.nii", noise(seed)) for seed, name in enumerate(FOUR)]
    save(paths[2], array.astype(kind))
    with pytest.raises(UserError, match=f"sub-3_FLAIR.nii: holds {message}, not a scan; leave it out of --input"):
        prepare(SMALL, paths, tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    "array",
    [
        noise(),
        noise() // 4,
        noise() // 2.5,
        np.where(noise() > 150, noise(), 0),
        np.clip(noise(), 0, 140),
        np.repeat(noise(shape=(10, 18, 6)), 2, 0),  # doubled in one direction
    ],
)
def test_a_coarse_clipped_or_enlarged_scan_is_a_scan(array):
    whole = bool(np.array_equal(array, np.rint(array)))
    source_checks.check_intensities(Path("scan.nii"), array.astype(np.float32), integer=whole)


# ------------------------------------------------------------------ how a volume lies


@pytest.mark.parametrize("image_type", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_a_volume_whose_header_does_not_say_how_it_lies_is_refused(tmp_path, caplog, image_type, axes):
    paths = [tmp_path / f"{name}_FLAIR.nii.gz" for name in FOUR]
    for seed, path in enumerate(paths):
        save(path, noise(seed).transpose(axes), np.diag([1, 1, 3, 1]), image_type=image_type, codes=(0, 0))
    with pytest.raises(UserError, match=r"has no sform or qform, .*; set one, or --config.data.assume_axial=True if the"):
        prepare(SMALL, paths, tmp_path / "out", progress=False)
    assert not (tmp_path / "out/dataset.json").exists()
    with caplog.at_level(logging.WARNING, logger="absl"):
        prepared = prepare(ASSUMED, paths, tmp_path / "out", progress=False)
    assert caplog.text.count(scans.UNPLACED) == 4
    assert {volume.orientation for volume in prepared.volumes.values()} == {"LAS"}
    assert prepare(SMALL, paths, tmp_path / "out", progress=False) == prepared


@property_test
@given(
    codes=st.sampled_from([(1, 0), (2, 0), (3, 4), (0, 1), (0, 2), (4, 1)]),
    orientation=st.permutations("RAS"),
    flips=st.tuples(*[st.booleans()] * 3),
)
def test_a_volume_whose_header_says_it_becomes_the_same_slices(tmp_path_factory, codes, orientation, flips):
    opposite = {"R": "L", "A": "P", "S": "I"}
    names = [opposite[name] if flip else name for name, flip in zip(orientation, flips, strict=True)]
    image = nibabel.Nifti1Image(noise(), np.diag([1, 1, 3, 1]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(names)
    )
    turned = image.as_reoriented(turn)
    path = save(tmp_path_factory.getbasetemp() / "turned.nii", np.asarray(turned.dataobj), turned.affine, codes=codes)
    scan = scans.read_scan(path)
    source_checks.check_scan(SMALL, scan)
    np.testing.assert_array_equal(scan.volume.array, noise())


def test_an_sform_of_another_spacing_than_the_pixdim_is_warned_of(tmp_path, caplog):
    """As some registration tools leave it; a sheared sform, of a gantry tilt, is not such a case."""
    path = save(tmp_path / "sub-1.nii", noise(), np.diag([0.5, 0.5, 3, 1]))
    content = bytearray(path.read_bytes())
    tilt = 3 * np.tan(np.radians(25))
    content[280:312] = np.float32([0.5, 0, 0, 0, 0, 0.5, tilt, 0]).tobytes()  # srow_x, srow_y
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="absl"):
        source_checks.check_scan(SMALL, scans.read_scan(path))
        assert not caplog.text
        content[280:312] = np.float32([1, 0, 0, 0, 0, 1, 0, 0]).tobytes()
        path.write_bytes(content)
        source_checks.check_scan(SMALL, scans.read_scan(path))
    assert "sform gives voxels of 1 x 1 x 3 mm, its pixdim 0.5 x 0.5 x 3 mm; the sform is used" in caplog.text


# ------------------------------------------------------------------ the same scan again


def packed(path: Path, array, variant: str) -> Path:
    """Writes the same scan in another form; returns its path."""
    if variant == "compressed":
        return save(path.with_suffix(".nii.gz"), array)
    if variant == "reoriented":
        return save(path, array[::-1, :, ::-1].transpose(2, 0, 1), np.eye(4)[[2, 0, 1, 3]])
    if variant == "other affine":
        return save(path, array, np.diag([2, 2, 5, 1]))
    if variant == "nifti-2":
        return save(path, array, image_type=nibabel.Nifti2Image)
    if variant == "trailing axis":
        return save(path, array[..., None])
    if variant == "negative zeros":
        return save(path, np.where(array == 0, -0.0, array).astype(np.float32))
    if variant == "scaled":
        return write(path.with_suffix(".nii.gz"), array.astype(float), dtype=np.int16, scaling=(2.0, -100.0))
    if variant == "big-endian":
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4), nibabel.Nifti1Header(endianness=">")), path)
        return path
    return save(path, array.astype(variant))


VARIANTS = [
    *("compressed", "reoriented", "other affine", "nifti-2", "trailing axis", "negative zeros", "scaled", "big-endian"),
    *("uint16", "int32", "float32", "float64"),
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_scan_under_another_subject_is_warned_of(tmp_path, caplog, variant):
    paths = [save(tmp_path / f"{name}_FLAIR.nii", 2 * noise(seed)) for seed, name in enumerate(FOUR)]
    again = packed(tmp_path / "sub-5_FLAIR.nii", 2 * noise(1), variant)
    assert again.read_bytes() != paths[1].read_bytes()
    with caplog.at_level(logging.WARNING, logger="absl"):
        prepared = prepare(SMALL, [*paths, again], tmp_path / "out", progress=False)
    assert caplog.text.count("hold the same voxels, of two subjects: sub-2") == 1
    assert caplog.text.count("hold the same voxels") == 1
    assert f"sub-5 ({prepared.volumes['sub-5_FLAIR'].split})" in caplog.text


@property_test
@given(axes=st.permutations(range(3)), flips=st.sets(st.integers(0, 2)), change=st.booleans(), data=st.data())
def test_the_digest_is_that_of_the_voxels_alone(axes, flips, change, data):
    other = np.flip(noise().transpose(axes), tuple(flips)).astype(np.float32)
    if change:
        at = tuple(data.draw(st.integers(0, length - 1)) for length in other.shape)
        other[at] += 1
    same = source_checks.digest_of_voxels(noise()) == source_checks.digest_of_voxels(other)
    assert same != change


def test_volumes_prepared_before_there_were_digests_are_compared_by_their_files(caplog):
    fields = {"split": "train", "orientation": "RAS", "source_spacing_mm": [1, 1, 1], "spacing_mm": [1, 1, 1]}
    fields |= {"window": [0, 1], "slices": 1, "left_out": 0}
    volumes = [
        dataset_file.PreparedVolume.from_json(fields | {"subject": f"sub-{i}", "source": f"{i}.nii", "sha256": str(i // 2)})
        for i in range(4)
    ]
    with caplog.at_level(logging.WARNING, logger="absl"):
        source_checks.warn_of_copies(volumes)
    assert caplog.text.count("hold the same voxels") == 2
