"""Figures of evaluated runs: fills side by side, and the scores of every subject."""

from collections.abc import Sequence
from pathlib import Path

from ipmedgan_jax.data.holes import box_mask, context_image
from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.evaluation.dot_plot import Panel, dot_plot
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.print_figure import print_figure

PANELS = (("SSIM", "ssim"), ("PSNR (dB)", "psnr"), ("VGG distance", "vgg_distance"))
"""Panels of subjects.png: title, metric."""


def figure(runs: Sequence[Run], directory: Path, *, cases: int) -> None:
    """Writes a figure like the paper's Fig. 2: a row for each slice, with context, each system's fill, and the image.

    It is figure.png for the screen and figure.pdf for print.
    """
    first = runs[0].fills
    rows = []
    for example in range(min(cases, len(first.shown))):
        index = int(first.shown[example])
        image, hole = first.image[example], first.hole[index]
        context = context_image(image, box_mask(hole, image.shape), -1.0)
        filled = [(run.label, first.inpainted(example, run.fills.fill[index])) for run in runs]
        tiles = (("context", context), *filled, ("image", image))
        caption = (str(first.subject[index]), f"slice {int(first.index[index])}")
        rows.append(figures.Row(caption, tiles, (int(hole[0]), int(hole[1]), int(hole[2]), int(hole[3]))))
    figures.example_grid(rows, directory / "figure.png", tile=192)
    print_figure(rows, directory / "figure.pdf")


def scatter(runs: Sequence[Run], directory: Path) -> None:
    """Writes subjects.png and subjects.pdf, a dot plot: each system's mean for each subject, and its mean over subjects."""
    panels = [
        Panel(f"{title}, in the hole", tuple(run.per_subject(metric) for run in runs))
        for title, metric in PANELS
        if runs[0].estimate(metric)
    ]
    names = [run.label for run in runs]
    dot_plot(panels, names, directory / "subjects.png", directory / "subjects.pdf")
