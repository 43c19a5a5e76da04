"""Opens the page in the browser, without its token on a command line, which other accounts of the machine can read."""

import html
import os
import threading
import webbrowser
from pathlib import Path

SECONDS = 60.0
"""How long the browser has to ask for the page."""


def open_page(url: str, folder: Path, asked: threading.Event) -> bool:
    """Opens a file that leads to the page, and removes it; returns whether the page was asked for within a minute.

    Args:
      url: the address of the page, with its token.
      folder: a folder that only this account can read.
      asked: is set when a browser has asked for the page.
    """
    path = folder / "open.html"
    address = html.escape(url)
    text = (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>ipmedgan view</title>'
        f'<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">Open the page</a>\n'
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    try:
        webbrowser.open(path.as_uri())
        return asked.wait(SECONDS)
    finally:
        path.unlink(missing_ok=True)
