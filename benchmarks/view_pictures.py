"""The page of `view` with a head phantom, for its pictures in docs/view.md: a hole is drawn by the pointer, then filled.

Nothing of a person is shown. `benchmarks.docs_pictures` calls this.
"""

import math
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import runtime
from ipmedgan_jax.data.phantom import write_phantoms
from ipmedgan_jax.viewing.server import Server
from ipmedgan_jax.viewing.session import Session

SPACING_MM = (0.9, 0.9, 3.0)
CENTRE, RADII = (142, 150, 22), (17, 13)
"""Middle of the hole, a voxel, and its half axes in the axial slice, in voxels."""

FILL_SECONDS = 300


@contextmanager
def page_address() -> Iterator[str]:
    """Gives the address of a page on which a FLAIR-like phantom is open."""
    with tempfile.TemporaryDirectory() as folder:
        (scan,) = write_phantoms(Path(folder), "mri", subjects=1, slices=44, seed=5, shape=(224, 256), spacing_mm=SPACING_MM)
        with closing(Session(set_up=runtime.set_up)) as session:
            session.open_path(scan)
            with closing(Server(session)) as server:
                server.start()
                session.start(preload=False)
                yield server.url


def paint(page: Any) -> None:
    """Draws round a hole with the tool Outline, through seven slices; `page` is Playwright's."""
    page.wait_for_selector("body.open")
    _point_at_centre(page)
    page.click("#tool-outline")
    page.evaluate("() => { const d = document.getElementById('depth'); d.value = 7; d.dispatchEvent(new Event('input')); }")
    places = [_place(page, 2 * math.pi * step / 40) for step in range(40)]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    _point_at_centre(page)
    page.wait_for_timeout(500)


def fill(page: Any) -> None:
    """Paints, fills with the shipped FLAIR model, and waits for the result."""
    paint(page)
    page.select_option("#source", "model:flair")
    page.fill("#samples", "4")
    page.click("#fill")
    page.wait_for_selector("#result:not([hidden])", timeout=1000 * FILL_SECONDS)
    page.select_option("#hole-look", "outline")
    page.locator("#result").scroll_into_view_if_needed()
    page.wait_for_timeout(1000)


def _point_at_centre(page: Any) -> None:
    page.evaluate("async (voxel) => { desk.viewer.crosshair = voxel; await desk.viewer.settled(); }", list(CENTRE))


def _place(page: Any, angle: float) -> tuple[float, float]:
    """Returns where a point of the hole's border is in the window."""
    wave = 1 + 0.12 * math.sin(3 * angle)
    voxel = [CENTRE[0] + RADII[0] * wave * math.cos(angle), CENTRE[1] + RADII[1] * wave * math.sin(angle), CENTRE[2]]
    x, y = page.evaluate(
        "(voxel) => { const box = desk.canvas.getBoundingClientRect(); const [x, y] = desk.viewer.place(voxel, 0);"
        "return [x + box.left, y + box.top]; }",
        voxel,
    )
    return x, y
