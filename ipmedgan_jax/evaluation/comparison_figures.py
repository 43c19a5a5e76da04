"""Figures of evaluated runs: fills side by side, and every subject's scores."""

from collections.abc import Sequence
from pathlib import Path

from ipmedgan_jax.data.holes import box_mask, context_image
from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.evaluation.dot_plot import Panel, dot_plot
from ipmedgan_jax.evaluation.evaluated_runs import Run

SCATTERED = (("SSIM", "ssim"), ("PSNR (dB)", "psnr"), ("VGG distance", "vgg_distance"))


def figure(runs: Sequence[Run], path: Path, *, cases: int) -> None:
    """The paper's Fig. 2: a row a case; context, each system's fill, and the image."""
    first = runs[0].fills
    rows = []
    for example in range(min(cases, len(first.shown))):
        which = int(first.shown[example])
        image, hole = first.image[example], first.hole[which]
        context = context_image(image, box_mask(hole, image.shape), -1.0)
        filled = [(run.label, first.inpainted(example, run.fills.fill[which])) for run in runs]
        tiles = (("context", context), *filled, ("image", image))
        caption = (str(first.subject[which]), f"slice {int(first.index[which])}")
        rows.append(figures.Row(caption, tiles, (int(hole[0]), int(hole[1]), int(hole[2]), int(hole[3]))))
    figures.example_grid(rows, path, tile=192)


def scatter(runs: Sequence[Run], path: Path) -> None:
    """Each subject's mean in each system, one dot each, and the mean over subjects."""
    panels = [
        Panel(f"{title}, in the hole", tuple(run.per_subject(metric) for run in runs))
        for title, metric in SCATTERED
        if runs[0].estimate(metric)
    ]
    dot_plot(panels, [run.label for run in runs], path)
