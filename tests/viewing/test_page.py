"""The page of `view` in a browser: open, paint with a real pointer, fill, save; what is saved is what `inpaint` writes."""

import io
import json

import nibabel
import numpy as np
import pytest
from PIL import Image
from view_client import GRIDS, serving, write_scan
from view_page import (
    AS_TEXT,
    SHAPE,
    drag,
    held_fill,
    paint_box,
    painted,
    place,
    save_by_click,
    set_slider,
    show,
    visit,
    voxels_of,
    wait_for_scan,
)

from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.inpainting.load import load_filler
from ipmedgan_jax.inpainting.scan import inpaint_file
from ipmedgan_jax.viewing import sources

PLANES = {0: (0, 1, 2), 1: (0, 2, 1), 2: (1, 2, 0)}
"""For each plane: the two canonical axes in the slice, and the one through it."""

has_flair = "model:flair" in {source.key for source in sources.offered().models}


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


def in_file_order(voxel, affine, shape):
    """The voxel of the file for a canonical one; by nibabel alone."""
    axes = nibabel.io_orientation(affine)
    result = [0, 0, 0]
    for axis, (canonical, direction) in enumerate(axes):
        place = voxel[int(canonical)]
        result[axis] = place if direction > 0 else shape[axis] - 1 - place
    return tuple(result)


def brightest(tab, plane):
    """The middle of the white spot in the tile of a plane, in the window; found in the picture's pixels alone."""
    left, top, width, height = tab.evaluate(
        "(plane) => { const box = desk.canvas.getBoundingClientRect(); const [x, y, w, h] = desk.viewer.tileOf(plane);"
        "return [x + box.left, y + box.top, w, h]; }",
        plane,
    )
    picture = tab.screenshot(clip={"x": left, "y": top, "width": width, "height": height})
    rgb = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    spot = np.argwhere((rgb.min(axis=2) > 190) & (np.ptp(rgb, axis=2) < 12))
    assert len(spot)
    row, column = spot.mean(axis=0)
    return left + column + 0.5, top + row + 0.5


# ------------------------------------------------------------------ from the pointer to the saved voxels


MARKER = (9, 21, 4)


def write_marked(path, grid, dtype, slope):
    """A dark scan with one bright voxel, `MARKER` in canonical order; returns that voxel of the file."""
    voxel = in_file_order(MARKER, GRIDS[grid], SHAPE)
    array = np.zeros(SHAPE, dtype)
    array[::3, ::2, ::2] = 20  # some structure below
    array[voxel] = 1000
    image = nibabel.Nifti1Image(array, GRIDS[grid], nibabel.Nifti1Header(endianness=dtype[0]))
    if slope:
        image.header.set_slope_inter(slope, -3)
    image.to_filename(path)
    return voxel


def reported_voxel(tab, affine, x, y):
    """The voxel of the file at a point of the window, by NiiVue's own position in mm."""
    where = tab.evaluate(
        "([x, y]) => { const box = desk.canvas.getBoundingClientRect(), { nv } = desk.viewer;"
        "return Array.from(nv.frac2mm(nv.canvasPos2frac([x - box.left, y - box.top]), 0, true)); }",
        [x, y],
    )
    return tuple(np.round(np.linalg.inv(affine) @ [*where[:3], 1]).astype(int)[:3])


def test_the_painted_voxel_is_the_one_under_the_pointer(browser, client, tmp_path):
    """A single bright voxel is found on the screen and clicked, in each plane; the hole is that voxel of the file."""
    client.server.session.open_path(write_scan(tmp_path)[0])
    with visit(browser, client) as tab:
        for grid, dtype, slope in [("RAS", "<i2", None), ("LPI", ">i2", 0.5), ("oblique", "<f4", None)]:
            voxel = write_marked(tmp_path / f"{grid}.nii.gz", grid, dtype, slope)
            tab.set_input_files("#file", tmp_path / f"{grid}.nii.gz")
            tab.wait_for_selector(f"#scan-name:text('{grid}')")
            wait_for_scan(tab)
            tab.evaluate(
                "desk.viewer.setWindow(0, 450); desk.viewer.nv.setCrosshairWidth(0); desk.toolBar.setSize(0.5);"
                "for (const id of ['place', 'status']) document.getElementById(id).style.display = 'none'"  # white text
            )
            for plane in PLANES:
                show(tab, MARKER)
                tab.mouse.move(1, 1)  # away, with the ring of the pen
                x, y = brightest(tab, plane)
                tab.mouse.click(x, y)
                assert reported_voxel(tab, GRIDS[grid], x, y) == voxel
                hole = painted(tab)
                assert voxels_of(hole) == {voxel}, (grid, plane)
                assert np.allclose(hole.affine, GRIDS[grid])
                tab.click("#undo")
                assert tab.inner_text("#hole-size") == "Nothing is painted yet."


