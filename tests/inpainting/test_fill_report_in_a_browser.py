"""The report of fills in Chromium: keys, flicker, reviews that are kept, the CSV file; no error and no request."""

import csv
import io
import json
from pathlib import Path

import pytest

from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.inpainting import report_entries
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.fill_report import FillReport, paths_in
from ipmedgan_jax.inpainting.filling_options import Filling
from tests.browser import opened
from tests.inpainting.test_fill_report import LAPLACE, write_scan

HOSTILE = '=HYPERLINK("http://x",1)</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of a report of three filled scans, one that failed, and one with a hostile name and warning."""
    folder = tmp_path_factory.mktemp("report")
    for seed in range(3):
        write_scan(folder / "in", f"sub-{seed}", seed)
    cohort = Cohort(image=str(folder / "in"), mask=str(folder / "in"), output=folder / "out")
    fill_cohort(cohort, Filling(), Shard(), lambda: ClassicalFiller("laplace"))
    pictures = folder / "out" / "report"
    entry = report_entries.read(report_entries.folders(pictures)[0])
    report_entries.save(pictures / "hostile", entry | {"name": HOSTILE, "warnings": ['a "quoted", warning', HOSTILE]}, {})
    for name in ("before", "filled", "difference", "outline"):
        source = report_entries.folders(pictures)[1] / f"{name}.webp"
        (pictures / "hostile" / source.name).write_bytes(source.read_bytes())
    failed = {"state": "failed", "name": "sub-9", "number": "a1", "reason": "no mask", "warnings": []}
    report_entries.save(pictures / "sub-9", failed, {})
    FillReport(paths_in(folder / "out"), LAPLACE, Filling()).write()
    return (folder / "out" / "report.html").as_uri()


def shown(tab):
    return tab.eval_on_selector_all(".scan:not([hidden]) h2", "all => all.map(one => one.textContent)")


