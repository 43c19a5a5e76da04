"""The HTML of a run's report: what `run_report` gathers, as sections. Text from outside is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.experiment.published import Setting
from ipmedgan_jax.pages import document
from ipmedgan_jax.pages.document import escape
from ipmedgan_jax.training.health import Finding
from ipmedgan_jax.training.run_facts import Row

STATES = {"running": "running", "finished": "finished", "stopped": "stopped", "failed": "ended with an error"}
"""States of a run, with the words for them."""

HOW_TO_READ = "For values, point at a chart, or move to it with Tab and use the arrow keys."

REFERENCE = (
    "Numbers are means over the steps since the report before. Dashed vertical lines: a process resumed, or a phase began."
)


@dataclass(frozen=True)
class Content:
    """Everything that a report shows; texts are plain. `written` and `due` are seconds: since 1970, and to the next page."""

    name: str
    state: str
    detail: str
    step: int
    steps: int
    written: float
    due: float
    facts: Sequence[Row]
    findings: Sequence[Finding]
    charts: Sequence[Mapping[str, Any]]
    marks: Sequence[Mapping[str, Any]]
    examples: Sequence[tuple[int, str]]
    tiles: Sequence[str]
    settings: Sequence[Setting]
    published: str
    column: str
    data: Sequence[Row]
    environment: Sequence[Sequence[Row]]
    messages: Sequence[tuple[str, str]]
    scores: Mapping[str, Any] = field(default_factory=dict)


def page(content: Content) -> str:
    """Returns the report as one HTML page."""
    sections = [
        ("health", "Health", _findings(content.findings)),
        ("curves", "Curves", _curves(content.charts)),
        ("examples", "Examples through time", _examples(content.examples)),
        ("scores", "Scores", _scores(content.scores)),
        ("settings", f"Settings beside {content.published}", _settings(content.settings, content.column)),
        ("data", "Data", _table(content.data)),
        ("environment", "Environment", _environment(content.environment)),
        ("messages", "Messages", _messages(content.messages)),
    ]
    links = "".join(f'<a href="#the-{name}">{escape(title.split(" beside")[0])}</a>' for name, title, _ in sections)
    body = [_header(content), f'<nav aria-label="Sections">{links}</nav>', "<main>"]
    body += [f'<section id="the-{name}"><h2>{escape(title)}</h2>{inner}</section>' for name, title, inner in sections]
    data = {
        "state": {"name": content.state, "written": content.written, "due": content.due},
        "steps": content.steps,
        "charts": content.charts,
        "marks": content.marks,
        "tiles": content.tiles,
        "examples": [{"step": step, "file": file} for step, file in content.examples],
    }
    return document.document(
        f"{content.name}: training run",
        "\n".join([*body, "</main>"]),
        styles=("run.css",),
        scripts=("chart.js", "run.js"),
        data=data,
    )


def _header(content: Content) -> str:
    share = 100 * content.step / max(content.steps, 1)
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in content.facts)
    warnings = sum(finding.is_warning for finding in content.findings)
    look = f' <a class="state stopped" href="#the-health">{counted(warnings, "thing")} to look at</a>' if warnings else ""
    detail = f'<p class="warning">{escape(content.detail)}</p>' if content.detail else ""
    state = f'<span id="state" class="state {content.state}">{STATES[content.state]}</span>'
    age = '<span id="age">written at the last save</span>'
    return (
        f"<header><h1>{escape(content.name)} {state}{look}</h1>"
        f'<div class="bar"><div style="width:{share:.2f}%"></div></div>'
        f"<p>Step {content.step:,} of {content.steps:,} ({share:.0f} %) &middot; {age}</p>"
        f'<p id="silent" class="warning" hidden></p>{detail}<dl class="facts">{facts}</dl></header>'
    )


def _findings(findings: Iterable[Finding]) -> str:
    items = (
        f'<li class="{"warning" if finding.is_warning else "fine"}"><b>{"Look" if finding.is_warning else "OK"}</b> '
        f"{escape(finding.text)}</li>"
        for finding in findings
    )
    return f'<ul class="findings">{"".join(items)}</ul>'


def _curves(charts: Sequence[Mapping[str, Any]]) -> str:
    if not charts:
        return "<p>No curve yet: the first report comes after a few steps.</p>"
    drawn = any("means" in series for chart in charts for series in chart["series"])
    note = " Long curves keep the lowest and the highest point of each pixel column." if drawn else ""
    return (
        f'<p class="faint">{REFERENCE}{note} {HOW_TO_READ}</p>'
        '<p><label><input type="checkbox" id="smooth"> Smooth the curves</label></p><div id="charts" class="charts"></div>'
        "<noscript><p>The curves need JavaScript.</p></noscript>"
    )


def _examples(examples: Sequence[tuple[int, str]]) -> str:
    if not examples:
        return "<p>No picture yet: each validation draws one.</p>"
    last = len(examples) - 1
    step, file = examples[last]
    picture = f'<img src="{escape(file)}" alt="validation slices at step {step:,}" loading="lazy">'
    return (
        '<p class="faint">The same validation slices after each kept validation; pixels are not smoothed.</p>'
        '<div class="player"><button type="button" id="earlier">Earlier</button>'
        f'<label>Step <input type="range" id="when" min="0" max="{last}" value="{last}"></label>'
        f'<output id="when-step" for="when">{step:,}</output>'
        '<button type="button" id="later">Later</button>'
        '<label><input type="checkbox" id="fills-only"> Fills alone, larger</label></div>'
        f'<div id="tiles" class="tiles">{picture}</div>'
    )


def _scores(report: Mapping[str, Any]) -> str:
    if not report:
        return "<p>Not evaluated yet: <code>ipmedgan evaluate --workdir=...</code> does it and writes this page again.</p>"
    regions = {name: scores for name, scores in report["region"].items() if isinstance(scores, dict)}
    metrics = list(dict.fromkeys(metric for scores in regions.values() for metric in scores))
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in regions)
    rows = "".join(
        f'<tr><th scope="row">{escape(metric)}</th>'
        + "".join(f'<td class="number">{_score(scores.get(metric))}</td>' for scores in regions.values())
        + "</tr>"
        for metric in metrics
    )
    split = report.get("data", {}).get("split", "test") if isinstance(report.get("data"), dict) else "test"
    about = (
        f"Step {report.get('step')}: {counted(int(report.get('slices', 0)), 'slice')} of "
        f"{counted(int(report.get('subjects', 0)), f'{split} subject')}. Mean over subjects, with its 95 % interval."
    )
    table = f'<table><thead><tr><th scope="col">score</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    picture = '<p><img class="wide" src="evaluation/examples.png" alt="filled slices of the evaluation" loading="lazy"></p>'
    return f"<p>{escape(about)}</p>{_scrolling(table)}{picture}"


def _score(score: Any) -> str:
    if isinstance(score, int | float):
        return f"{score:.4g}"
    if not isinstance(score, dict) or not isinstance(score.get("mean"), int | float):
        return ""
    interval = score.get("ci95")
    between = f" <small>{interval[0]:.4g} to {interval[1]:.4g}</small>" if interval else ""
    return f"{score['mean']:.4g}{between}"


def _settings(settings: Sequence[Setting], column: str) -> str:
    changed = [setting for setting in settings if setting.is_changed]
    groups = [
        ("Changed, and a step computes something else", [setting for setting in changed if setting.changes_results]),
        ("Changed: data's place, length, logs, evaluation", [s for s in changed if s.is_used and not s.changes_results]),
        ("Changed, but no step of this system uses it", [setting for setting in changed if not setting.is_used]),
    ]
    found = "".join(f"<h3>{title} ({len(group)})</h3>{_settings_table(group, column)}" for title, group in groups if group)
    every = _settings_table(sorted(settings, key=lambda setting: setting.key), column)
    return f"{found}<details><summary>All {len(settings)} settings</summary>{every}</details>"


def _settings_table(settings: Sequence[Setting], column: str) -> str:
    rows = "".join(
        f'<tr{" class=changed" if setting.is_changed else ""}><th scope="row"><code>{escape(setting.key)}</code></th>'
        f"<td>{escape(setting.value)}</td><td>{escape(setting.published)}</td><td>{escape(setting.meaning)}</td></tr>"
        for setting in settings
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("setting", "this run", column, "meaning"))
    return _scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")


def _table(rows: Iterable[Row]) -> str:
    lines = (
        f'<tr{" class=warning" if name == "warning" else ""}><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return _scrolling(f"<table><tbody>{''.join(lines)}</tbody></table>")


def _environment(starts: Sequence[Sequence[Row]]) -> str:
    if not starts:
        return "<p>Not known: the run is older than this record.</p>"
    earlier = "".join(_table(start) for start in starts[1:])
    more = f"<details><summary>{counted(len(starts) - 1, 'earlier start')}</summary>{earlier}</details>" if earlier else ""
    return _table(starts[0]) + more


def _messages(messages: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<li><b>{escape(when)}</b> {escape(text)}</li>" for when, text in messages)
    return f'<ul class="messages">{items}</ul>' if items else "<p>No warning was recorded.</p>"


def _scrolling(table: str) -> str:
    """Returns a table that scrolls sideways on a narrow screen, by keyboard too."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table">{table}</div>'
