"""What filling does to a segmentation: the slices of evaluated runs, segmented intact, damaged and filled.

  python -m benchmarks.downstream runs/mri runs/glcic runs/telea --label=lesion --output=results/downstream
  python -m benchmarks.downstream runs/mri runs/glcic runs/telea --label=dark --output=results/downstream

Runs must have been evaluated on the same holes of complete slices (`python -m ipmedgan_jax.evaluate`, also for classical
fills). A segmentation network (`benchmarks/segmenter.py`) learns the label on the training subjects. The runs learned
from the same subjects; the scored ones are new to both. The network sees no hole and no fill in training. *Damaged*
slices have black in the hole.

OUTPUT gets `segmentation_LABEL.md`, `.csv` and `.json`. `benchmarks/region_scores.py` defines the scores.
"""

from typing import TYPE_CHECKING

from absl import flags

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

if TYPE_CHECKING:
    from benchmarks.downstream_report import Measure
    from benchmarks.evaluated_slices import EvaluatedSlices
    from benchmarks.segmenter import Labeller
    from ipmedgan_jax.data.batches import Find

ABOUT = {
    "lesion": """\
A U-Net has learned the masks of lesions on the training subjects and segments the {split} subjects' slices. The holes keep
clear of the masks, so every pixel that is segmented in a hole is a false positive. Black is no lesion: in the hole itself
`damaged` has nothing to lose.""",
    "dark": """\
A U-Net has learned dark tissue (fluid, bone and air of the head, by Otsu's thresholds on the intact volume) on the training
subjects and segments the {split} subjects' slices. The labels are those of the intact slices, in the hole too.""",
}

READING = """\
Means over {subjects} subjects, {holes} holes. The ring has a quarter of the hole's side; {beside} rings have pixels with
the label. Dice coefficients are of all slices of a subject together; subjects without the label in the region are left
out. *False*: share of the pixels without the label that are segmented. *Changed*: share of the pixels whose segmentation
is not that of the intact slice. *Wrong*: share of the pixels whose segmentation is not the label. The row `intact` has
the network's own errors: its Dice over the slices is {quality}. The scored subjects are new to the network and to the
runs; both learned from the same training subjects. `damaged` has black in the hole."""

COLUMNS = (
    ("Dice, slice", "dice_slice", 3),
    ("Dice, ring", "dice_around", 3),
    ("Dice, hole", "dice_hole", 3),
    ("false, hole (%)", "false_positive_hole", 2),
    ("false, ring (%)", "false_positive_around", 2),
    ("changed, hole (%)", "changed_hole", 2),
    ("changed, ring (%)", "changed_around", 2),
)

ERRORS = (
    ("1 - Dice, slice", "dice_loss_slice"),
    ("wrong, hole", "wrong_hole"),
    ("wrong, ring", "wrong_around"),
    ("changed, hole", "changed_hole"),
    ("changed, ring", "changed_around"),
)


def main(folders: list[str]) -> None:
    given = flags.FLAGS
    runtime.set_up(given.dtype)
    from benchmarks import downstream_report, evaluated_slices, outputs, segmenter

    output = outputs.folder(given.output)
    slices = evaluated_slices.read(folders)
    refuse_folds(slices)
    labeller = segmenter.make_labeller(slices.dataset, given.label, ["train", slices.split])
    config = segmenter.settings(slices.dataset, slices=given.slices, seed=given.seed, dtype=given.dtype)
    measured = measure(slices, labeller, segmenter.train(slices.dataset, labeller, config), given.label)
    print(downstream_report.write(measured, output, f"segmentation_{given.label}"))


def refuse_folds(slices: "EvaluatedSlices") -> None:
    """Raises UserError for the folds of a cross-validation: the network must not have seen the scored subjects."""
    if slices.folds:
        raise UserError(f"{slices.runs[0].folder}: scored on {slices.folds}; a network for each fold is not trained here")


def measure(slices: "EvaluatedSlices", labeller: "Labeller", find: "Find", label: str) -> "Measure":
    """Segments the slices intact, damaged and filled by each run; returns the `downstream_report.Measure`."""
    import numpy as np

    from benchmarks import region_scores, segmenter
    from benchmarks.downstream_report import Measure, estimate
    from benchmarks.evaluated_slices import INTACT
    from ipmedgan_jax.evaluation import reports

    truth = np.stack([labeller(record) for record in slices.records])
    around = region_scores.rings(slices.holes, slices.runs[0].scores[0].hole[2])
    scores, by_hole = {}, {}
    intact = segmenter.segment(find, slices.intact)
    for row, images in slices.rows():
        found = intact if row == INTACT else segmenter.segment(find, images)
        scores[row], by_hole[row] = region_scores.of_segmentation(found, intact, truth, slices.holes, around, slices.subjects)
    quality = estimate(np.array(list(scores[INTACT]["dice_slice"].values())))
    text = f"{ABOUT[label]}\n\n{READING}"
    count = {"subjects": len(set(slices.subjects)), "holes": len(truth), "quality": reports.cell(quality, 3)}
    count["beside"] = int((truth & around).any((1, 2)).sum())
    return Measure(
        title=f"Segmentation ({label}) of intact, damaged and filled slices",
        about=text.format(split=slices.split, **count),
        columns=COLUMNS,
        errors=ERRORS,
        groups=slices.groups,
        subjects=slices.subjects,
        scores=scores,
        by_hole=by_hole,
        facts={"label": label, "dice_of_the_network": quality},
    )


def define_flags() -> None:
    flags.DEFINE_enum("label", "lesion", list(ABOUT), "what the network segments")
    flags.DEFINE_integer("slices", 9600, "slices that the network is trained on, repetitions included", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "seed of the network's training")
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "type of the network's computation")
    flags.DEFINE_string("output", None, "folder for the table and its files")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"], arguments="the folders of evaluated runs are")