def wait_for(tab, condition):
    """Playwright's own `wait_for_function` evaluates text in the page, which the page's policy forbids."""
    for _ in range(200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def reviews(tab):
    return tab.inner_text("#progress")


def reload_until(tab, expected):
    """Loads the page again until it says so: after a reload of a file, Chromium now and then reads what was kept before."""
    for _ in range(10):
        tab.reload()
        if reviews(tab) == expected:
            return
    assert reviews(tab) == expected


def test_scans_are_shown_with_pictures_letters_and_texts(browser, page):
    with opened(browser, page) as tab:
        assert shown(tab)[0] == "sub-9"
        assert HOSTILE in shown(tab)
        assert tab.locator("img").count() == 4 * 4 * 4  # of four scans four views of four layers
        assert tab.locator("img[loading=lazy]").count() == tab.locator("img").count()
        wait_for(tab, "[...document.querySelectorAll('.scan.filled img')].slice(0, 4).every(one => one.naturalWidth)")
        frame = tab.locator(".scan.filled .frame").first
        box = frame.bounding_box()
        assert box["width"] / box["height"] == pytest.approx(20 / 22, rel=0.02)
        assert frame.locator(".letter").all_text_contents() == ["R", "L", "A", "P"]
        assert "no mask" in tab.text_content(".scan.failed")


@pytest.mark.parametrize("name", ["caf\udce9", "a 50% #1 ?x"])
def test_pictures_of_a_scan_whose_name_is_no_plain_text_are_shown(browser, tmp_path, name):
    write_scan(tmp_path, "sub-1")
    image, mask = (str(tmp_path / f"sub-1_{what}.nii.gz") for what in ("FLAIR", "mask"))
    cohort = Cohort(image=image, mask=mask, output=tmp_path / f"{name}.nii.gz", report=True)
    fill_cohort(cohort, Filling(), Shard(), lambda: ClassicalFiller("laplace"))
    with opened(browser, (tmp_path / f"{name}_report.html").as_uri()) as tab:
        wait_for(tab, "[...document.querySelectorAll('.scan img')].slice(0, 4).filter(one => one.naturalWidth).length === 4")


def test_keys_move_judge_and_switch(browser, page):
    with opened(browser, page) as tab:
        tab.keyboard.press("j")
        tab.keyboard.press("ArrowDown")
        current = tab.locator(".scan.current")
        name = current.locator("h2").text_content()
        assert name == shown(tab)[1]
        assert current.locator(".shown").first.evaluate("one => getComputedStyle(one, '::after').content") == '"after"'
        tab.keyboard.press(" ")
        assert current.locator(".filled").first.evaluate("one => getComputedStyle(one).visibility") == "hidden"
        tab.keyboard.press(" ")
        assert current.locator(".filled").first.evaluate("one => getComputedStyle(one).visibility") == "visible"
        tab.keyboard.press("o")
        assert current.locator(".outline").first.evaluate("one => getComputedStyle(one).visibility") == "hidden"
        tab.keyboard.press("d")
        assert current.locator(".difference").first.evaluate("one => getComputedStyle(one).visibility") == "visible"
        assert tab.is_visible("#legend")
        tab.keyboard.press("p")
        assert current.get_attribute("data-verdict") == "pass"
        tab.keyboard.press("k")
        tab.keyboard.press("f")
        assert reviews(tab) == "2 of 5 looked at (1 pass, 1 fail)"
        tab.keyboard.press("n")
        tab.keyboard.type("fjp d")
        tab.keyboard.press("Escape")
        tab.keyboard.press("u")
        assert reviews(tab) == "1 of 5 looked at (1 pass, 0 fail)"
        assert tab.locator(".scan.current input").input_value() == "fjp d"


def test_pictures_flicker_under_the_pointer_and_switch_at_a_touch(browser, page):
    with opened(browser, page) as tab:
        views = tab.locator(".scan.filled .views").first
        views.hover()
        states = set()
        for _ in range(12):
            states.add("before" in tab.locator(".scan.filled").first.get_attribute("class").split())
            tab.wait_for_timeout(100)
        assert states == {True, False}
    with opened(browser, page, has_touch=True, viewport={"width": 400, "height": 800}) as tab:
        card = tab.locator(".scan.filled").first
        card.locator(".frame").first.tap()
        assert "before" in card.get_attribute("class").split()
        card.locator(".frame").first.tap()
        assert "before" not in card.get_attribute("class").split()
        assert tab.evaluate("document.documentElement.scrollWidth <= 400")


def test_reviews_are_kept_for_their_report_alone(browser, page, tmp_path):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(page)
    tab.keyboard.press("j")
    tab.keyboard.press("f")
    reload_until(tab, "1 of 5 looked at (0 pass, 1 fail)")
    tab.select_option("#filter", "fail")
    assert shown(tab) == ["sub-9"]
    tab.select_option("#filter", "open")
    assert len(shown(tab)) == 4
    write_scan(tmp_path / "in", "sub-0")
    write_scan(tmp_path / "in", "sub-1")
    cohort = Cohort(image=str(tmp_path / "in"), mask=str(tmp_path / "in"), output=tmp_path / "out")
    fill_cohort(cohort, Filling(), Shard(), lambda: LAPLACE)
    tab.goto((tmp_path / "out" / "report.html").as_uri())
    assert reviews(tab).startswith("0 of 2")
    context.close()


def test_a_browser_that_keeps_nothing_is_told_of(browser, page):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })")
    tab = context.new_page()
    tab.goto(page)
    assert "keeps nothing" in tab.inner_text("#storage")
    tab.keyboard.press("j")
    tab.keyboard.press("p")
    assert reviews(tab).startswith("1 of 5")
    context.close()