@pytest.mark.parametrize(
    ("grid", "source"),
    [
        ("RAS", "system:laplace"),
        ("LPI", "system:telea"),
        ("oblique", "system:telea"),
        pytest.param(
            *("oblique", "model:flair"),
            marks=[pytest.mark.slow, pytest.mark.skipif(not has_flair, reason="no such model here")],
        ),
    ],
)
def test_what_the_page_saves_is_what_inpaint_writes(browser, client, tmp_path, grid, source):
    image, _ = write_scan(tmp_path / "in", grid=grid, shape=SHAPE)
    kind, name = source.split(":")
    dilation = 1.5 if kind == "system" else 0.0
    with visit(browser, client, image, accept_downloads=True) as tab:
        wait_for_scan(tab)
        show(tab, (20, 18, 6))
        drag(tab, *(place(tab, voxel, 0) for voxel in [(16, 14, 6), (23, 20, 6)]))
        if kind == "system":  # for a model one slice is enough, it is slow in tests
            tab.keyboard.press("b")
            drag(tab, *(place(tab, voxel, 1) for voxel in [(24, 18, 4), (28, 18, 8)]))
        tab.select_option("#source", source)
        tab.fill("#dilation", str(dilation))
        tab.click("#fill")
        tab.wait_for_selector("#result:not([hidden])", timeout=120_000)  # a model may have to be compiled
        mask = save_by_click(tab, "#save-drawing", tmp_path)
        saved = save_by_click(tab, "text=Save filled scan", tmp_path / "page")
        facts = tab.inner_text("#facts")
        assert tab.inner_text("#shown") == "After"
        assert not tab.is_visible("#deviation")
    assert mask.name == "sub-1_FLAIR_mask.nii.gz"
    assert np.count_nonzero(nibabel.load(mask).dataobj) > 30
    filler = load_filler(None, name if kind == "model" else None, name if kind == "system" else None, "best")
    job = Job(image, mask, tmp_path / "out" / "sub-1_FLAIR_desc-inpainted.nii.gz")
    described = inpaint_file(filler, job, Filling(mask=MaskChoice(dilate_mm=dilation)))
    assert saved.name == job.output.name
    assert saved.read_bytes() == job.output.read_bytes()
    assert f"{described['mask_voxels']} voxels" in facts


def test_a_mask_has_the_scan_s_own_header(browser, client, tmp_path):
    """Byte order, NIfTI-2, an unaligned offset of the data, and one volume of a fourth dimension."""
    array = np.random.default_rng(0).integers(0, 90, SHAPE).astype(np.uint8)
    kinds = {}
    for name, kind, header in [
        ("little", nibabel.Nifti1Image, nibabel.Nifti1Header()),
        ("big", nibabel.Nifti1Image, nibabel.Nifti1Header(endianness=">")),
        ("second", nibabel.Nifti2Image, nibabel.Nifti2Header()),
        ("second big", nibabel.Nifti2Image, nibabel.Nifti2Header(endianness=">")),
    ]:
        made = kind(array[..., None] if name == "big" else array, GRIDS["oblique"], header)
        made.header.set_xyzt_units("mm")
        kinds[name] = made.to_bytes()
    shifted = bytearray(kinds["little"])
    shifted[108:112] = np.float32(354).tobytes()
    kinds["unaligned"] = bytes(shifted[:352] + b"\0\0" + shifted[352:])
    (tmp_path / "scan.nii").write_bytes(kinds["unaligned"])
    with visit(browser, client, tmp_path / "scan.nii") as tab:
        wait_for_scan(tab)
        assert tab.evaluate("desk.viewer.valueAt(3, 4, 5)") == nibabel.as_closest_canonical(made).get_fdata()[3, 4, 5]
        for name, content in kinds.items():
            mask = tab.evaluate(
                "async ([bytes, size]) => {"
                "const { maskFile } = await import(new URL('assets/mask_file.js', document.baseURI));"
                f"return ({AS_TEXT})(maskFile(Uint8Array.from(bytes).buffer, new Uint8Array(size).fill(1))); }}",
                [list(content[:544]), array.size],
            ).encode("latin-1")
            kind = nibabel.Nifti2Image if "second" in name else nibabel.Nifti1Image
            scan, hole = kind.from_bytes(content), kind.from_bytes(mask)
            assert (hole.shape, hole.get_data_dtype()) == (SHAPE, np.uint8), name
            assert np.array_equal(hole.affine, scan.affine), name
            assert hole.header.endianness == scan.header.endianness
            assert np.asarray(hole.dataobj).all()


