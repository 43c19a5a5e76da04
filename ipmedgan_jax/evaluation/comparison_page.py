"""The report of a comparison, `report.html`: tables that sort, figure, plots by subject, and each subject's slices.

The page is readable without JavaScript. All text of runs and subjects is escaped; pictures are named by numbers.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.evaluation import comparison_pictures, reports
from ipmedgan_jax.evaluation.comparison_notes import has_several_seeds, why_no_best
from ipmedgan_jax.evaluation.comparison_pictures import SlicePicture
from ipmedgan_jax.evaluation.comparison_tables import SUPPORTED_BEST, Table
from ipmedgan_jax.evaluation.seed_groups import SeedGroup
from ipmedgan_jax.evaluation.table_html import cell_html, column_class, scrolling_table, table_html
from ipmedgan_jax.experiment.checkpoint_scores import HIGHER_IS_BETTER
from ipmedgan_jax.pages import document
from ipmedgan_jax.pages.document import escape

FILE = "report.html"

METRICS = (*(column for column in reports.COLUMNS if column[1] != "kid"), ("MAE (HU)", "mae_hu", 1))
"""Metrics of the plots and of a subject's table: title, metric, decimals. KID has no value of a single subject."""

SLICE_METRICS = (("PSNR", "psnr", 1), ("SSIM", "ssim", 3))
"""Scores below each fill: title, metric, decimals."""

SECTIONS = (("tables", "Tables"), ("plots", "Scores by subject"), ("figure", "Slices"), ("subjects", "Each subject"))
"""Sections of the page: id, text of the link."""


_SHOWN_SEED = "A system with several seeds is shown by the first of its runs."
_PLOTTED_SEEDS = (
    "<p><small>A dot is a subject's mean over a system's seeds; the long thin marks are the means of its single seeds."
    "</small></p>\n"
)


def write(
    groups: Sequence[SeedGroup],
    tables: Sequence[Table],
    output: Path,
    *,
    reference: SeedGroup,
    cases: int,
    header: str,
    made: str,
) -> None:
    """Writes `report.html` and its pictures into the folder `output`.

    Args:
      groups: the systems with their runs, in the order of the rows.
      tables: the tables of table.md.
      reference: the system of the paired differences; the plot of two systems starts with it.
      cases: number of slices in the figure.
      header: what was scored, plain text.
      made: the provenance in one line, plain text.
    """
    examples = comparison_pictures.example_positions(groups, cases)
    subjects = comparison_pictures.subject_positions(groups)
    positions = comparison_pictures.all_positions(examples, subjects)
    pictures = comparison_pictures.write_pictures(groups, positions, output)
    body = "\n".join(
        [
            _head(groups, header, list(pictures.values())),
            _supported_note(groups),
            *(_table_section(i, table) for i, table in enumerate(tables)),
            _plots(groups),
            f"<div>{_figure(groups, [pictures[position] for position in examples])}",
            f"{_subjects(groups, subjects, pictures)}</div>",
            f'<footer class="faint"><code>{escape(made)}</code></footer>',
            "</main>",
        ]
    )
    title = f"Comparison of {counted(len(groups), 'system')}"
    assets = {"styles": ["tables.css", "compare.css"], "scripts": ["tables.js", "plots.js", "compare.js"]}
    page = document.document(title, body, **assets, data=_data(groups, reference))
    document.write(output / FILE, page)


def _head(groups: Sequence[SeedGroup], header: str, pictures: Sequence[SlicePicture]) -> str:
    """Returns the heading, what was scored, the links to the sections, and the note on pictures."""
    size = sum(picture.bytes for picture in pictures) / 1e6
    links = "".join(f'<a href="#{name}">{title}</a> ' for name, title in SECTIONS)
    note = (
        f"hold {counted(len(pictures), 'picture')} of subjects ({size:.1f} MB): pass them on only as far as the terms of the "
        "data allow."
    )
    return (
        f"<main><h1>Comparison of {counted(len(groups), 'system')}</h1>\n<p>{escape(header)}</p>\n"
        f'<p class="warning">This page and its folder <code>{comparison_pictures.FOLDER}/</code> {note}</p>\n'
        f'<nav aria-label="Sections">{links}</nav>\n<h2 id="tables">Tables</h2>'
    )


def _table_section(index: int, table: Table) -> str:
    """Returns a table with its title and note."""
    marked = f' <span class="supported"></span> marks {SUPPORTED_BEST}.' if table.supported else ""
    return (
        f'<section aria-labelledby="table-{index}"><h3 id="table-{index}">{escape(table.title)}</h3>\n'
        f"<p><small>{escape(table.note)}{marked}</small></p>\n{table_html(table)}</section>"
    )


