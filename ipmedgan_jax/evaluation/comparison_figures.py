"""Figures of a comparison: fills side by side, and the scores of every subject."""

from collections.abc import Sequence
from pathlib import Path

from ipmedgan_jax.data.holes import box_mask, context_image
from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.evaluation.dot_plot import Panel, dot_plot
from ipmedgan_jax.evaluation.print_figure import print_figure
from ipmedgan_jax.evaluation.seed_groups import SeedGroup

PANELS = (("SSIM", "ssim"), ("PSNR (dB)", "psnr"), ("VGG distance", "vgg_distance"))
"""Panels of subjects.png: title, metric."""


def figure(groups: Sequence[SeedGroup], directory: Path, *, cases: int) -> None:
    """Writes a figure like the paper's Fig. 2: a row for each slice, with context, each system's fill, and the image.

    It is figure.png for the screen and figure.pdf for print. A system with several seeds is shown by the first of its runs.
    """
    first = groups[0].first.fills
    rows = []
    for example in range(min(cases, len(first.shown))):
        index = int(first.shown[example])
        image, hole = first.image[example], first.hole[index]
        context = context_image(image, box_mask(hole, image.shape), -1.0)
        filled = [(group.shown_label, first.inpainted(example, group.first.fills.fill[index])) for group in groups]
        tiles = (("context", context), *filled, ("image", image))
        caption = (str(first.subject[index]), f"slice {int(first.index[index])}")
        rows.append(figures.Row(caption, tiles, (int(hole[0]), int(hole[1]), int(hole[2]), int(hole[3]))))
    figures.example_grid(rows, directory / "figure.png", tile=192)
    print_figure(rows, directory / "figure.pdf")


def scatter(groups: Sequence[SeedGroup], directory: Path) -> None:
    """Writes subjects.png and subjects.pdf, a dot plot: a system's mean for each subject over its seeds, and its mean of all.

    Of several seeds the mean of each is a thin mark.
    """
    panels = [
        Panel(f"{title}, in the hole", tuple(group.scores_of(metric).values for group in groups))
        for title, metric in PANELS
        if groups[0].estimate(metric)
    ]
    names = [group.label for group in groups]
    dot_plot(panels, names, directory / "subjects.png", directory / "subjects.pdf")
