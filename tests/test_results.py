"""results/INDEX.md names every file of results, every picture of docs/, and commits; the page has the numbers of files."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS, DOCS = ROOT / "results", ROOT / "docs"
TEXT = (RESULTS / "INDEX.md").read_text()


def named(folder, text):
    """The files that the first column names: `a/b.md`, `.csv` is a/b.md and a/b.csv; `a/` is all files in a."""
    found = set()
    for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        last = Path()
        for name in re.findall(r"`([^`]+)`", cell):
            last = last.with_suffix(name) if name.startswith(".") else folder / name
            found |= set(last.rglob("*")) if last.is_dir() else {last}
    return found


def test_every_file_has_an_origin():
    results, pictures = TEXT.split("Pictures of `docs/`")
    assert named(RESULTS, results) == {path for path in RESULTS.rglob("*") if path.is_file()} - {RESULTS / "INDEX.md"}
    expected = set(DOCS.glob("*.png"))
    assert expected - named(DOCS, pictures) == {DOCS / "fills_2.png", DOCS / "fills_3.png"}  # between 1 and 4
    assert named(DOCS, pictures) <= expected


def git(*arguments):
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.skipif(git("rev-parse", "--is-shallow-repository").stdout != "false\n", reason="no complete history here")
def test_the_commits_exist():
    commits = set(re.findall(r"\b[0-9a-f]{7}\b", TEXT))
    assert len(commits) > 5
    assert not [commit for commit in sorted(commits) if git("merge-base", "--is-ancestor", commit, "HEAD").returncode]


def tables(text):
    """The rows of every table, the heading first."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]
    return [[row for row in block if not set(row[0]) <= {"-"}] for block in rows]


@pytest.mark.parametrize(
    ("section", "fewest"),
    [
        ("Three seeds", 12),
        ("What a segmentation makes of the fills", 28),
        ("What an attenuation map makes of the fills", 11),
        ("After 48,000 slices", 2),
    ],
)
def test_the_tables_of_the_page_are_those_of_the_files(section, fewest):
    text = (DOCS / "results.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    files = {DOCS / link for link in re.findall(r"\]\((\.\./results/[^)]+\.md)\)", text)}
    sources = [table for path in files for table in tables(path.read_text())]
    shown = [table for table in tables(text) if len(table) > 2]
    assert sum(len(table) - 1 for table in shown) >= fewest
    for heading, *body in shown:
        for row in body:
            known = [cells_under(heading, row[0], source) for source in sources]
            assert any(row[1:] == found for found in known), row


def cells_under(heading, name, source):
    """The cells that a source has for this name and these headings; a correlation's heading names a score and a level."""
    rows = [dict(zip(source[0], row, strict=True)) for row in source[1:] if row[0] == name.split(": ")[-1]]
    if ": " not in name:
        return [row.get(title) for row in rows[:1] for title in heading[1:]]
    of_score = {row.get("score"): row for row in rows}
    wanted = [title.replace(" or SSIM", "").replace("VGG distance", "VGG").partition(", ")[::2] for title in heading[1:]]
    return [of_score.get(score, {}).get(f"rho, {level or '12 systems'}") for score, level in wanted]
