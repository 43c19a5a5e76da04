"""The report of a run in a browser: no error, no request, values and pictures by keyboard, light, dark and narrow."""

import io
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.training import curves, run_page
from ipmedgan_jax.training.health import Finding
from tests.browser import opened
from tests.training.test_curves import points

STEPS = (100, 200, 300)


def content(**changes):
    scalars = {
        "validation/psnr": points([20.0, 22.0, 21.0], every=100),
        "loss/discriminator/global": points([0.5, float("nan"), 0.25, -0.125], every=75),
        "gradient_norm/generator": points(np.linspace(1.0, 100.0, 3000)),
    }
    given = {
        "name": "a run", "state": "finished", "detail": "", "step": 300, "steps": 300, "written": time.time(), "due": 60.0,
        "facts": [("system", "unet")], "findings": [Finding("fine"), Finding("not fine", True)],
        "charts": curves.charts(scalars, "psnr"), "marks": [{"step": 150, "text": "resumed"}],
        "examples": [(step, f"examples/step_{step:07d}.png") for step in STEPS], "tiles": ("image", "context", "filled"),
        "settings": [], "published": "the paper", "column": "published",
        "data": [("train", "1 slice")], "environment": [], "messages": [],
    }  # fmt: skip
    return run_page.Content(**given | changes)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for step in STEPS:
        tiles = [np.full((16, 16), -1 + step / 200)] * 6
        figures.save_image(figures.image_grid(tiles, columns=3), folder / "examples" / f"step_{step:07d}.png")
    (folder / "report.html").write_text(run_page.page(content()))
    old = content(state="running", written=time.time() - 7200)
    (folder / "old.html").write_text(run_page.page(old))
    return SimpleNamespace(address=(folder / "report.html").as_uri(), old=(folder / "old.html").as_uri())


def grey(tab):
    """Returns the grey level in the middle of the last tile; a script may not read pixels of files."""
    shot = Image.open(io.BytesIO(tab.locator("canvas").last.screenshot()))
    return shot.convert("L").getpixel((shot.width // 2, shot.height // 2))


def test_values_are_read_by_keyboard_and_by_mouse(browser, report):
    with opened(browser, report.address) as tab:
        chart = tab.locator(".chart", has_text="Discriminator loss")
        plot = chart.locator("[tabindex='0']").first
        plot.focus()
        for key, says in (("Home", "step 75: global 0.5"), ("ArrowRight", "step 150: global not finite"),
                          ("End", "step 300: global -0.125"), ("ArrowLeft", "step 225: global 0.25")):  # fmt: skip
            plot.press(key)
            assert chart.locator("[aria-live]").inner_text() == says
        chart = tab.locator(".chart", has_text="Validation: psnr")
        box = chart.locator("svg").first.bounding_box()
        tab.mouse.move(box["x"] + 56 + (box["width"] - 68) * 190 / 3000, box["y"] + 50)
        assert chart.locator("[aria-live]").inner_text() == "step 200"
        assert "psnr 22" in chart.locator(".legend").inner_text()
        assert "best checkpoint 22 at step 200" in chart.locator(".legend").inner_text()


def test_gaps_scales_and_tables(browser, report):
    with opened(browser, report.address) as tab:
        chart = tab.locator(".chart", has_text="Discriminator loss")
        path = chart.locator("path.curve").first.get_attribute("d")
        assert (path.count("M"), path.count("L")) == (2, 1)  # NaN parts it
        chart.locator("input").check()  # a logarithm has no point below 0 either
        assert chart.locator("path.curve").first.get_attribute("d").count("L") == 0
        chart.locator("summary").press("Enter")
        chart.locator("table").wait_for()
        assert chart.locator("tbody tr").all_inner_texts()[1].split("\t") == ["150", "not finite"]
        before = tab.locator("path.curve").count()
        tab.check("#smooth")
        assert tab.locator("path.raw").count() > 0
        assert tab.locator("path.curve").count() > before
        thinned = tab.locator(".chart", has_text="Gradient norms")
        thinned.locator("summary").click()
        thinned.locator("table").wait_for()
        assert "drawn points" in thinned.locator("details").inner_text()


def test_the_slider_shows_each_step_s_pictures_by_keyboard(browser, report):
    with opened(browser, report.address) as tab:
        tab.wait_for_selector("canvas")
        assert tab.locator("canvas").count() == 6
        seen = {tab.inner_text("#when-step"): grey(tab)}
        for step in STEPS[-2::-1]:
            tab.press("#when", "ArrowLeft")
            tab.locator(f"canvas[aria-label$='step {step}']").last.wait_for()
            seen[tab.inner_text("#when-step")] = grey(tab)
        assert list(seen) == ["300", "200", "100"]
        assert list(seen.values()) == sorted(set(seen.values()), reverse=True)
        tab.click("#later")
        assert tab.inner_text("#when-step") == "200"
        tab.check("#fills-only")
        tab.wait_for_function("document.querySelectorAll('canvas').length === 2")
        assert tab.locator("canvas").first.bounding_box()["width"] > 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_and_every_control_has_a_name(browser, report, scheme):
    with opened(browser, report.address, viewport={"width": 400, "height": 800}, color_scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        unnamed = (
            "[...document.querySelectorAll('input, button')].filter(x => !(x.labels?.[0] ?? x).textContent.trim()).length"
        )
        assert tab.evaluate(unnamed) == 0
        assert "1 thing to look at" in tab.inner_text("h1")


def test_a_running_run_that_writes_no_page_any_more_is_called_so(browser, report):
    with opened(browser, report.old) as tab:
        assert tab.inner_text("#state") == "no news"
        assert "2 hours ago" in tab.inner_text("#age")
        assert "may have been killed" in tab.inner_text("#silent")
