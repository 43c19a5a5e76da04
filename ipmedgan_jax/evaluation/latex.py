r"""Tables for LaTeX that fit the text of an article: `\input{table}` needs no package.

A cell has its mean in the first line and its interval, smaller, in the second. A table wider than the text is divided: each
part has the first column and as many others as fit.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

HEAD = r"""% \input this file in an article. It needs no package. If booktabs is loaded before, the rules are booktabs'.
\providecommand{\toprule}{\hline}
\providecommand{\midrule}{\hline}
\providecommand{\bottomrule}{\hline}
"""

TEXT_WIDTH = 345.0
"""Width of the text of a one-column article at 10 pt, in points."""

GAP = 6.0
"""Points between two columns."""

LONGEST_NAME = 100.0
"""Points from which on a name with brackets is set in two lines."""

SMALL = 0.95
"""Width of the type of the second line, relative to the first."""

ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "{}#$%&_"},
    **{"^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$"},
}


class Cell(NamedTuple):
    """The two lines of a cell as plain text; the second may be empty."""

    first: str
    second: str = ""


def latex(
    title: str, note: str, heading: Sequence[str], rows: Sequence[Sequence[str]], *, bold: Collection[tuple[int, int]]
) -> str:
    """Returns a table as one or more floats.

    Args:
      title, note: the caption; the note stands below the first part only.
      heading, rows: the cells as text; numbers as `reports.cell` writes them.
      bold: (row, column) of the cells whose mean is set in bold.
    """
    cells = [[_name(row[0]), *map(_number, row[1:])] for row in rows]
    parts = list(_parts(heading, cells))
    floats = []
    for i, columns in enumerate(parts):
        caption = f"{title}. {note}" if i == 0 else f"{title}, continued."
        body = [_heading_lines([heading[column] for column in columns])]
        for j, row in enumerate(cells):
            body.append(_row_lines([(row[column], (j, column) in bold) for column in columns]))
        floats.append(_float(escape(caption), len(columns), body))
    return "\n".join(floats)


def escape(text: str) -> str:
    """Returns plain text for LaTeX."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _float(caption: str, columns: int, body: Sequence[str]) -> str:
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n"
        f"\\footnotesize\n\\setlength{{\\tabcolsep}}{{{GAP / 2:g}pt}}\n"
        f"\\begin{{tabular}}{{@{{}}l{'r' * (columns - 1)}@{{}}}}\n\\toprule\n{body[0]}\\midrule\n{''.join(body[1:])}"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def _parts(heading: Sequence[str], cells: Sequence[Sequence[Cell]]) -> Iterator[list[int]]:
    """Yields the columns of each part of a table: the first, and as many others as the text is wide."""
    widths = [
        max(_width(Cell(*title.split(", ", 1))), *(_width(row[column]) for row in cells)) + GAP
        for column, title in enumerate(heading)
    ]
    part = [0]
    for column in range(1, len(heading)):
        if len(part) > 1 and sum(widths[chosen] for chosen in part) + widths[column] > TEXT_WIDTH:
            yield part
            part = [0]
        part.append(column)
    yield part


def _name(text: str) -> Cell:
    """Divides a long name before its last bracket."""
    first, bracket, second = text.rpartition(" (")
    return Cell(first, f"({second}") if bracket and _line_width(text) > LONGEST_NAME else Cell(text)


def _number(text: str) -> Cell:
    """Divides `mean [low, high], p P` into `mean, p P` and the interval; `one seed` may be in the place of p."""
    found = re.fullmatch(r"(\S+) (\[.*?\])(, (?:p .*|one seed))?", text)
    return Cell(found[1] + (found[3] or ""), found[2]) if found else Cell(text)


def _heading_lines(titles: Sequence[str]) -> str:
    lines = [[escape(line) for line in (*title.split(", ", 1), "")[:2]] for title in titles]
    second = " & ".join(line[1] for line in lines)
    return " & ".join(line[0] for line in lines) + " \\\\\n" + (f"{second} \\\\\n" if any(line[1] for line in lines) else "")


def _row_lines(row: Sequence[tuple[Cell, bool]]) -> str:
    (name, _), *numbers = row
    firsts = [f"{{{escape(name.first)}}}"]  # in braces: behind \\ LaTeX takes [ for an argument
    for cell, is_bold in numbers:
        firsts.append(f"\\textbf{{{_signs(cell.first)}}}" if is_bold else _signs(cell.first))
    seconds = [escape(name.second), *(_signs(cell.second) for cell, _ in numbers)]
    lines = " & ".join(firsts) + " \\\\\n"
    if any(seconds):
        lines += " & ".join(f"{{\\scriptsize {text}}}" if text else "" for text in seconds) + " \\\\\n"
    return lines


def _signs(text: str) -> str:
    """Escapes a number, with a minus sign for its hyphen; a lone hyphen becomes a dash."""
    return "--" if text == "-" else re.sub(r"(?<![\w-])-(?=[\d.])", "$-$", escape(text)).replace(", p ", ", $p$ ")


def _width(cell: Cell) -> float:
    return max(_line_width(cell.first), SMALL * _line_width(cell.second))


def _line_width(text: str) -> float:
    """Returns at least the width in points of a line of 8 pt Computer Modern, bold or not."""
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> float:
    if character in ".,:;'()[]|!il ":
        return 3.3
    if character.isupper() or character in "+-<>mw%&":
        return 7.6 if character not in "MW" else 9.4
    return 4.9
