"""The page of the report of fills: what it says of the method, and its frame; `fill_report.js` draws the scans."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ipmedgan_jax
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.core.user_paths import percent_encoded, user_path, without_homes
from ipmedgan_jax.inpainting import model_card, plausibility, shipped
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.pages import document
from ipmedgan_jax.pages.document import escape

SCRIPTS = ("fill_reviews.js", "fill_cards.js", "fill_order.js", "fill_table.js", "fill_report.js")
"""The page's scripts; each uses those before it, and the last one starts the page."""

PARTS = {
    "step": "mean difference of neighbours across the mask's border, relative to that in a ring 5 voxels wide round it "
    "(20 more of that size are counted, so that few voxels are not far off by chance)",
    "slice": "the same in the worst slice alone, divided by 1.5",
    "rough": "mean difference of neighbours inside the mask, relative to that in the ring",
    "flat": "a tenth of the mean difference in the ring, relative to that inside; at most 5",
    "range": "share of filled voxels far outside the values of the ring, divided by 0.1; far is a quarter of the range of "
    "its 1st to 99th percentile",
}
"""The parts of the plausibility figure in words."""


def about(filler: Filler, report: str = "") -> dict[str, Any]:
    """Returns what the page says of what fills, and the number of the report, a new one by default."""
    source = without_homes(filler.source) if filler.source else ""
    return {
        "report": report or uuid.uuid4().hex,
        "filler": filler.label,
        "kind": filler.kind,
        "source": source,
        "card": without_homes(_card(filler)),
    }