# ------------------------------------------------------------------ tools and keys


def assert_the_picture_does_not_move(tab):
    """Whichever tool is chosen, the picture keeps its place: a pointer above it must not."""
    boxes = set()
    for tool in ("move", "outline", "box", "grow", "eraser", "pen"):
        tab.click(f"#tool-{tool}")
        show(tab, (39, 35, 11))  # the longest numbers
        boxes.add(tuple(tab.locator("#picture").bounding_box().values()))
    assert len(boxes) == 1


def test_tools_paint_what_they_say(browser, client, tmp_path):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    array = nibabel.load(image).get_fdata()
    with visit(browser, client, image) as tab:
        wait_for_scan(tab)
        assert_the_picture_does_not_move(tab)
        show(tab, (20, 18, 6))

        def hole():
            return voxels_of(painted(tab))

        tab.click("#tool-box")
        set_slider(tab, "depth", 3)
        drag(tab, place(tab, (10, 12, 6), 0), place(tab, (13, 14, 6), 0))
        box = {(x, y, z) for x in range(10, 14) for y in range(12, 15) for z in (5, 6, 7)}
        assert hole() == box
        tab.click("#tool-eraser")
        tab.evaluate("desk.toolBar.setSize(0.5)")
        tab.mouse.click(*place(tab, (11, 13, 6), 0))
        assert hole() == box - {(11, 13, 6)}
        tab.click("#tool-outline")
        set_slider(tab, "depth", 1)
        show(tab, (20, 18, 6))
        drag(tab, *(place(tab, voxel, 2) for voxel in [(20, 20, 2), (20, 30, 2), (20, 30, 9), (20, 20, 9)]))
        outline = {(20, y, z) for y in range(20, 31) for z in range(2, 10)}
        assert hole() == box - {(11, 13, 6)} | outline
        tab.click("#undo")
        tab.click("#undo")
        assert hole() == box
        tab.keyboard.press("Control+y")
        assert hole() == box - {(11, 13, 6)}
        tab.click("#clear")
        tab.keyboard.press("g")
        show(tab, (20, 18, 6))
        tab.mouse.click(*place(tab, (20, 18, 6), 0))
        grown = hole()
        assert (20, 18, 6) in grown
        assert len({z for _, _, z in grown}) > 1
        level = array[19:22, 17:20, 5:8].mean()
        low, high = tab.evaluate("desk.viewer.window")
        tolerance = 0.1 * (high - low) + 1e-6
        assert not {voxel for voxel in grown if abs(array[voxel] - level) > tolerance}
        tab.focus("#tolerance")
        tab.keyboard.press("End")  # the last growing again, with another tolerance
        assert hole() > grown
        tab.keyboard.press("u")
        assert hole() == set()
        assert tab.is_disabled("#fill")


def assert_the_deviation_is_shown(tab, image):
    """Of a fill with variations; the test's classical one has none, so the scan stands in for it."""
    tab.route("**/api/deviation.nii.gz*", lambda route: route.fulfill(body=image.read_bytes()))
    tab.evaluate(
        "async () => desk.result.show({ ...await (await fetch('api/fill')).json(), warnings: ['look'], deviation: true },"
        "desk.drawing)"
    )
    assert "Largest deviation" in tab.inner_text("#facts")
    assert tab.inner_text("#fill-warnings") == "look"
    opacities = []
    for _ in range(2):
        tab.keyboard.press("d")
        opacities.append(tab.evaluate("desk.viewer.nv.volumes[2].opacity"))
    assert opacities == [0.75, 0]


