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


def rows(text):
    """The cells of every table's rows."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize(("section", "fewest"), [("Three seeds", 12), ("What a segmentation makes of the fills", 28)])
def test_the_tables_of_the_page_are_those_of_the_files(section, fewest):
    text = (DOCS / "results.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    files = {DOCS / link for link in re.findall(r"\]\((\.\./results/[^)]+\.md)\)", text)}
    tables = [rows(path.read_text()) for path in files]
    shown = [row for row in rows(text) if re.search(r"\d", row[-1])]
    assert len(shown) >= fewest
    for row in shown:
        if ": " in row[0]:  # one row of the page for several of the file: an error, and the image scores
            known = [{cell for source in table if source[0] == row[0].split(": ")[1] for cell in source} for table in tables]
            assert any(set(row[1:]) <= cells for cells in known), row
        else:
            assert any(row[0] == source[0] and set(row) <= set(source) for table in tables for source in table), row
