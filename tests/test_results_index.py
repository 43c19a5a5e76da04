"""results/INDEX.md names every file of results and every picture of docs/, and commits that the history has."""

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