def test_all_goes_by_keys_alone(browser, client, tmp_path):
    image, _ = write_scan(tmp_path, grid="LPI", shape=SHAPE)
    with visit(browser, client, image) as tab:
        wait_for_scan(tab)
        tab.keyboard.press("p")
        for _ in range(20):
            tab.keyboard.press("Tab")
            if tab.evaluate("document.activeElement.id") == "picture":
                break
        show(tab, (10, 10, 5))
        for _ in range(12):
            tab.keyboard.press("[")
        tab.keyboard.press("Space")
        tab.keyboard.down("Shift")
        for _ in range(3):
            tab.keyboard.press("ArrowRight")
        tab.keyboard.up("Shift")
        tab.keyboard.press("PageUp")
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("Space")
        row = [(x, 10, 5) for x in range(7, 11)] + [(7, 11, 6)]  # the subject's left is on the right of the screen
        expected = {in_file_order(voxel, GRIDS["LPI"], SHAPE) for voxel in row}
        assert voxels_of(painted(tab)) == expected
        tab.keyboard.press("b")
        tab.keyboard.press("Space")
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("Escape")  # the box is dropped
        assert voxels_of(painted(tab)) == expected
        tab.keyboard.press("Space")
        tab.keyboard.press("Control+ArrowDown")
        tab.keyboard.press("Space")
        assert len(painted(tab).get_fdata().nonzero()[0]) > len(expected) + 8
        tab.select_option("#source", "system:laplace")
        tab.keyboard.press("Control+Enter")
        tab.wait_for_selector("#result:not([hidden])")
        tab.keyboard.down("c")
        assert (tab.inner_text("#shown"), tab.evaluate("desk.viewer.nv.overlayAlphaShader")) == ("Before", 0)
        tab.keyboard.up("c")
        assert (tab.inner_text("#shown"), tab.evaluate("desk.viewer.nv.overlayAlphaShader")) == ("After", 1)
        assert_the_deviation_is_shown(tab, image)
        tab.keyboard.press("?")
        assert tab.is_visible("#help")
        tab.keyboard.press("Escape")
        assert not tab.is_visible("#help")


def test_touch_paints_with_one_finger_and_zooms_with_two(browser, client, tmp_path):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image, has_touch=True, is_mobile=True, viewport={"width": 400, "height": 800}) as tab:
        wait_for_scan(tab)
        assert_the_picture_does_not_move(tab)
        show(tab, (20, 18, 6))
        tab.evaluate("desk.toolBar.setSize(0.5)")
        tab.touchscreen.tap(*place(tab, (12, 14, 6), 0))
        assert voxels_of(painted(tab)) == {(12, 14, 6)}
        devtools = tab.context.new_cdp_session(tab)
        x, y = place(tab, (20, 18, 6), 0)

        def touch(kind, *points):
            touches = [{"x": x + dx, "y": y + dy, "id": number} for number, (dx, dy) in enumerate(points)]
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

        touch("touchStart", (-20, 0))
        touch("touchMove", (-25, 0))  # this would paint, but a second finger comes
        touch("touchStart", (-25, 0), (20, 0))
        touch("touchMove", (-60, 0), (60, 0))
        touch("touchEnd")
        assert voxels_of(painted(tab)) == {(12, 14, 6)}
        assert tab.evaluate("desk.viewer.nv.scene.pan2Dxyzmm[3]") > 1.5
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        controls = (
            "[...document.querySelectorAll('button, select, input, a.button, summary')].filter((one) => one.offsetParent)"
        )
        sizes = f"{controls}.map((one) => [one.id, (one.closest('label') ?? one).getBoundingClientRect().toJSON()])"
        small = [name for name, box in tab.evaluate(sizes) if min(box["width"], box["height"]) < 44]
        assert not small
        named = "one.textContent.trim() || one.ariaLabel || one.labels?.length"
        assert tab.evaluate(f"{controls}.filter((one) => !({named})).map((one) => one.id)") == []


# ------------------------------------------------------------------ when things go wrong


@pytest.fixture
def slow_fill(monkeypatch):
    yield from held_fill(monkeypatch)


def test_a_fill_is_cancelled_or_fails_and_the_hole_stays(browser, client, tmp_path, slow_fill):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image, reduced_motion="reduce") as tab:
        wait_for_scan(tab)
        hole = paint_box(tab)
        tab.select_option("#source", "system:telea")
        tab.click("#fill")
        tab.wait_for_selector("#working:not([hidden])")
        with tab.expect_response("**/api/cancel?*"):
            tab.click("#cancel")
        slow_fill.set()
        tab.wait_for_selector("#fill:not([hidden])")
        assert "Cancelled" in tab.inner_text("#status")
        failed = json.dumps({"state": "failed", "error": "no <b>such</b> fill"})
        tab.route("**/api/fill?*", lambda route: route.fulfill(status=202, body=failed))
        tab.click("#fill")
        tab.wait_for_selector("#error:not([hidden])")
        assert tab.inner_text("#error-text") == "No <b>such</b> fill."
        assert voxels_of(painted(tab)) == hole
        tab.unroute("**/api/fill?*")
        tab.click("#fill")
        tab.wait_for_selector("#result:not([hidden])")
        assert not tab.is_visible("#error")
        assert tab.is_disabled("#flicker")  # the system asks for less motion
        assert tab.is_visible("#calm-note")
        tab.click("#undo")
        assert tab.is_visible("#stale")


