"""The page of `view` after a reload, without an answer, beside another tab, and with files that it cannot show or take."""

import json

import nibabel
import numpy as np
import pytest
from view_client import GRIDS, serving, write_scan
from view_page import SHAPE, held_fill, paint_box, painted, place, save_by_click, show, visit, voxels_of, wait_for_scan


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


@pytest.fixture
def slow_fill(monkeypatch):
    yield from held_fill(monkeypatch)


def says(tab, text, where="#status"):
    """Waits until the page says something."""
    tab.wait_for_selector(f"{where}:has-text({text!r})")


def test_a_fill_outlives_a_reload_and_lost_answers(browser, client, tmp_path, slow_fill):
    image, _ = write_scan(tmp_path, grid="oblique", shape=SHAPE)
    with visit(browser, client, image, expected=["ERR_FAILED"]) as tab:
        wait_for_scan(tab)
        hole = paint_box(tab)
        tab.select_option("#source", "system:telea")
        tab.fill("#dilation", "2")
        with tab.expect_response("**/api/fill?*"):
            tab.click("#fill")
        assert tab.evaluate("document.activeElement.id") == "cancel"
        tab.reload()
        tab.wait_for_selector("#working:not([hidden]) #cancel:enabled")
        assert voxels_of(painted(tab)) == hole
        tab.route("**/api/fill", lambda route: route.abort())
        says(tab, "The server does not answer. Trying again")
        tab.unroute("**/api/fill")
        says(tab, "Filling")
        slow_fill.set()
        tab.wait_for_selector("#result:not([hidden])")
        tab.reload()
        tab.wait_for_selector("#result:not([hidden])")
        assert voxels_of(painted(tab)) == hole
        assert tab.input_value("#source") == "system:telea"
        assert not tab.is_visible("#stale")
        assert not tab.is_visible("#error")


def test_a_fill_that_is_not_saved_outlives_another_one_that_is_cancelled(browser, client, tmp_path, slow_fill):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image, accept_downloads=True) as tab:
        wait_for_scan(tab)
        paint_box(tab)
        tab.select_option("#source", "system:laplace")
        tab.click("#fill")
        tab.wait_for_selector("#result:not([hidden])")
        filled = client.get("api/save/filled")
        tab.select_option("#source", "system:telea")
        with tab.expect_response("**/api/fill?*"):
            tab.click("#fill")
        assert save_by_click(tab, "[data-save=filled]", tmp_path).read_bytes() == filled
        tab.reload()
        tab.wait_for_selector("#working:not([hidden]) #cancel:enabled")
        tab.wait_for_selector("#result:not([hidden])")
        assert not tab.is_visible("#stale")
        with tab.expect_response("**/api/cancel?*"):
            tab.click("#cancel")
        slow_fill.set()
        says(tab, "Cancelled.")
        for _ in range(2):
            assert save_by_click(tab, "[data-save=filled]", tmp_path).read_bytes() == filled
            tab.reload()
            tab.wait_for_selector("#result:not([hidden])")


def test_a_tab_does_not_save_the_fill_of_another(browser, client, tmp_path):
    image, mask = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image, expected=["status of 409"], accept_downloads=True) as tab:
        wait_for_scan(tab)
        paint_box(tab)
        tab.select_option("#source", "system:laplace")
        tab.click("#fill")
        tab.wait_for_selector("#result:not([hidden])")
        save_by_click(tab, "[data-save=mask]", tmp_path)
        tab.wait_for_function("!desk.hole.hasUnsaved")  # the mask of the fill is the hole
        assert tab.evaluate("desk.result.hasUnsaved")
        client.fill(mask.read_bytes())  # the other tab
        tab.click("[data-save=filled]")
        says(tab, "Another fill was made meanwhile; fill again.", "#error-text")
        client.open(image)
        tab.click("#fill")
        says(tab, "Another scan was opened meanwhile; reload the page.", "#error-text")


def test_what_is_not_saved_is_asked_for(browser, client, tmp_path):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    with visit(browser, client, image, accept_downloads=True) as tab:
        wait_for_scan(tab)
        hole = paint_box(tab)
        tab.select_option("#source", "system:laplace")
        tab.click("#fill")
        tab.wait_for_selector("#result:not([hidden])")
        tab.set_input_files("#file", image)
        says(tab, "The hole that you painted and the filled scan are not saved.", "#question-text")
        tab.click("#question button[value=no]")
        save_by_click(tab, "#save-drawing", tmp_path)
        tab.wait_for_function("!desk.hole.hasUnsaved")
        tab.set_input_files("#file", image)
        says(tab, "The filled scan is not saved.", "#question-text")
        tab.click("#question button[value=no]")
        asked = []
        tab.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
        with tab.expect_event("dialog"):
            tab.close(run_before_unload=True)
        assert asked == ["beforeunload"]
        save_by_click(tab, "[data-save=filled]", tmp_path)
        tab.wait_for_function("!desk.hasUnsaved")
        held = []
        tab.route("**/api/upload", lambda route: held.append(route))
        with tab.expect_request("**/api/upload"):
            tab.set_input_files("#file", image)  # no question
        assert tab.evaluate("document.body.className") == "open opening"
        tab.evaluate("() => document.getElementById('picture').focus()")
        tab.mouse.click(*place(tab, (30, 30, 6), 0))
        for key in ("p", "Space", "u", "Control+z"):
            tab.keyboard.press(key)
        assert voxels_of(painted(tab)) == hole
        number = tab.get_attribute("body", "data-scan")
        held[0].continue_()
        tab.wait_for_selector(f"body:not(.opening):not([data-scan='{number}'])")
        tab.mouse.click(*place(tab, (30, 30, 6), 0))
        assert len(voxels_of(painted(tab))) > 0


