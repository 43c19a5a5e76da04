"""Headers from which NiiVue alone would take another grid than nibabel: the page shows what is saved where it lies."""

import io

import nibabel
import numpy as np
import pytest
from PIL import Image
from view_client import GRIDS, serving, write_scan
from view_page import SHAPE, paint_box, painted, show, visit, voxels_of, wait_for_scan

SFORM = np.array([[1.5, 0, 0, -30], [0, 1, 0, -18], [0, 0, 2, -12], [0, 0, 0, 1.0]])
FLIPPED = np.diag([-1, 1, 1, 1]) @ SFORM
TURNED = SFORM[[1, 0, 2, 3]]
SHEARED = SFORM + np.array([[0, 0.5, 0, 0]] + [[0] * 4] * 3)
MARKER = (31, 20, 6)
LAST = tuple(length - 1 for length in SHAPE)


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


@pytest.fixture(scope="module")
def tab(browser, client):
    with visit(browser, client) as tab:
        yield tab


def write(path, kind=nibabel.Nifti1Image, sform=SFORM, qform=SFORM, *, unit="mm", pixdim=None, dtype="<f4", infinite=False):
    """Writes a scan with a bright voxel, `MARKER`; the qform has the higher code. Returns the affine in mm, by nibabel."""
    array = np.random.default_rng(0).normal(100, 8, SHAPE).astype(np.float32)
    array[MARKER] = 900
    array[LAST] = 123
    array[0, 0, :4] = [np.inf, -np.inf, np.nan, 0] if infinite else 0
    array = array.astype(dtype)
    to_unit = np.diag([{"mm": 1, "meter": 1e-3, "micron": 1e3}[unit]] * 3 + [1])
    image = kind(array, None)
    image.set_qform(to_unit @ qform, 2)
    image.set_sform(to_unit @ sform, 1)
    image.header.set_xyzt_units(unit)
    image.header["cal_min"], image.header["cal_max"] = 150, 151
    if pixdim:
        image.header["qform_code"], image.header["pixdim"][1:4] = 0, pixdim
    image.to_filename(path)
    return np.linalg.inv(to_unit) @ nibabel.load(path).affine


@pytest.mark.parametrize(
    "header",
    [
        {"qform": FLIPPED},
        {"qform": TURNED, "kind": nibabel.Nifti2Image},
        {"unit": "meter", "dtype": "<i4"},
        {"pixdim": (1, 1, 5)},
        {"sform": SHEARED, "infinite": True},
    ],
    ids=["left-and-right", "axes", "metres-and-int32", "pixdim", "sheared-and-infinite"],
)
def test_the_page_shows_voxels_where_the_server_reads_them(tab, tmp_path, request, header):
    name = f"{request.node.callspec.id}.nii.gz"
    affine = write(tmp_path / name, **header)
    tab.set_input_files("#file", tmp_path / name)
    tab.wait_for_selector(f"#scan-name:text({name!r})")
    wait_for_scan(tab)
    show(tab, MARKER)
    assert tab.evaluate("desk.viewer.valueAt(...desk.viewer.crosshair)") == 900
    assert tab.evaluate("(voxel) => desk.viewer.valueAt(...voxel)", list(LAST)) == 123
    where = tab.evaluate("(voxel) => desk.viewer.millimetres(voxel)", list(MARKER))
    assert np.allclose(where, (affine @ [*MARKER, 1])[:3], atol=1e-3)
    assert np.allclose(tab.evaluate("desk.viewer.spacing"), nibabel.affines.voxel_sizes(affine))
    assert tab.evaluate("desk.viewer.range.every(Number.isFinite)")
    assert tab.evaluate("desk.viewer.window[1] - desk.viewer.window[0]") > 10
    assert "-0.0" not in tab.inner_text("#place")
    tab.evaluate("desk.toolBar.setSize(0.5); desk.canvas.focus()")
    tab.keyboard.press("Space")
    assert voxels_of(painted(tab)) == {MARKER}
    ml = float(tab.inner_text("#hole-size").split()[-2])
    assert np.isclose(ml, abs(np.linalg.det(affine)) / 1000, rtol=1e-2)
    tab.keyboard.press("u")
    affines = tab.evaluate(
        "async () => { const filled = await (await fetch('api/scan.nii.gz')).arrayBuffer();"  # it has the scan's header
        "await desk.viewer.layers.show(filled, null); return desk.viewer.nv.volumes.map((volume) => volume.getAffine()); }"
    )
    assert len(affines) == 2
    assert np.allclose(affines, affine, atol=1e-3)


def test_what_was_said_of_a_mask_goes_and_comes_with_it(tab, tmp_path):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    coarse = nibabel.Nifti1Image(np.ones((3, 3, 2), np.uint8), GRIDS["RAS"] @ np.diag([3, 3, 3, 1]))
    coarse.to_filename(tmp_path / "coarse.nii.gz")
    tab.set_input_files("#file", image)
    tab.wait_for_selector(f"#scan-name:text({image.name!r})")
    wait_for_scan(tab)
    paint_box(tab)
    tab.set_input_files("#mask", tmp_path / "coarse.nii.gz")
    tab.click("#question-yes")
    tab.wait_for_selector("#mask-warnings:has-text('is on another grid')")
    for button, is_there in [("undo", False), ("redo", True), ("clear", False), ("undo", True)]:
        tab.click(f"#{button}", timeout=3000)
        assert tab.is_visible("#mask-warnings") == is_there, button
    tab.evaluate("desk.clear()")


def test_the_letters_of_the_sides_are_seen_on_a_bright_scan(tab, tmp_path):
    write(tmp_path / "bright.nii.gz")
    tab.set_input_files("#file", tmp_path / "bright.nii.gz")
    tab.wait_for_selector("#scan-name:text('bright.nii.gz')")
    wait_for_scan(tab)
    tab.evaluate("async () => { desk.viewer.setWindow(-9, -8); await desk.viewer.settled(); }")
    left, top = tab.evaluate("() => { const { x, y } = desk.canvas.getBoundingClientRect(); return [x, y]; }")
    x, y, _, height = tab.evaluate("desk.viewer.tileOf(0)")
    letter = {"x": left + x + 2, "y": top + y + height / 2 - 12, "width": 16, "height": 24}
    pixels = np.asarray(Image.open(io.BytesIO(tab.screenshot(clip=letter))).convert("RGB")).max(axis=2)
    assert np.median(pixels) > 200
    assert pixels.min() < 80