def test_an_unsaved_hole_is_asked_for_and_a_mask_can_be_opened(browser, client, tmp_path):
    image, mask = write_scan(tmp_path / "first", grid="LPI", shape=SHAPE)
    other, _ = write_scan(tmp_path / "second", "sub-2_FLAIR.nii.gz", shape=(20, 18, 7))
    turned = nibabel.as_closest_canonical(nibabel.load(mask))
    turned.to_filename(tmp_path / "turned.nii.gz")
    with visit(browser, client, image) as tab:
        wait_for_scan(tab)
        tab.set_input_files("#mask", tmp_path / "turned.nii.gz")
        tab.wait_for_selector("#save-drawing:enabled")
        assert voxels_of(painted(tab)) == voxels_of(nibabel.load(mask))
        assert not tab.evaluate("desk.hasUnsaved")  # it has a file
        tab.focus("#picture")
        tab.keyboard.press("Space")
        tab.evaluate(
            "([name, bytes]) => { const dataTransfer = new DataTransfer();"
            "dataTransfer.items.add(new File([Uint8Array.from(bytes)], name));"
            "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true })); }",
            [other.name, list(other.read_bytes())],
        )
        tab.click("#question button[value=no]")
        assert tab.inner_text("#scan-name") == "sub-1_FLAIR.nii.gz"
        tab.set_input_files("#file", other)
        tab.click("#question-yes")
        tab.wait_for_selector("#scan-name:text('sub-2')")
        wait_for_scan(tab)
        tab.set_input_files("#mask", mask)
        tab.wait_for_selector("#mask-warnings li")
        line = "mask.nii.gz: is on another grid than sub-2_FLAIR.nii.gz; every voxel that it touches is filled"
        assert tab.inner_text("#mask-warnings").startswith(line)


def test_an_address_with_a_wrong_token_shows_no_page(browser, client):
    wrong = client.server.url.replace(client.token, "A" * len(client.token))
    context = browser.new_context()
    tab = context.new_page()
    try:
        assert tab.goto(wrong).status == 403
        assert tab.query_selector("#picture") is None
    finally:
        context.close()


# ------------------------------------------------------------------ one stroke at a time


def test_a_growing_that_is_no_longer_the_last_change_is_left_alone(browser, client, tmp_path):
    image, mask = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image) as tab:
        wait_for_scan(tab)
        tab.keyboard.press("g")
        show(tab, (20, 18, 6))
        tab.focus("#picture")
        tab.keyboard.press("Space")
        tab.click("#clear")
        set_slider(tab, "tolerance", 50)
        assert voxels_of(painted(tab)) == set()
        tab.click("#undo")
        grown = voxels_of(painted(tab))
        tab.set_input_files("#mask", mask)
        tab.click("#question-yes")
        tab.wait_for_selector("#status:text('is the hole now')")
        set_slider(tab, "tolerance", 20)
        assert voxels_of(painted(tab)) == voxels_of(nibabel.load(mask)) != grown


def test_keys_drop_what_the_drawing_or_another_slice_ended(browser, client, tmp_path):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image) as tab:
        wait_for_scan(tab)
        tab.focus("#picture")
        for clear_while_drawing in (True, False):
            tab.keyboard.press("b")
            show(tab, (20, 18, 6))
            tab.keyboard.press("Space")
            if clear_while_drawing:
                tab.evaluate("desk.clear()")
            tab.keyboard.press("PageUp")
            assert not tab.evaluate("desk.painter.isBusy")
            tab.keyboard.press("Space")
            tab.keyboard.press("ArrowUp")
            tab.keyboard.press("Space")
            assert {z for _, _, z in voxels_of(painted(tab))} == {7}
        tab.keyboard.press("Space")
        tab.keyboard.press("2")
        assert not tab.evaluate("desk.painter.isBusy")
        count = len(voxels_of(painted(tab)))
        tab.keyboard.press("4")
        tab.keyboard.press("p")
        tab.keyboard.press("Space")
        assert len(voxels_of(painted(tab))) == count
        assert "3-D" in tab.inner_text("#status")


def test_painting_along_begins_again_after_escape(browser, client, tmp_path):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image) as tab:
        wait_for_scan(tab)
        tab.evaluate("desk.toolBar.setTool('pen'); desk.toolBar.setSize(0.5)")
        tab.focus("#picture")
        tab.keyboard.down("Shift")
        for key in ("ArrowUp", "Escape", "ArrowUp", "ArrowUp"):
            tab.keyboard.press(key)
        tab.keyboard.up("Shift")
        assert len(voxels_of(painted(tab))) == 3
