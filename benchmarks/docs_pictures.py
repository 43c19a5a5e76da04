"""Makes the pictures of the README and of docs/ from data that may be shown: the phantom, and scans under CC BY.

  python -m benchmarks.docs_pictures --scans='DIR/**/*_FLAIR.nii.gz' --subject=DIR/sub-12_ses-1_FLAIR.nii.gz
  python -m benchmarks.docs_pictures --only=docs/compare.png --output=/tmp/pictures

`PICTURES` lists every picture with its source, its terms and what makes it. A picture whose flag is missing is skipped, and
the command says which flag it needs. A test compares the list with the pictures that the pages show. Look at every picture
before you publish it.

To add one: a row in `PICTURES` with a function `make(given, path)`. `run` calls a command of the package, and `screenshot`
shows an HTML file or an address in Chromium (needs `playwright`, of the extra `test`, and a Chromium on the machine).
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags
from PIL import Image

from benchmarks import view_pictures
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.evaluation import figures

ROOT = Path(__file__).parents[1]

PHANTOM = "the head phantom of this package"

LESJAK = "scan of subject 12 of Lesjak et al., Neuroinformatics 2016"

MS3SEG = "scans of Bashiri Bawil et al., MS3SEG, figshare 30393475"

OWN = "Apache-2.0, as the package"

CHROMIUM = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""For root, and for WebGL2 without a graphics card."""


@dataclass(frozen=True)
class Given:
    """What the flags give: paths and patterns by name, and a folder for what is needed in between."""

    flags: dict[str, str | None]
    work: Path

    def __getitem__(self, name: str) -> str:
        value = self.flags[name]
        assert value is not None, name  # `missing` was asked first
        return value


@dataclass(frozen=True)
class Picture:
    """A picture of the pages: its file in the repository, what it was made from, and under which terms it may be shown.

    `make(given, path)` writes it to `path`. `needs` names the flags without which it is skipped. A command may write several
    pictures at once: `further` are the other files, beside `path`.
    """

    file: str
    source: str
    terms: str
    make: Callable[[Given, Path], None]
    needs: tuple[str, ...] = ()
    further: tuple[str, ...] = ()

    def missing(self, given: Given) -> list[str]:
        """Returns the flags that are needed and not given."""
        return [name for name in self.needs if not given.flags[name]]


def run(module: str, *arguments: str) -> None:
    """Runs `python -m MODULE`. UserError if it fails."""
    command = [sys.executable, "-m", module, *arguments]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"failed: {' '.join(command[1:])}")


def screenshot(
    address: str | Path,
    path: Path,
    *,
    width: int = 1200,
    height: int = 800,
    dark: bool = False,
    prepare: Callable[[Any], None] | None = None,
) -> None:
    """Writes what Chromium shows of an address or an HTML file, `width` x `height` pixels.

    The picture has 256 colours at most. `prepare(page)` may use the page first, for example
    `lambda page: page.click("#open")`; `page` is Playwright's.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise UserError("a screenshot needs playwright: pip install -e '.[test]'") from error
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        raise UserError("a screenshot needs Chromium on the machine")
    path.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(CHROMIUM))
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.goto(address.absolute().as_uri() if isinstance(address, Path) else address)
        if prepare:
            prepare(page)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=path)
        browser.close()
    with Image.open(path) as shown:
        shown.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


# ------------------------------------------------------------------ the pictures


def make_fill(given: Given, path: Path) -> None:
    run("benchmarks.fill_picture", "flair", f"--scan={given['subject']}", f"--output={path}")


FILL_TILE, SECOND_ROW, FILL_STEP = (193, 256), (161, 312), 201
"""Pixels of docs/fill.png: a tile, the corner of the second row's first tile, and the distance of tiles."""


def make_before_after(given: Given, path: Path) -> None:
    """Cuts the second row of docs/fill.png: image, context and inpainted, enlarged twice."""
    source = path.parent / "fill.png"
    if not source.exists():
        source = ROOT / "docs" / "fill.png"
    width, height = FILL_TILE
    left, top = SECOND_ROW
    page = Image.new("RGB", (2 * 3 * width + 2 * figures.GAP, 2 * height), (16, 18, 24))
    with Image.open(source) as fill:
        for i in range(3):
            tile = fill.convert("RGB").crop((left + i * FILL_STEP, top, left + i * FILL_STEP + width, top + height))
            page.paste(tile.resize((2 * width, 2 * height), Image.Resampling.BICUBIC), (i * (2 * width + figures.GAP), 0))
    figures.write_png(page, path)


def make_fills(given: Given, path: Path) -> None:
    """Writes fills_1.png to fills_4.png, and the page fills.md that shows them."""
    output = path.parent / "fills.md"
    outlines = [f"--masks={given.flags['masks']}"] if given.flags["masks"] else []
    credit = f"Scans: {LESJAK.removeprefix('scan of ')}, CC BY; {MS3SEG.removeprefix('scans of ')}, CC BY 4.0."
    run("benchmarks.fill_page", "flair", f"--scans={given['scans']}", *outlines, f"--output={output}", f"--credit={credit}")


def make_demo(given: Given, path: Path) -> None:
    """Copies the picture that launch/demo.sh makes in ten minutes."""
    shutil.copyfile(user_path(given["demo"]) / "evaluation" / "examples.png", path)


