"""A mask file that is opened on the page: the voxels that `inpaint` would fill, or its line."""

import base64
import gzip

import nibabel
import numpy as np
import pytest
from view_client import GRIDS, serving, write_scan

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.mask_files import read_mask

SHAPE = (20, 18, 7)


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


def voxels(answer, shape=SHAPE):
    return np.frombuffer(gzip.decompress(base64.b64decode(answer["mask"])), np.uint8).reshape(shape, order="F")


def saved(array, affine=GRIDS["LPI"], dtype=None):
    return nibabel.Nifti1Image(array, affine, dtype=dtype).to_bytes()


def masks():
    """Files by what is special about them; the scan is LPI."""
    one = np.zeros(SHAPE, np.uint8)
    one[8:12, 7:12, 2:5] = 1
    plain = saved(one)
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(one, GRIDS["LPI"]))
    coarse = nibabel.Nifti1Image(one[::2, ::2, :], GRIDS["LPI"] @ np.diag([2, 2, 1, 1]))
    scaled = nibabel.Nifti1Image(one, GRIDS["LPI"])
    scaled.header.set_slope_inter(1.00001, 0)
    unplaced = bytearray(plain)
    unplaced[252:256] = bytes(4)
    nan, many = one.astype(np.float32), one * 1.0
    nan[0, 0, 0] = np.nan
    many[8, 7, 2] = 0.4
    return {
        "one value": plain,
        "two gzip members": gzip.compress(plain[:500]) + gzip.compress(plain[500:]),
        "turned": turned.to_bytes(),
        "int64": saved(one.astype(np.int64), dtype=np.int64),
        "scaled": scaled.to_bytes(),
        "no position": bytes(unplaced),
        "a label of -3": saved(one * np.int16(-3)),
        "a volume of a fourth dimension": saved(one[..., None]),
        "on another grid": coarse.to_bytes(),
        "two volumes": saved(np.stack([one, one], axis=-1)),
        "NaN": saved(nan),
        "a probability": saved(many),
        "nothing": saved(one * 0),
        "elsewhere": saved(one, GRIDS["LPI"] + np.array([[0, 0, 0, 4]] + [[0] * 4] * 3)),
        "no NIfTI file": b"GIF89a" * 99,
        "cut": gzip.compress(plain)[:-20],
    }


@pytest.mark.parametrize("kind", masks())
def test_a_mask_is_taken_or_refused_as_inpaint_does(client, tmp_path, kind):
    image, _ = write_scan(tmp_path, grid="LPI")
    content = masks()[kind]
    path = tmp_path / ("x.nii.gz" if content[:2] == b"\x1f\x8b" else "x.nii")
    path.write_bytes(content)
    number = client.open(image)["number"]
    status, answer, _ = client.ask("POST", f"api/mask?scan={number}&name={path.name}", content)
    scan = scans.read_scan(image)
    try:
        expected, warnings = read_mask(path, scan)
    except UserError as error:
        line = str(error).replace(str(path), path.name).partition("; give --match_mask")[0]
        assert status == 400
        assert answer["error"].startswith(line)
        assert "/" not in answer["error"]
        return
    assert status == 200
    assert np.array_equal(voxels(answer), scan.in_file_order(expected))
    assert answer["warnings"] == [warning.replace(str(path), path.name) for warning in warnings]


def test_of_several_labels_some_are_chosen(client, tmp_path):
    image, mask = write_scan(tmp_path)
    labels = np.asarray(nibabel.load(mask).dataobj).astype(np.int16)
    labels[8] *= 4
    labels[9] *= 7
    content = saved(labels, GRIDS["RAS"])
    client.open(image)
    status, answer, _ = client.ask("POST", "api/mask?name=lesions.nii", content)
    assert (status, answer["error"]) == (409, "lesions.nii: holds several labels; choose those to be filled")
    assert answer["labels"] == [{"label": label, "name": ""} for label in (1, 4, 7)]
    answer = client.post("api/mask?name=lesions.nii&labels=1,7", content)
    assert np.array_equal(voxels(answer), np.isin(labels, [1, 7]))
    status, answer, _ = client.ask("POST", "api/mask?name=t1.nii", saved(np.arange(2520, dtype=np.int16).reshape(SHAPE)))
    assert (status, answer["error"]) == (400, "t1.nii: holds 2,519 different values; a scan rather than a mask?")
    for query in ("labels=1,", "labels=1.5", "name=a/b", "scan=77777"):
        assert client.ask("POST", f"api/mask?{query}", content)[0] in (400, 409), query
    assert not list(client.server.session.folder.glob("mask-*"))


def test_the_painted_mask_of_a_fill_is_kept_until_the_next(client, tmp_path):
    image, mask = write_scan(tmp_path, grid="oblique")
    client.open(image)
    fill = client.fill(mask.read_bytes(), "source=system:laplace&dilate_mm=3")
    painted = voxels(client.get(f"api/fill/{fill['number']}/painted"))
    assert np.array_equal(painted, nibabel.load(mask).dataobj)
    assert fill["voxels"] > painted.sum()
    client.fill(mask.read_bytes())
    assert client.ask("GET", f"api/fill/{fill['number']}/painted")[0] == 409