def test_order_can_be_changed(browser, page):
    with opened(browser, page) as tab:
        figures = [scan.get("plausibility", {}).get("figure") for scan in json.loads(tab.inner_text("#data"))["scans"]]
        assert figures[0] is None
        assert figures[1:] == sorted(figures[1:], reverse=True)
        tab.select_option("#sort", "warnings")
        assert shown(tab)[0] == HOSTILE
        tab.select_option("#sort", "name")
        assert [name for name in shown(tab) if name != HOSTILE] == ["sub-0_FLAIR", "sub-1_FLAIR", "sub-2_FLAIR", "sub-9"]


def test_the_csv_file_is_read_back_and_computes_nothing(browser, page):
    with opened(browser, page) as tab:
        tab.keyboard.press("j")
        tab.keyboard.press("f")
        tab.keyboard.press("n")
        tab.keyboard.type('+1, "doubtful"')
        scans = json.loads(tab.inner_text("#data"))["scans"]
        with tab.expect_download() as download:
            tab.click("#csv")
        text = Path(download.value.path()).read_bytes().decode()
    assert text.count("\r\n") == 6
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert (rows["sub-9"]["state"], rows["sub-9"]["verdict"], rows["sub-9"]["note"]) == ("failed", "fail", '\'+1, "doubtful"')
    assert [row["number"] for row in rows.values()] == [scan["number"] for scan in scans]
    assert rows["sub-0_FLAIR"]["ml"] == "0.216"  # 0.21600000000000003
    assert rows["'" + HOSTILE]["warnings"].startswith('a "quoted", warning; =HYPERLINK')
    assert float(rows["sub-0_FLAIR"]["figure"]) > 0
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows.values() for value in row.values())


def test_the_csv_file_has_a_mark_of_its_coding_only_where_a_text_needs_it(browser, page):
    with opened(browser, page) as tab:
        assert tab.evaluate("csv()[0]") == "n"
        tab.evaluate("setReview(data.scans[0], { note: 'zu gro\u00df' })")
        assert tab.evaluate("csv().slice(0, 2)") == "\ufeffn"


# ------------------------------------------------------------------ keys act on what is in sight


def judged(tab):
    """The names of the scans with a verdict."""
    return tab.eval_on_selector_all(".scan[data-verdict=pass] h2", "all => all.map(one => one.textContent)")


def current(tab):
    return tab.eval_on_selector_all(".scan.current h2", "all => all.map(one => one.textContent)")


def test_keys_never_act_on_a_hidden_scan(browser, page):
    with opened(browser, page) as tab:
        tab.keyboard.press("j")  # to the failed one
        tab.keyboard.press("j")
        tab.select_option("#filter", "unfilled")
        tab.keyboard.press("p")
        assert judged(tab) == ["sub-9"]
        tab.select_option("#filter", "note")  # no scan fits
        tab.keyboard.press("u")
        assert reviews(tab).startswith("1 of 5")


@pytest.mark.parametrize("by", ["wheel", "jump"])
def test_keys_act_on_the_scan_that_is_scrolled_to(browser, page, by):
    with opened(browser, page, viewport={"width": 900, "height": 700}) as tab:
        tab.keyboard.press("j")
        names = shown(tab)
        place = tab.evaluate("[...document.querySelectorAll('.scan')][3].getBoundingClientRect().top + scrollY")
        if by == "wheel":
            tab.mouse.move(5, 400)
            tab.mouse.wheel(0, place - 100 - tab.evaluate("scrollY"))
            tab.wait_for_timeout(300)
            place = tab.evaluate("[...document.querySelectorAll('.scan')][3].getBoundingClientRect().top + scrollY")
        tab.evaluate("top => scrollTo(0, top - 100)", place)
        tab.keyboard.press("p")
        assert judged(tab) == current(tab) == [names[3]]
        tab.keyboard.press("j")
        assert current(tab) == [names[4]]


