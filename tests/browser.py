"""A headless Chromium for tests of pages: the machine's own, driven by Playwright; tests skip without one."""

import contextlib
import shutil

import pytest

ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking")
"""For root, and for WebGL2 without a graphics card."""


@contextlib.contextmanager
def chromium():
    """Gives a browser of Playwright; skips the test if Playwright or Chromium is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser, address, *, expected=(), **options):
    """Gives a tab with a page; at its end, fails if the page wrote an error or asked another host for anything.

    `expected` are parts of errors that may be written, such as "status of 409" for an answer that a test asks for.
    """
    context = browser.new_context(**options)
    try:
        tab = context.new_page()
        errors, requests = [], []
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(address, wait_until="load")
        yield tab
        origin = "/".join(address.split("/")[:3])
        foreign = [url for url in requests if not url.startswith((origin, "data:", "blob:"))]
        errors = [error for error in errors if not any(part in error for part in expected)]
        assert not errors, errors
        assert not foreign, foreign
    finally:
        context.close()
