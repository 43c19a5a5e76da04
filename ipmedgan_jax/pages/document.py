"""One HTML file that needs no network and no library: its styles, scripts and data are inside it, pictures may lie beside it.

The scripts and styles are files of `assets/`. A page's own policy (Content-Security-Policy) forbids every request but those
for pictures beside it, so that a report cannot send anything anywhere.
"""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import files

ASSETS = Path(__file__).parent / "assets"

POLICY = (
    "default-src 'none'; img-src 'self' file: data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
"""What a page may load: its own styles and scripts, and pictures beside it."""

escape = html.escape
"""Makes text safe in HTML, in attributes too."""


def document(title: str, body: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = (), data: Any = None) -> str:
    """Returns a page as text.

    Args:
      title: the title, plain text.
      body: HTML; text from outside must have gone through `escape`.
      styles: names of style sheets in `assets/`, after `base.css`.
      scripts: names of scripts in `assets/`, run after the body.
      data: what the scripts read by `JSON.parse(document.getElementById("data").textContent)`; finite numbers only.
    """
    style = "\n".join((ASSETS / name).read_text() for name in ("base.css", *styles))
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{style}</style>",
        body,
    ]
    if data is not None:
        lines.append(f'<script type="application/json" id="data">{embedded_json(data)}</script>')
    lines += [f"<script>\n{(ASSETS / name).read_text()}</script>" for name in scripts]
    return "\n".join(lines) + "\n"


def embedded_json(data: Any) -> str:
    """Returns JSON that no text inside it can end early: `<` and `&` are escaped. ValueError for NaN or infinity."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def write(path: Path, text: str) -> None:
    """Writes a page atomically; creates its folder. OSError if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text)


def is_written(path: Path, text: str) -> bool:
    """Whether a page is there with this text, so that it need not be written again."""
    try:
        return path.read_bytes() == text.encode("utf-8", errors="backslashreplace")
    except OSError:
        return False