@pytest.mark.parametrize("element", [".review button[data-verdict=fail]", ".frame"])
def test_keys_act_on_the_scan_with_the_focus(browser, page, element):
    with opened(browser, page) as tab:
        tab.keyboard.press("j")
        name = shown(tab)[3]
        card = tab.locator(".scan").nth(3)
        card.locator(element).first.focus()
        assert current(tab) == [name]
        tab.keyboard.press("p")
        assert judged(tab) == [name]
        if element == ".frame":
            tab.keyboard.press(" ")
            assert "before" in card.get_attribute("class").split()
            assert tab.locator(".scan.before").count() == 1


def test_a_choice_by_mouse_gives_the_keys_back(browser, page):
    with opened(browser, page) as tab:
        tab.focus("#filter")
        tab.select_option("#filter", "open")  # as by arrow keys
        assert tab.evaluate("document.activeElement.id") == "filter"
        tab.dispatch_event("#filter", "pointerdown")
        tab.select_option("#filter", "all")
        assert tab.evaluate("document.activeElement.id") == ""
        tab.focus("#sort")
        tab.keyboard.press("Escape")
        assert tab.evaluate("document.activeElement.id") == ""


def test_two_tabs_keep_the_reviews_of_both(browser, page):
    context = browser.new_context()
    first, second = context.new_page(), context.new_page()
    for tab in (first, second):
        tab.goto(page)
    first.evaluate("setReview(data.scans[0], { verdict: 'fail' })")
    wait_for(second, "document.querySelector('#progress').textContent.startsWith('1 of')")
    first.evaluate("removeEventListener('storage', readReviews)")  # a tab that slept
    second.evaluate("setReview(data.scans[1], { verdict: 'pass', note: 'x' })")
    wait_for(first, "localStorage.getItem(reviewKey(data.scans[1]))?.includes('note\":\"x')")
    first.evaluate("setReview(data.scans[1], { verdict: 'fail' })")
    wait_for(second, "review(data.scans[1]).verdict === 'fail'")
    reload_until(second, "2 of 5 looked at (0 pass, 2 fail)")
    assert second.evaluate("review(data.scans[1]).note") == "x"
    context.close()


def test_a_tab_that_reads_old_reviews_spares_those_of_other_scans(browser, page):
    context = browser.new_context()
    first, second = context.new_page(), context.new_page()
    second.add_init_script("Storage.prototype.getItem = () => null")  # a stale view of what the browser keeps
    first.goto(page)
    first.evaluate("setReview(data.scans[0], { verdict: 'fail' })")
    second.goto(page)
    second.evaluate("setReview(data.scans[1], { verdict: 'pass' })")
    wait_for(first, "document.querySelector('#progress').textContent.startsWith('2 of')")
    assert reviews(first) == "2 of 5 looked at (1 pass, 1 fail)"
    context.close()


def test_a_scan_without_a_position_has_no_sure_letter(browser, page):
    with opened(browser, page) as tab:
        found = tab.evaluate("letters({ placed: false }, { letters: 'APSI' }).map(one => one.textContent)")
        assert found == ["A?", "P?", "S?", "I?"]
        assert "mm · voxel" in tab.text_content(".scan.filled figcaption >> nth=0")  # inner_text is empty off the screen


def test_a_fill_without_a_figure_comes_first_and_says_why(browser, tmp_path):
    write_scan(tmp_path / "in", "sub-0")
    write_scan(tmp_path / "in", "sub-1", hole=((0, 20), (0, 22), (1, 2)))
    cohort = Cohort(image=str(tmp_path / "in"), mask=str(tmp_path / "in"), output=tmp_path / "out")
    fill_cohort(cohort, Filling(), Shard(), lambda: LAPLACE)
    with opened(browser, (tmp_path / "out" / "report.html").as_uri()) as tab:
        tab.select_option("#sort", "name")
        tab.select_option("#sort", "figure")
        assert shown(tab)[0] == "sub-1_FLAIR"
        text = tab.locator(".scan").first.text_content()  # not yet laid out
        assert "no figure" in text
        assert "1 slice without a known voxel around the mask" in text
