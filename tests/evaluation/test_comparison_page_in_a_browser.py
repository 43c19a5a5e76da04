"""The report of a comparison, opened in a browser: it sorts, draws, opens subjects, and asks nobody for anything."""

import re

import pytest

from ipmedgan_jax.evaluation import comparable_runs, comparison
from ipmedgan_jax.evaluation.seed_groups import group_seeds
from tests.browser import opened
from tests.evaluation.made_up_runs import add_config, make_run


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    systems = (("ipmedgan", 10.0), ("telea", 20.0), ("glcic_cited", 5.0))
    runs, _ = comparable_runs.read_all([make_run(root / name, name, error) for name, error in systems])
    groups = group_seeds(runs)
    comparison.write(groups, root / "out", reference=groups[0], cases=2, caption="")
    return (root / "out" / "report.html").as_uri()


def first_cells(tab, table):
    return [text.strip() for text in tab.locator(f"table.sortable >> nth={table}").locator("tbody th").all_inner_texts()]


def test_columns_sort_by_click_and_by_key_and_say_so(browser, page):
    with opened(browser, page) as tab:
        heading = tab.locator("table.sortable >> nth=0").locator("thead th", has_text="MSE")
        assert first_cells(tab, 0) == ["ip-MedGAN", "Telea", "GLCIC as cited"]
        heading.locator("button").click()
        assert first_cells(tab, 0) == ["GLCIC as cited", "ip-MedGAN", "Telea"]
        assert heading.get_attribute("aria-sort") == "ascending"
        heading.locator("button").press("Enter")
        assert first_cells(tab, 0) == ["Telea", "ip-MedGAN", "GLCIC as cited"]
        assert heading.get_attribute("aria-sort") == "descending"
        heading.locator("button").press("Space")
        assert first_cells(tab, 0) == ["ip-MedGAN", "Telea", "GLCIC as cited"]
        assert heading.get_attribute("aria-sort") == "none"


def test_a_missing_value_is_last_in_both_orders(browser, page):
    with opened(browser, page) as tab:
        button = tab.locator("table.sortable >> nth=0").locator("thead th", has_text="parameters").locator("button")
        for _ in range(2):
            button.click()
            assert first_cells(tab, 0)[-1] == "Telea"  # has no parameters


def test_a_subject_is_chosen_in_the_plot_by_key_and_its_slices_open(browser, page):
    with opened(browser, page) as tab:
        plot = tab.locator("svg >> nth=0")
        assert plot.locator(".dot").count() == 24
        assert not tab.locator("#subject-list img >> nth=0").is_visible()
        plot.press("ArrowRight")
        plot.press("ArrowRight")
        assert re.match(r"s1: ip-MedGAN \d+\.\d\d, Telea \d", tab.inner_text("#chosen-text"))
        assert plot.locator(".chosen").count() == 3
        plot.press("Enter")
        assert tab.locator("#subject-1").is_visible()
        tile = tab.locator("#subject-1 img >> nth=0")
        tile.scroll_into_view_if_needed()
        tab.wait_for_function("document.querySelector('#subject-1 img').naturalWidth === 5 * 32")


def test_the_pointer_names_a_subject_and_a_press_opens_it(browser, page):
    with opened(browser, page) as tab:
        dot = tab.locator("svg >> nth=1").locator(".dot >> nth=7")
        dot.scroll_into_view_if_needed()
        box = dot.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.mouse.move(x, y)
        assert tab.inner_text(".tooltip >> nth=1") == "s7"
        tab.mouse.click(x, y)
        assert tab.locator("#subject-7").is_visible()


def test_the_mean_of_each_seed_and_the_interval_are_in_the_plot(browser, tmp_path):
    folders = [
        add_config(make_run(tmp_path / f"{i}", "ipmedgan", 10.0 + 30 * i, subjects=3), "ipmedgan", seed=i) for i in (0, 1)
    ]
    groups = group_seeds(comparable_runs.read_all([*folders, make_run(tmp_path / "telea", "telea", 20.0, subjects=3)])[0])
    comparison.write(groups, tmp_path / "out", reference=groups[0], cases=1, caption="")
    with opened(browser, (tmp_path / "out" / "report.html").as_uri()) as tab:
        plot = tab.locator("svg >> nth=0")
        assert plot.locator(".seed").count() == 2
        width = float(plot.get_attribute("viewBox").split()[2])
        for line in plot.locator("line.seed, line.interval").all():
            assert 0 < float(line.get_attribute("x1")) <= float(line.get_attribute("x2")) < width


def test_another_score_changes_the_plot_and_the_table_of_subjects(browser, page):
    with opened(browser, page) as tab:
        tab.click("#subject-scores summary")
        tab.select_option("#plot-metric", label="VGG")
        assert "VGG in the hole" in tab.text_content("svg >> nth=0")
        assert tab.inner_text("#score-name") == "VGG"
        assert re.fullmatch(r"0\.\d{4}", tab.inner_text("#score-table tbody td >> nth=0"))


def test_a_press_on_a_fill_shows_the_image_in_its_place(browser, page):
    with opened(browser, page) as tab:
        fill = tab.locator(".tiles >> nth=0").locator("figure >> nth=1")
        fill.press("Enter")
        assert fill.get_attribute("aria-pressed") == "true"
        assert fill.evaluate("tile => tile.style.getPropertyValue('--i')") == "4"
        fill.click()
        assert fill.evaluate("tile => tile.style.getPropertyValue('--i')") == "1"


@pytest.mark.parametrize("width", [400, 1300])
def test_the_page_is_no_wider_than_the_window(browser, page, width):
    with opened(browser, page, viewport={"width": width, "height": 800}) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_the_tables_and_the_slices_are_there(browser, page):
    with opened(browser, page, java_script_enabled=False) as tab:
        assert tab.locator("table.sortable >> nth=0").locator("tbody tr").count() == 3
        assert tab.locator("noscript a").is_visible()
        tab.click("#subject-list summary >> nth=0")
        assert tab.locator("#subject-0 img >> nth=0").is_visible()
        assert not tab.locator("#view").is_visible()
