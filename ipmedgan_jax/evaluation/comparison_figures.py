"""Figures of evaluated runs: fills side by side, and every subject's scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ipmedgan_jax.data.holes import box_mask, context_image
from ipmedgan_jax.evaluation import figures
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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    present = [(title, metric) for title, metric in SCATTERED if runs[0].estimate(metric)]
    drawing, panels = pyplot.subplots(
        1, len(present), figsize=(4.6 * len(present), 0.42 * len(runs) + 1.4), sharey=True, squeeze=False
    )
    for panel, (title, metric) in zip(panels[0], present, strict=True):
        for row, run in enumerate(runs):
            values = run.per_subject(metric)
            panel.plot(values, np.full(len(values), row), "o", color="#3b6fb6", alpha=0.45, markersize=5, markeredgewidth=0)
            panel.plot([values.mean()], [row], "|", color="black", markersize=16, markeredgewidth=2)
        panel.set_xlabel(f"{title}, in the hole")
        panel.grid(axis="x", alpha=0.3)
    panels[0][0].set_yticks(range(len(runs)), [run.label for run in runs])
    panels[0][0].invert_yaxis()
    drawing.tight_layout()
    drawing.savefig(path, dpi=130)
    pyplot.close(drawing)
