"""The front page and the docs: links, length, and the commands, flags, settings, names and numbers in them are true."""

import ast
import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from ipmedgan_jax import bids
from ipmedgan_jax.configs import base
from ipmedgan_jax.core.program import MODULES

ROOT = Path(__file__).parents[1]
OTHERS = ("CONTRIBUTING.md", "launch/README.md", "benchmarks/README.md", "results/INDEX.md")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *map(ROOT.joinpath, OTHERS)]
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]

LONGEST = 130
"""Lines of the front page."""

FLAGS_OF_OTHERS = {"array", "check", "signal", "gpus-per-task", "shm-size", "help", "version", "xla_gpu_deterministic_ops"}

pages = pytest.mark.parametrize("page", PAGES, ids=NAMES)


# ------------------------------------------------------------------ reading a page


def prose(page):
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_lines(page):
    """The words of each line in a fenced block without a language; comments left out, continued lines joined."""
    text = re.sub(r"^```\w+\n.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for block in re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True)


def command_of(words):
    """(module, flags) of a line that runs a command of this project; None for other lines."""
    if words[:1] == ["ipmedgan"] and words != ["ipmedgan", "--version"]:
        return f"ipmedgan_jax.{MODULES[words[1]]}", words[2:]
    if words[:1] == ["ipmedgan-bids"]:
        return "ipmedgan_jax.bids", words[1:]
    for i, word in enumerate(words):
        if word == "-m" and words[i + 1].startswith(("ipmedgan_jax.", "benchmarks.")):
            return words[i + 1], words[i + 2 :]
        if word in ("launch/slurm.sbatch", "launch/local.sh"):
            return "ipmedgan_jax.main", words[i + 1 :]
    return None


# ------------------------------------------------------------------ tests


def test_the_front_page_fits():
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST


@pages
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    assert links
    for link in links:
        if not link.startswith(("http://", "https://")):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_front_page_links_to_every_page():
    front = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in front, page


@pages
def test_commands_take_their_flags(page, monkeypatch):
    """Config files are loaded and values parsed; nothing is run."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    for words in shell_lines(page):
        if command := command_of(words):
            module, arguments = command
            if module == "ipmedgan_jax.bids":  # a BIDS App has arguments of its own kind
                bids.parse(arguments)
                continue
            monkeypatch.setattr(sys, "argv", [module, *arguments])
            with flagsaver.flagsaver():
                importlib.import_module(module).define_flags()
                flags.FLAGS(sys.argv)
                if "config" in flags.FLAGS:
                    assert flags.FLAGS.config is None or flags.FLAGS.config.system, words


@pages
def test_scripts_exist_and_take_their_options(page):
    for words in shell_lines(page):
        for i, word in enumerate(words):
            if word.startswith("launch/") and not word.endswith("Dockerfile"):
                script = (ROOT / word).read_text() + (ROOT / "launch/runs.sh").read_text()
                for option in words[i + 1 :]:
                    name = option.partition("=")[0]
                    known = not option.startswith("--") or name.startswith("--config.") or re.search(rf"{name}[= ]", script)
                    assert known or word.endswith((".sbatch", "local.sh")), words


@pages
def test_flags_and_settings_named_in_the_text_exist(page):
    """Code spans that begin with `--`, and those that are a dotted key of the config."""
    sources = [*(ROOT / "ipmedgan_jax").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "launch").glob("*.sh")]
    code = "".join(path.read_text() for path in sources)
    known = (
        set(re.findall(r'DEFINE(?:_\w+)?\(\s*(?:\w+\()?(?:\),\s*)?"(\w+)"', code))
        | set(re.findall(r"--(\w+)=\*\)", code))
        | {f"no{name}" for name in re.findall(r'DEFINE_boolean\(\s*"(\w+)"', code)}
        | set(re.findall(r'"--([a-z][\w-]*)"', code))
        | {f"no-{name}" for name in re.findall(r'"--([\w-]+)",\s*action=argparse.BooleanOptionalAction', code)}
        | FLAGS_OF_OTHERS
    )
    config = base.get_config()
    for span in re.findall(r"`([^`\n]+)`", prose(page).replace("NAME", "")):
        for name in re.findall(r"(?:^| )--([a-z][\w-]*)", span):
            assert name in known, span
        for group, key in re.findall(r"(?:^|--config\.)([a-z]\w*)\.(\w+)(?==|$)", span):
            if group in config and key not in ("py", "md", "json"):
                assert key in config[group], span


@pages
def test_files_and_names_of_the_code_exist(page):
    """Table rows of a path and of names in it, and paths in code spans."""
    package = ROOT / "ipmedgan_jax"
    for path, names in re.findall(r"\| `([\w/]+\.py)` \| ((?:`[\w.]+`(?:, )?)+) \|", page.read_text()):
        known = names_in(package / path)
        for name in re.findall(r"`([\w.]+)`", names):
            assert name in known, f"{path}: {name}"
    for path in re.findall(r"`((?:\w+/)+\w+\.(?:py|sh|md|yaml|sbatch))`", prose(page).replace("NAME", "*")):
        assert (ROOT / path).exists() or (package / path).exists() or (page.parent / path).exists(), path


@pages
def test_programs_import_what_exists(page):
    for program in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), alias.name


def names_in(path):
    """Functions, classes and methods of a module."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def test_the_front_pages_results_are_those_of_the_table():
    sections = re.split(r"^## (\w+): .*$", (ROOT / "results/own_grid/lgg.md").read_text(), flags=re.MULTILINE)
    tables = {
        kind: {row[0]: row for line in text.split("| VGG distance over")[0].splitlines() if len(row := cells(line)) == 9}
        for kind, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    printed = [row for line in (ROOT / "README.md").read_text().splitlines() if len(row := cells(line)) == 7][1:]
    rows = [row for row in printed if row[1] in ("`flair`", "Laplace", "Telea")]
    assert len(rows) == 6
    kind = ""
    for holes, fill, psnr, mae, vgg, kid, sharpness in rows:
        kind = {"lesion outlines": "lesions", "squares of 64 x 64": "squares64", "": kind}[holes]
        row = tables[kind][fill.strip("`").lower()]
        assert (psnr, vgg) == (row[1], row[4])
        assert numbers(mae) == pytest.approx(numbers(row[2]), abs=0.051)
        assert (kid, sharpness) == (row[6].split()[0], row[5].split()[0])


def cells(line):
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


OURS_ALONE = re.compile(r"\.\./shared|(?<![\w.])/work/|/root/|flair_lgg|flair_open_ms|pytorch_ipmedgan")
"""Files and folders of the machine on which this repository was written."""

TEXTS = sorted(
    path
    for place in ("*.md", "docs", "results", "benchmarks", "launch", "configs", "ipmedgan_jax")
    for root in ROOT.glob(place)
    for path in (root.rglob("*") if root.is_dir() else [root])
    if path.is_file() and path.suffix in {"", ".md", ".py", ".sh", ".sbatch", ".yaml", ".txt", ".csv", ".tex"}
)


def test_the_architecture_lists_every_command():
    (row,) = re.findall(r"^\| (`main\.py`.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)\.py`", row)) == set(MODULES.values())


def test_no_text_names_files_that_no_reader_has():
    assert len(TEXTS) > 100
    found = {str(path.relative_to(ROOT)): OURS_ALONE.findall(path.read_text()) for path in TEXTS}
    assert not {name: names for name, names in found.items() if names}