def make_long_run(given: Given, path: Path) -> None:
    """Trains for the given number of steps; docs/long_run.png shows 20,000, which take hours."""
    run("benchmarks.soak", "--parts=long_run", f"--pictures={path.parent}", f"--count={given['long_run_steps']}")


def make_compare(given: Given, path: Path) -> None:
    """Scores classical fills on the phantom and shows the report of their comparison."""
    runs = [given.work / "compare" / system for system in ("telea", "laplace", "biharmonic")]
    for folder in runs:
        settings = ("--config=demo", "--config.evaluation.split=validation")
        run("ipmedgan_jax.evaluate", *settings, f"--system={folder.name}", f"--workdir={folder}")
    run("ipmedgan_jax.compare", *map(str, runs), f"--output={given.work / 'compare' / 'out'}")
    screenshot(given.work / "compare" / "out" / "report.html", path, width=1100, height=860, prepare=_show_a_subject)


def make_report(given: Given, path: Path) -> None:
    run("benchmarks.report_picture", "--model=flair", f"--output={path}")


def make_view(given: Given, path: Path) -> None:
    """Shows the page of `view` while a hole is drawn; docs/view_fill.png shows its fill."""
    _photograph_view(path, view_pictures.paint)


def make_view_fill(given: Given, path: Path) -> None:
    _photograph_view(path, view_pictures.fill)


def _photograph_view(path: Path, prepare: Callable[[Any], None]) -> None:
    with view_pictures.page_address() as address:
        screenshot(address, path, width=1180, height=760, prepare=prepare)


def make_run_report(given: Given, path: Path) -> None:
    """Trains a U-Net on the phantom for a minute and shows the report of the run."""
    workdir = given.work / "unet"
    lengths = {"steps": 400, "validate_every": 25, "checkpoint_every": 200, "log_every": 4}
    settings = (f"--config.train.{key}={value}" for key, value in lengths.items())
    run("ipmedgan_jax.main", "--config=demo:unet", f"--workdir={workdir}", *settings)
    screenshot(workdir / "report.html", path, width=1100, height=1150)


def _show_a_subject(page: Any) -> None:
    """Opens a subject's slices in a comparison's report; `page` is Playwright's."""
    page.select_option("#plot-subject", "1")
    page.click("#open-subject")


PICTURES = (
    Picture("docs/fill.png", LESJAK, "CC BY", make_fill, needs=("subject",)),
    Picture("docs/before_after.png", LESJAK, "CC BY", make_before_after),
    Picture(
        "docs/fills_1.png",
        f"{LESJAK}; {MS3SEG}; slices above the orbits",
        "CC BY",
        make_fills,
        needs=("scans",),
        further=("docs/fills_2.png", "docs/fills_3.png", "docs/fills_4.png"),
    ),
    Picture("docs/demo.png", PHANTOM, OWN, make_demo, needs=("demo",)),
    Picture("docs/compare.png", PHANTOM, OWN, make_compare),
    Picture("docs/report.png", PHANTOM, OWN, make_report),
    Picture("docs/view.png", PHANTOM, OWN, make_view),
    Picture("docs/view_fill.png", PHANTOM, OWN, make_view_fill),
    Picture("docs/run_report.png", PHANTOM, OWN, make_run_report),
    Picture("docs/long_run.png", "a training of this package", OWN, make_long_run, needs=("long_run_steps",)),
)
"""All pictures in docs/, in the order in which they are made: docs/before_after.png is cut from docs/fill.png."""

RESULTS = {
    "results/flair_small_long/curves.png": "scores of launch/long_table.sh, no image of a subject",
    "results/flair_small_long/short/subjects.png": "scores of launch/table1.sh, no image of a subject",
}
"""Pictures that pages show from results/, which the commands that are named there write."""


def main() -> None:
    options = flags.FLAGS
    files = [picture.file for picture in PICTURES]
    for name in options.only:
        if name not in files:
            raise UserError(f"--only={name}: expected some of {', '.join(files)}{suggestion(name, files)}")
    made = 0
    with tempfile.TemporaryDirectory() as work:
        given = Given({name: getattr(options, name) for name in FLAGS}, Path(work))
        for picture in PICTURES:
            if options.only and picture.file not in options.only:
                continue
            if missing := picture.missing(given):
                print(f"skipped {picture.file}: needs {', '.join(f'--{name}' for name in missing)}")
                continue
            path = user_path(options.output) / picture.file
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.make(given, path)
            print(f"made {path} ({picture.source}; {picture.terms})")
            made += 1
    if not made:
        raise UserError("no picture made: give the flags that are named above")


FLAGS = {
    "subject": "NIfTI file of the FLAIR scan of docs/fill.png",
    "scans": "pattern of the FLAIR scans of docs/fills_*.png",
    "masks": "pattern of lesion masks of other patients, for docs/fills_*.png; without it, squares alone",
    "demo": "folder of the run that launch/demo.sh trained",
    "long_run_steps": "steps of the training that docs/long_run.png shows: 20000 there, which take hours",
}


def define_flags() -> None:
    for name, text in FLAGS.items():
        flags.DEFINE_string(name, None, text)
    flags.DEFINE_list("only", [], "files of the pictures to make, as the list names them; by default all")
    flags.DEFINE_string("output", str(ROOT), "folder that gets docs/*.png; by default this repository")


if __name__ == "__main__":
    run_command(main, define_flags)
