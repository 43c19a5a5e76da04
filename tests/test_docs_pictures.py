"""The pictures of the pages: each is listed with its source and terms, and can be made again."""

import re
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

from benchmarks import docs_pictures
from benchmarks.docs_pictures import PICTURES, RESULTS, Given, Picture
from ipmedgan_jax.core.errors import UserError
from tests.browser import chromium

ROOT = Path(__file__).parents[1]


def listed():
    return {file for picture in PICTURES for file in (picture.file, *picture.further)}


def shown():
    """The pictures that README and docs show or link to."""
    found = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"(?:\]\(|src=\")([^)\"\s]+\.(?:png|jpe?g|webp|gif|svg))", page.read_text()):
            if "://" not in target:
                found.add(str((page.parent / target).resolve().relative_to(ROOT)))
    return found


def test_the_list_has_the_pictures_that_the_pages_show_and_no_others():
    assert listed() | RESULTS.keys() == shown()
    assert {f"docs/{path.name}" for path in (ROOT / "docs").iterdir() if path.suffix in {".png", ".jpg", ".webp"}} == listed()


def test_a_screenshot_of_the_docs_is_small():
    for name in ("view", "view_fill", "run_report"):
        assert (ROOT / "docs" / f"{name}.png").stat().st_size < 250_000


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.file)
def test_a_picture_states_its_source_and_terms(picture):
    assert picture.source
    assert picture.terms.startswith(("CC BY", "Apache-2.0"))
    assert not {"NC", "SA"} & set(re.split(r"\W", picture.terms))
    assert set(picture.needs) <= docs_pictures.FLAGS.keys()


def test_the_front_page_s_picture_is_cut_from_the_docs_one(tmp_path):
    docs_pictures.make_before_after(Given({}, tmp_path), tmp_path / "before_after.png")
    with Image.open(tmp_path / "before_after.png") as made, Image.open(ROOT / "docs" / "before_after.png") as kept:
        np.testing.assert_array_equal(np.array(made), np.array(kept.convert("RGB")))


@pytest.fixture
def given(monkeypatch, tmp_path):
    def give(**values):
        names = dict.fromkeys(docs_pictures.FLAGS) | {"only": [], "output": str(tmp_path)} | values
        monkeypatch.setattr(docs_pictures.flags, "FLAGS", type("Values", (), names))

    assert docs_pictures.flags is flags
    return give


def test_a_picture_without_its_flag_is_skipped_with_the_reason(given, tmp_path, monkeypatch, capsys):
    pictures = (
        Picture("docs/a.png", "x", "CC BY", lambda given, path: path.write_text(given["scans"]), needs=("scans",)),
        Picture("docs/b.png", "x", "CC BY", lambda given, path: None, needs=("demo", "scans")),
    )
    monkeypatch.setattr(docs_pictures, "PICTURES", pictures)
    given(scans="S")
    docs_pictures.main()
    assert (tmp_path / "docs" / "a.png").read_text() == "S"
    assert "skipped docs/b.png: needs --demo\n" in capsys.readouterr().out
    given()
    with pytest.raises(UserError, match="no picture made"):
        docs_pictures.main()


def test_an_unknown_picture_is_named(given):
    given(only=["docs/fil.png"])
    with pytest.raises(UserError, match=r"--only=docs/fil.png: expected some of docs/fill.png, .*did you mean"):
        docs_pictures.main()


def test_a_command_that_fails_ends_the_work():
    with pytest.raises(UserError, match=r"failed: -m benchmarks\.no_such"):
        docs_pictures.run("benchmarks.no_such")


def test_a_screenshot_shows_a_page_after_what_was_done_on_it(tmp_path):
    with chromium():
        pass  # skips without one
    page = "<body style='margin:0;height:100vh' onclick='this.style.background=\"#00f\"'>"
    (tmp_path / "page.html").write_text(page)
    docs_pictures.screenshot(
        tmp_path / "page.html", tmp_path / "shot.png", width=60, height=40, prepare=lambda page: page.mouse.click(5, 5)
    )
    with Image.open(tmp_path / "shot.png") as shot:
        assert (shot.size, shot.convert("RGB").getpixel((30, 20))) == ((60, 40), (0, 0, 255))
