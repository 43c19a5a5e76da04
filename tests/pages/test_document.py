"""One-file pages: what is inside them, and that nothing can break out of its place or reach a network."""

import json
import re

import pytest

from ipmedgan_jax.pages import document


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--<script>", "a & b", "ünï \u2028"])
def test_data_come_back_and_cannot_end_their_script(text):
    page = document.document("t", "<p>x</p>", data={"text": text})
    assert data_of(page) == {"text": text}
    assert page.count("</script>") == 1


def test_a_title_is_plain_text():
    assert "<title>&lt;b&gt;</title>" in document.document("<b>", "")


def test_numbers_that_json_lacks_are_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        document.document("t", "", data={"score": float("nan")})


def test_every_asset_stays_inside_the_page():
    names = sorted(path.name for path in document.ASSETS.iterdir())
    assert "base.css" in names
    for name in names:
        text = (document.ASSETS / name).read_text()
        assert not re.search(
            r"https?://(?!www\.w3\.org/)|@import|url\((?!#|data:)|\bfetch\(|XMLHttpRequest|WebSocket", text
        ), name
