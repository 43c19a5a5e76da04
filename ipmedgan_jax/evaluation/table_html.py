"""Tables of a comparison as HTML; `tables.js` makes their columns sortable, and without it they are plain tables."""

import re
from collections.abc import Sequence

from ipmedgan_jax.evaluation.comparison_tables import Table
from ipmedgan_jax.pages.document import escape

_CELL = re.compile(r"(?P<value>.*?)(?P<further>(?: \[[^\]]*\])?(?:, (?:p .*|one seed))?)")
"""A cell of a table: its value, then its interval and p, if any."""

_NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def table_html(table: Table) -> str:
    """Returns a table as HTML; `tables.js` makes its columns sortable. A cell's number is in `data-sort`."""
    head = "".join(f'<th scope="col"{column_class(column)}>{escape(name)}</th>' for column, name in enumerate(table.heading))
    rows = []
    for i, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        cells += [cell_html(text, supported=(i, column) in table.supported) for column, text in enumerate(row[1:], 1)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return scrolling_table(head, rows, "sortable")


def scrolling_table(head: str, rows: Sequence[str], kind: str, identity: str = "") -> str:
    """Returns a table that scrolls sideways where it is wider than the page."""
    body = "\n".join(rows)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="table"><table class="{kind}"{identity}>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def column_class(column: int) -> str:
    """Returns the attribute of a heading: all columns but the first hold numbers."""
    return ' class="number"' if column else ""


def cell_html(text: str, *, supported: bool = False) -> str:
    """Returns a cell with its value, interval and p; its text stays that of table.md."""
    found = _CELL.fullmatch(text)
    value, further = (text, "") if found is None else (found["value"], found["further"])
    parts = f"<b>{escape(value)}</b>" if supported else escape(value)
    if further:
        parts += f'<span class="interval">{escape(further)}</span>'
    number = sort_value(text)
    sort = "" if number is None else f' data-sort="{number!r}"'
    return f'<td class="number{" supported" if supported else ""}"{sort}>{parts}</td>'


def sort_value(text: str) -> float | None:
    """Returns the number that a cell is sorted by: its first one; None for a cell without one, which is always last."""
    found = _NUMBER.match(text)
    return float(found[0].replace(",", "")) if found else None