def _supported_note(groups: Sequence[SeedGroup]) -> str:
    """Returns a line that says why no best value can be supported, if so."""
    reason = why_no_best(groups) if len(groups) > 1 else ""
    return f"<p><small>No best value is marked: {escape(reason)}.</small></p>" if reason else ""


def _figure(groups: Sequence[SeedGroup], pictures: Sequence[SlicePicture]) -> str:
    """Returns the figure: slices under every system, with the enlarged holes."""
    blocks = "\n".join(_slice(groups, picture) for picture in pictures)
    controls = (
        '<p id="view" hidden><label><input type="checkbox" id="show-whole" checked> whole slices</label> '
        '<label><input type="checkbox" id="show-hole" checked> enlarged holes</label> '
        '<label><input type="checkbox" id="show-outline" checked> outlines</label> '
        '<label>size <input type="range" id="tile-size" min="80" max="400" value="150"></label> '
        "<small>Press a fill, or Enter on it, to see the image in its place.</small></p>"
    )
    return (
        '<h2 id="figure">Slices under every system</h2>\n<p><small>As Fig. 2 of the paper: the same slices and holes for all '
        "systems; below each slice its hole is enlarged. The scores are those of the hole. "
        f"{_SHOWN_SEED if has_several_seeds(groups) else ''}</small></p>\n"
        f"{controls}\n{blocks}"
    )


def _slice(groups: Sequence[SeedGroup], picture: SlicePicture) -> str:
    """Returns the tiles of a slice: context, each system's fill with its scores, and image."""
    score = groups[0].first.scores[picture.position]
    captions = [(group.shown_label, _slice_scores(group.first.scores[picture.position])) for group in groups]
    if picture.is_complete:
        captions = [("context", ""), *captions, ("image", "")]
    (height, width), (row, column, rows, columns), (top, left, side) = picture.size, picture.hole, picture.square
    place = {"n": len(captions), "w": width, "h": height, "y": row, "x": column, "hh": rows, "hw": columns}
    style = ";".join(f"--{name}:{value}" for name, value in (place | {"cy": top, "cx": left, "s": side}).items())
    tiles = "".join(_tile(i, picture, *caption) for i, caption in enumerate(captions))
    where = f"{score.subject}, slice {score.index}" + (f" of {score.volume}" if score.volume != score.subject else "")
    kind = "tiles" if picture.is_complete else "tiles alone"
    return f'<div class="slice"><h4>{escape(where)}</h4><div class="{kind}" style="{style}">{tiles}</div></div>'


def _tile(i: int, picture: SlicePicture, title: str, scores: str) -> str:
    """Returns one tile: the picture's i-th part, whole and enlarged, with its caption."""
    image = f'<img loading="lazy" src="{picture.file}" alt="'
    whole = f'<span class="tile whole">{image}{escape(title)}"></span>' if picture.is_complete else ""
    hole = f'<span class="tile hole">{image}{escape(title)}, hole"></span>'
    caption = f"<figcaption>{escape(title)}{f'<br><small>{scores}</small>' if scores else ''}</figcaption>"
    return f'<figure style="--i:{i}">{whole}{hole}{caption}</figure>'


def _slice_scores(score: reports.SliceScore) -> str:
    """Returns a slice's scores in its hole, without those that were not taken."""
    found = [
        f"{title} {score.hole_scores[metric]:.{decimals}f}"
        for title, metric, decimals in SLICE_METRICS
        if metric in score.hole_scores
    ]
    return escape(", ".join(found))


def _taken(groups: Sequence[SeedGroup]) -> list[tuple[str, str, int]]:
    """Returns the METRICS that the runs were scored with."""
    return [entry for entry in METRICS if groups[0].estimate(entry[1])]


def _subject_names(groups: Sequence[SeedGroup]) -> list[str]:
    return sorted({score.subject for score in groups[0].first.scores})


def _plots(groups: Sequence[SeedGroup]) -> str:
    """Returns the plots' place and the table of the subjects' scores, which `compare.js` fills for the chosen metric."""
    title, metric, decimals = _first_metric(groups)
    values = [group.per_subject(metric) for group in groups]
    head = '<th scope="col">subject</th>' + "".join(
        f'<th scope="col" class="number">{escape(group.label)}</th>' for group in groups
    )
    rows = [
        f'<tr><th scope="row"><a href="#subject-{i}">{escape(subject)}</a></th>'
        f"{''.join(cell_html(f'{column[i]:.{decimals}f}') for column in values)}</tr>"
        for i, subject in enumerate(_subject_names(groups))
    ]
    table = scrolling_table(head, rows, "sortable", ' id="score-table"')
    return (
        f'<h2 id="plots">Scores by subject</h2>\n{_PLOTTED_SEEDS if has_several_seeds(groups) else ""}'
        '<div id="plot-controls" hidden></div><div id="plot-place"></div>\n'
        '<noscript><p><a href="subjects.png">subjects.png</a> shows the scores of every subject.</p></noscript>\n'
        '<details id="subject-scores"><summary>Table of scores in the hole, a row for each subject: '
        f'<span id="score-name">{title}</span></summary>{table}</details>'
    )