def test_a_scan_that_the_viewer_cannot_read_leaves_the_one_before(browser, client, tmp_path):
    image, _ = write_scan(tmp_path, shape=SHAPE)
    other, _ = write_scan(tmp_path, "sub-2_FLAIR.nii.gz", shape=(20, 18, 7))
    with visit(browser, client, image, expected=["does not appear to be NIFTI"]) as tab:
        wait_for_scan(tab)
        hole = paint_box(tab)
        tab.select_option("#source", "system:laplace")
        tab.click("#fill")
        tab.wait_for_selector("#result:not([hidden])")
        for is_broken in (True, False):
            if is_broken:
                tab.route("**/api/scan.nii.gz?*", lambda route: route.fulfill(body=b"no scan at all" * 99))
            else:  # the graphics card refuses it
                tab.unroute("**/api/scan.nii.gz?*")
                tab.evaluate(
                    "() => { const { nv } = desk.viewer, add = nv.addVolume.bind(nv);"
                    "nv.addVolume = (volume) => { nv.addVolume = add; throw new Error('no memory'); }; }"
                )
            tab.set_input_files("#file", other)
            tab.click("#question-yes")
            says(tab, "sub-2_FLAIR.nii.gz cannot be shown", "#error-text")
            tab.wait_for_selector("body:not(.opening)")
            assert tab.inner_text("#error-text").endswith("sub-1_FLAIR.nii.gz stays open.")
            assert tab.evaluate("desk.viewer.dims") == list(SHAPE)
            assert voxels_of(painted(tab)) == hole
            assert client.get("api/state")["scan"]["name"] == tab.inner_text("#scan-name") == "sub-1_FLAIR.nii.gz"
        assert tab.evaluate("desk.viewer.nv.volumes.length") == 2
        show(tab, (20, 18, 6))
        save_by_click(tab, "[data-save=filled]", tmp_path)
        tab.click("#fill")
        says(tab, "Filled.")


def test_a_mask_is_explained_or_refused_in_one_line(browser, client, tmp_path):
    image, mask = write_scan(tmp_path, grid="LPI", shape=SHAPE)
    labels = np.asarray(nibabel.load(mask).dataobj).astype(np.float32)
    labels[9] *= 4
    nibabel.Nifti1Image(labels, GRIDS["LPI"]).to_filename(tmp_path / "labels.nii.gz")
    nibabel.Nifti1Image(labels * np.nan, GRIDS["LPI"]).to_filename(tmp_path / "nan.nii")
    with visit(browser, client, image, expected=["status of 40"]) as tab:
        wait_for_scan(tab)
        tab.set_input_files("#mask", tmp_path / "nan.nii")
        says(tab, "nan.nii: has voxels that are NaN or infinite; a mask has whole numbers", "#error-text")
        tab.set_input_files("#mask", tmp_path / "labels.nii.gz")
        says(tab, "Which label of labels.nii.gz is the hole?", "#choice-title")
        tab.click("#choice-list button:has-text('4')")
        says(tab, "labels.nii.gz is the hole now: its label 4.")
        assert voxels_of(painted(tab)) == {tuple(map(int, voxel)) for voxel in np.argwhere(labels == 4)}
        tab.set_input_files("#mask", tmp_path / "labels.nii.gz")
        tab.click("#choice-list button:has-text('All 2 labels as one hole')")
        tab.click("#question-yes")
        says(tab, "labels.nii.gz is the hole now: its 2 labels.")
        assert len(voxels_of(painted(tab))) == np.count_nonzero(labels)
        assert_the_bar_is_one_line(tab)
        assert_quarters_are_announced(tab)


def assert_the_bar_is_one_line(tab):
    for width in (1000, 1100, 1199, 1400):
        tab.set_viewport_size({"width": width, "height": 640})
        tops = tab.evaluate("[...document.querySelectorAll('.view > *')].map((part) => part.getBoundingClientRect().bottom)")
        assert max(tops) - min(tops) < 30, width


def assert_quarters_are_announced(tab):
    """Every slice is shown, but a screen reader reads out what changes in the status: the quarters."""
    states = [{"state": "filling", "done": done, "total": 8, "number": 1, "scan": 1} for done in (1, 2, 3)]
    answers = [*states[1:], {**states[0], "state": "cancelled"}]
    tab.route("**/api/fill", lambda route: route.fulfill(body=json.dumps(answers.pop(0))))
    heard = tab.evaluate(
        "async (begun) => { const heard = [], look = (id) => heard.push(document.getElementById(id).textContent);"
        "for (const id of ['status', 'progress-text'])"
        "new MutationObserver(() => look(id)).observe(document.getElementById(id), { childList: true });"
        "await desk.filling.resume(begun); await new Promise(requestAnimationFrame); return heard; }",
        states[0],
    )
    assert [line for line in heard if "Slice" in line] == [f"Slice {done} of 8" for done in (1, 2, 3)]
    assert [line for line in heard if line.startswith(("Filling", "Cancelled"))] == [
        *("Filling…", "Filling: 25 %…"),
        "Cancelled. The hole is as it was.",
    ]
