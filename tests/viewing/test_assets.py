"""The files of the page: whole, at home, and with their notices."""

import hashlib
import re
from pathlib import Path

import pytest

from ipmedgan_jax.viewing.server import ASSETS

ROOT = Path(__file__).parents[2]
OWN = sorted(path for path in ASSETS.iterdir() if path.suffix in {".js", ".css", ".html"})


def test_niivue_is_the_file_that_its_origin_names():
    origin = (ASSETS / "niivue" / "ORIGIN.txt").read_text()
    digest = hashlib.sha256((ASSETS / "niivue" / "niivue.umd.js").read_bytes()).hexdigest()
    assert f"{digest}  niivue.umd.js" in origin
    notice = (ROOT / "licenses" / "niivue.txt").read_text()
    assert (ASSETS / "niivue" / "LICENSE").read_text() in notice
    assert "NiiVue 0.69.0" in origin
    assert "NiiVue 0.69.0" in notice


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_a_file_of_the_page_names_only_files_that_are_there(path):
    text = path.read_text()
    assert "://" not in text  # no other host
    assert "sourceMappingURL" not in text
    linked = re.findall(r'from "\./([\w.]+)"', text) + re.findall(r'(?:src|href)="assets/([\w./]+)"', text)
    assert all(name == "base.css" or (ASSETS / name).is_file() for name in linked)
    assert len(text.splitlines()) <= 300


def test_each_module_is_used_and_each_id_is_there():
    page, script = ((ASSETS / name).read_text() for name in ("index.html", "page.js"))
    modules = "".join(path.read_text() for path in OWN if path.suffix == ".js")
    for path in OWN:
        assert path.name in page + modules + "index.html", path.name
    ids = set(re.findall(r' id="([\w-]+)"', page))
    asked = set(re.findall(r'(?:find|onClick)\("([\w-]+)"', modules))
    assert asked <= ids
    assert len(script) > 1000
