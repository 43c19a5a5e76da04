"""What tests do on the page of `view` in a browser."""

import threading

import nibabel
import numpy as np

from ipmedgan_jax.systems import classical
from tests.browser import opened

SHAPE = (40, 36, 12)
"""Of the scans of these tests."""

AS_TEXT = "(bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')"
"""Bytes leave the browser much faster as text."""


def visit(browser, client, scan=None, **options):
    """A tab with the page and, given one, an open scan; see `opened`."""
    if scan is not None:
        client.open(scan)
    return opened(browser, client.server.url, **{"viewport": {"width": 1000, "height": 640}, **options})


def wait_for_scan(tab):
    tab.wait_for_selector("body.open:not(.opening), #error:not([hidden])")
    assert not tab.is_visible("#error"), tab.inner_text("#error-text")


def painted(tab):
    """The hole as it is sent to the server: a NIfTI image."""
    content = tab.evaluate(f"({AS_TEXT})(desk.hole.bytes)").encode("latin-1")
    kind = nibabel.Nifti2Image if nibabel.Nifti2Header.may_contain_header(content) else nibabel.Nifti1Image
    return kind.from_bytes(content)


def voxels_of(image):
    return {tuple(int(place) for place in voxel) for voxel in np.argwhere(np.asarray(image.dataobj))}


def show(tab, voxel):
    """Moves the crosshair to a canonical voxel."""
    tab.evaluate("async (voxel) => { desk.viewer.crosshair = voxel; await desk.viewer.settled(); }", list(voxel))


def place(tab, voxel, plane):
    """Where a canonical voxel is in the window; None if its plane is not shown."""
    return tab.evaluate(
        "([voxel, plane]) => { const box = desk.canvas.getBoundingClientRect();"
        "const [x, y] = desk.viewer.place(voxel, plane); return [x + box.left, y + box.top]; }",
        [list(voxel), plane],
    )


def drag(tab, *places):
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for x, y in places[1:]:
        tab.mouse.move(x, y, steps=3)
    tab.mouse.up()


def set_slider(tab, name, value):
    tab.evaluate(
        "([name, value]) => { const slider = document.getElementById(name); slider.value = value;"
        "slider.dispatchEvent(new Event('input')); }",
        [name, value],
    )


def save_by_click(tab, selector, folder):
    with tab.expect_download() as download:
        tab.click(selector)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def paint_box(tab, first=(10, 12, 6), last=(18, 20, 6)):
    """Paints a box in the axial slice with the pointer; returns its voxels of the file."""
    show(tab, first)
    tab.click("#tool-box")
    drag(tab, place(tab, first, 0), place(tab, last, 0))
    return voxels_of(painted(tab))


def held_fill(monkeypatch):
    """Yields an event until which the fill `telea` waits in its first slice; for a fixture."""
    go_on = threading.Event()

    def wait(image, mask):
        assert go_on.wait(60)
        return classical.FULL_RANGE_FILLS["surround_mean"](image, mask)

    monkeypatch.setitem(classical.FULL_RANGE_FILLS, "telea", wait)
    yield go_on
    go_on.set()