def _first_metric(groups: Sequence[SeedGroup]) -> tuple[str, str, int]:
    """Returns the metric that plots start with: PSNR, or the first that was taken."""
    taken = _taken(groups)
    return next((entry for entry in taken if entry[1] == "psnr"), taken[0])


def _subjects(groups: Sequence[SeedGroup], subjects: dict[str, list[int]], pictures: dict[int, SlicePicture]) -> str:
    """Returns a part for each subject, closed at first: its scores and its slices."""
    counts = Counter(score.subject for score in groups[0].first.scores)
    taken = _taken(groups)
    means = {metric: [group.per_subject(metric) for group in groups] for _, metric, _ in taken}
    parts = []
    for i, (subject, positions) in enumerate(subjects.items()):
        shown = [pictures[position] for position in positions]
        scores = _subject_table(groups, [[column[i] for column in means[metric]] for _, metric, _ in taken])
        slices = "".join(_slice(groups, picture) for picture in shown)
        parts.append(
            f"<details><summary>{escape(subject)} <small>{counted(counts[subject], 'hole')}, {_shown_text(shown)}</small>"
            f'</summary><div id="subject-{i}" tabindex="-1">{scores}{slices}</div></details>'
        )
    note = "Each subject's means over its holes, and some of its slices, evenly spread over those whose image a run has kept."
    if not all(picture.is_complete for picture in pictures.values()):
        note += (
            " The runs have kept no image of some subjects, which are shown by their fills alone: evaluate a run again with "
            "this version to have images of every subject with 8 or more holes."
        )
    return f'<h2 id="subjects">Each subject</h2>\n<p><small>{note}</small></p>\n<div id="subject-list">{"".join(parts)}</div>'


def _subject_table(groups: Sequence[SeedGroup], columns: Sequence[Sequence[float]]) -> str:
    """Returns the table of one subject's means in the hole, a row for each system; `columns` has their values by metric."""
    taken = _taken(groups)
    head = "".join(
        f'<th scope="col"{column_class(i)}>{title}</th>' for i, title in enumerate(["system", *(t for t, *_ in taken)])
    )
    rows = []
    for i, group in enumerate(groups):
        cells = [cell_html(f"{column[i]:.{decimals}f}") for column, (*_, decimals) in zip(columns, taken, strict=True)]
        rows.append(f'<tr><th scope="row">{escape(group.label)}</th>{"".join(cells)}</tr>')
    return scrolling_table(head, rows, "sortable")


def _shown_text(shown: Sequence[SlicePicture]) -> str:
    complete = all(picture.is_complete for picture in shown)
    return (
        f"{counted(len(shown), 'slice')} shown{'' if complete else ', fills alone: the runs kept no image of this subject'}"
    )


def _data(groups: Sequence[SeedGroup], reference: SeedGroup) -> dict[str, Any]:
    """Returns what the scripts draw: {"systems", "subjects", "pair", "first", "metrics": [...]}; null for no value.

    A metric's "values" are means over seeds `[systems][subjects]`, its "seeds" the means of each of several seeds.
    """
    metrics = []
    for title, metric, decimals in _taken(groups):
        scores = [group.scores_of(metric).values for group in groups]
        estimates = [group.estimate(metric) or {"mean": None, "ci95": None} for group in groups]
        metrics.append(
            {
                "title": title,
                "decimals": decimals,
                "higher": metric in HIGHER_IS_BETTER,
                "values": [_finite(values.mean(0)) for values in scores],
                "seeds": [_finite(values.mean(1)) if len(values) > 1 else [] for values in scores],
                "means": [estimate["mean"] for estimate in estimates],
                "intervals": [estimate["ci95"] for estimate in estimates],
            }
        )
    first = [entry[1] for entry in _taken(groups)].index(_first_metric(groups)[1])
    a = groups.index(reference)
    pair = [a, next((i for i in range(len(groups)) if i != a), a)]
    names = {"systems": [group.label for group in groups], "subjects": _subject_names(groups)}
    return names | {"pair": pair, "first": first, "metrics": metrics}


def _finite(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
