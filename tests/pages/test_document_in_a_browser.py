"""The frame of a page, opened in a browser."""

import pytest

from ipmedgan_jax.pages import document
from tests.browser import opened


def test_a_page_opens_without_an_error_and_without_a_request(browser, tmp_path):
    document.write(tmp_path / "page.html", document.document("A page", "<h1>A page</h1>", data={"a": 1}))
    with opened(browser, (tmp_path / "page.html").as_uri()) as tab:
        assert tab.inner_text("h1") == "A page"
        assert tab.evaluate('JSON.parse(document.getElementById("data").textContent).a') == 1


def test_the_policy_of_a_page_stops_a_request(browser, tmp_path):
    document.write(tmp_path / "page.html", document.document("A page", '<img src="http://127.0.0.1:9/x.png">'))
    with pytest.raises(AssertionError, match=r"127\.0\.0\.1:9"):  # the console's error, and the refused request
        with opened(browser, (tmp_path / "page.html").as_uri()) as tab:
            tab.wait_for_timeout(100)
