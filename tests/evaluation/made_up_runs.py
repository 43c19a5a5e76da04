"""Evaluated runs on made-up slices; the error of the fills grows with the subject's number."""

import numpy as np

from ipmedgan_jax.configs import base
from ipmedgan_jax.core import files, json_fields
from ipmedgan_jax.evaluation import metrics, reports, saved_fills
from ipmedgan_jax.experiment import saved_config


def add_config(folder, system, **changes):
    """Writes the `config.json` of a run on made-up data, with `changes` as "train__steps" to the system's config."""
    config = base.get_config(system).unlock()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    files.write_json(folder / "config.json", json_fields.sealed(saved_config.as_json(config) | {saved_config.DATASET: "f"}))
    return folder


def _made_up_kid(subjects):
    """As `metrics.kernel_inception_distance`: none for one subject, and no pseudo-values for two."""
    if len(subjects) == 1:
        return None
    values = np.linspace(0.1, 0.3, len(subjects)) if len(subjects) > 2 else []
    return metrics.KernelDistance(0.2, dict(zip(subjects, values, strict=False)))


def make_run(folder, system, error, *, subjects=8, fingerprint="f", corner=3, subject_prefix="s", **data):
    """Writes the evaluation of a run: two slices a subject, the first three subjects with an image; returns its folder."""
    rng = np.random.default_rng(len(system))
    scores, writer = [], saved_fills.Writer()
    for subject in range(subjects):
        for index in range(2):
            mse = error * (1 + subject) + rng.uniform(0, 0.1)
            scored = {"ssim": 1 / (1 + mse), "psnr": 40 - mse / 10, "mse": mse, "uqi": 0.5, "uqi_sewar": 0.9, "mae": 3.0}
            hole = {**scored, "vgg_distance": mse / 100}
            foreground = (0.5, 0.8, 1.0)[subject % 3]
            score = reports.SliceScore(
                f"{subject_prefix}{subject}", "v", index, (corner, 4, 16, 16), foreground, hole, scored
            )
            scores.append(score)
            image = rng.uniform(-1, 1, (32, 32)).astype(np.float32)
            writer.add(score, image[corner : corner + 16, 4:20], image=image if subject < 3 and index == 0 else None)
    report = reports.report(
        scores,
        system=system,
        step=10,
        data={"fingerprint": fingerprint, "vgg19": "w", "modality": "mri", "image_size": 32, "split": "test", **data},
        holes={"size": 16},
        seconds_per_slice=0.5,
        kid=_made_up_kid([f"{subject_prefix}{i}" for i in range(subjects)]),
        parameters=6_000_000 if system != "telea" else 0,
        images_seen=400 if system != "telea" else 0,
    )
    reports.write_report(folder / "evaluation", report, scores)
    writer.write(folder / "evaluation" / saved_fills.FILE)
    return folder