def _card(filler: Filler) -> str:
    """Returns the card of a model, or of a run the card that its export would have without scores; empty for others."""
    if filler.source is None:
        return ""
    folder = user_path(filler.source)
    if filler.source == shipped.label(shipped.FOLDER / folder.name):
        folder = shipped.FOLDER / folder.name
    try:
        return (folder / shipped.CARD_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return model_card.card(filler.generator, None) if isinstance(filler, LearnedFiller) else ""


def settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a sidecar says of how its output was filled."""
    texts = {
        "filled by": f"{content['system']} at step {content['step']}" if content["step"] is not None else content["system"],
        "weights": content["weights_sha256"][:12] if content["weights_sha256"] else "",
        "planes": ", ".join(content["planes"]),
        "dilated": f"{content['dilated_mm']:g} mm" if content["dilated_mm"] else "",
        "labels": ", ".join(map(str, content["mask_labels"])),
        "mask": "" if content["mask_sha256"] else str(content["mask"]),
        "varied fills": str(content["samples"] or ""),
        "version": content["ipmedgan_jax"],
    }
    return {name: text for name, text in texts.items() if text}


def page(about: Mapping[str, Any], folder: str, entries: Mapping[str, dict[str, Any]]) -> str:
    """Returns the page.

    Args:
      about: what `about` returned.
      folder: the name of the folder with the pictures.
      entries: the scans by the names of their folders.
    """
    ordered = sorted(entries.items(), key=lambda item: (-_rank(item[1]), item[1].get("name", ""), item[0]))
    scans = [entry | {"key": key} for key, entry in ordered]
    body = _BODY.format(
        count=_summary(scans),
        source=escape(f", {about['source']}" if about.get("source") else ""),
        filler=escape(about.get("filler", "")),
        kind=escape(about.get("kind", "")),
        card=_card_html(about),
        ordinary=f"{plausibility.ORDINARY:g}",
        far=f"{plausibility.FAR_OFF:g}",
        parts="".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in PARTS.items()),
        version=escape(ipmedgan_jax.__version__),
    )
    limits = {"ordinary": plausibility.ORDINARY, "far": plausibility.FAR_OFF}
    address = percent_encoded(folder, safe="")  # here, because JavaScript encodes no name that is not UTF-8
    data = {"report": about["report"], "folder": address, "limits": limits, "scans": scans}
    return document.document("Report of fills", body, styles=["fill_report.css"], scripts=SCRIPTS, data=data)


def _summary(scans: Sequence[Mapping[str, Any]]) -> str:
    """Returns how many scans are in which state."""
    states = [scan["state"] for scan in scans]
    texts = [f"{counted(states.count('filled'), 'scan')} filled"]
    texts += [
        f"{states.count(state)} {word}"
        for state, word in (("failed", "failed"), ("empty", "with nothing to fill"))
        if state in states
    ]
    warned = sum(bool(scan["warnings"]) for scan in scans)
    return ", ".join([*texts, *([f"{warned} with warnings"] if warned else [])])


def _rank(entry: Mapping[str, Any]) -> float:
    """Returns the place of an entry, worst first: failed ones, those without a figure, others by it, those without a fill."""
    figure = (entry.get("plausibility") or {}).get("figure", 0.0)
    above_all = 2 * plausibility.LARGEST
    return {"failed": float("inf"), "empty": -1.0}.get(entry["state"], above_all if figure is None else figure)


def _card_html(about: Mapping[str, Any]) -> str:
    if not about.get("source"):
        return "<p>A classical fill: it has learned nothing of anatomy.</p>"
    if not about.get("card"):
        return ""
    name = escape(Path(about.get("source", "")).name)
    return f"<details><summary>Card of the model {name}</summary><pre>{escape(about['card'])}</pre></details>"


_BODY = """
<header>
<h1>Report of fills</h1>
<p>{count}, by {filler} ({kind}{source}). <strong>What is filled in is invented. Not for diagnosis.</strong></p>
<p class="faint">Slices are shown in <strong>radiological</strong> convention: the subject's right (R) is on the left.
Of each plane the slice with most masked voxels is shown, pixels are square in millimetres. Below it is a voxel in the
middle of the mask: its millimetres to the right (R), left (L), front (A), back (P), top (S) or bottom (I), and its indices in
the file, from 0.</p>
{card}
<details><summary>How scans are sorted: the plausibility figure</summary>
<p>The figure tells how the fill differs from what surrounds it. It is the largest of five parts. Up to {ordinary}
the fill looks like its surroundings, higher is worse, {far} is far off. It does not tell whether the fill is right.
 Scans that failed come first, scans with nothing to fill last. Differences are those within
slices.</p>
<dl>{parts}</dl>
</details>
<details id="help"><summary>Keys</summary>
<ul class="keys">
<li><kbd>j</kbd> <kbd>k</kbd> or <kbd>&darr;</kbd> <kbd>&uarr;</kbd>: next, previous scan</li>
<li><kbd>space</kbd>: before / after</li>
<li><kbd>d</kbd> difference, <kbd>o</kbd> outline, <kbd>z</kbd> enlarge the masks</li>
<li><kbd>p</kbd> pass, <kbd>f</kbd> fail, <kbd>u</kbd> undo that, <kbd>n</kbd> write a note, <kbd>Esc</kbd> leave it</li>
</ul>
<p>Keys act on the scan that has the blue frame: the one with the focus, or the one that you scrolled to.
Pictures flicker between before and after while the pointer is on them; a touch switches them.</p>
</details>
</header>
<noscript><p class="warning">This page needs JavaScript to show the scans; it loads nothing from a network.</p></noscript>
<div class="bar" id="bar" role="toolbar" aria-label="What is shown">
<label>Sort <select id="sort"><option value="figure">worst first</option><option value="name">name</option>
<option value="volume">volume</option><option value="warnings">warnings</option></select></label>
<label>Show <select id="filter"><option value="all">all</option><option value="open">not looked at</option>
<option value="fail">failed by you</option><option value="pass">passed</option><option value="note">with a note</option>
<option value="warned">with warnings</option><option value="unfilled">not filled</option></select></label>
<button id="outline" aria-pressed="true">Outline</button>
<button id="difference" aria-pressed="false">Difference</button>
<button id="zoom" aria-pressed="false">Enlarge</button>
<button id="csv">Download CSV</button>
<span id="progress" role="status"></span>
<span class="legend" id="legend" hidden>Difference, after minus before: <span class="darker">darker</span>,
<span class="brighter">brighter</span>; the colour is full from half of the shown range of intensities on.</span>
</div>
<p id="storage" class="warning" hidden>This browser keeps nothing for this page: download the CSV before you close it.</p>
<main id="scans"></main>
<p id="none" hidden>No scan fits what is chosen under Show.</p>
<footer class="faint">Written by ipmedgan_jax {version}. The pictures lie beside this page and show the scans: treat the
report as you treat the scans.</footer>
"""
