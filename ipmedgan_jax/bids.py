"""A BIDS App: fills the lesions in the scans of a BIDS data set, and writes a BIDS derivative.

  ipmedgan-bids BIDS_DIR OUT_DIR participant
  ipmedgan-bids BIDS_DIR OUT_DIR participant --participant-label 01 02 --session-label 1 --mask-dir masks
  ipmedgan-bids BIDS_DIR OUT_DIR participant --system laplace --suffix T1w

It writes the same files as `ipmedgan inpaint` over these scans. Finished scans are skipped when it is run again. Without
--mask-dir, the masks are the files of BIDS_DIR that are named as lesion masks, such as sub-01_label-lesion_mask.nii.gz.

Not for diagnosis.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags

import ipmedgan_jax
from ipmedgan_jax.core import checkpoint_choice, command, runtime
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.core.user_paths import user_path


class _Parser(argparse.ArgumentParser):
    given: Sequence[str] = ()
    """The arguments, for messages."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}{self._swallowed(message)}, see --help")

    def _swallowed(self, message: str) -> str:
        """Returns a hint if arguments are missing, or of another type, because an option for a list took them."""
        if not ("are required: " in message or "invalid int value" in message):
            return ""
        lists = {name for action in self._actions if action.nargs == "+" for name in action.option_strings}
        for option, *words in reversed(_options(self.given)):
            if words and any(name.startswith(option) for name in lists):
                return f" ({option} took {' '.join(words)}; write BIDS_DIR OUT_DIR participant before the options)"
        return ""


def _options(arguments: Sequence[str]) -> list[list[str]]:
    """Returns each option with the words after it; `--name=value` and `--` take none."""
    found: list[list[str]] = []
    for word in arguments:
        if word.startswith("--"):
            found.append([word])
        elif found and found[-1][0] != "--" and "=" not in found[-1][0]:
            found[-1].append(word)
    return found


def main() -> None:
    flags.FLAGS(sys.argv[:1])  # absl's log asks whether its flags are parsed
    command.run_to_exit(_fill_as_typed)


def _fill_as_typed() -> None:
    from ipmedgan_jax.inpainting.app_messages import app_names

    with app_names():
        fill(parse(sys.argv[1:]))


def fill(given: argparse.Namespace) -> None:
    """Fills the scans that the arguments choose. UserError for arguments that do not fit together, or to the data set."""
    runtime.set_up()
    from ipmedgan_jax.inpainting import bids_selection
    from ipmedgan_jax.inpainting.classical_filler import check_samples
    from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
    from ipmedgan_jax.inpainting.filler import Filler
    from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
    from ipmedgan_jax.inpainting.load import load_filler

    if given.level == "group":
        raise UserError("group: there is no such level, because each scan is filled by itself; give participant")
    if not checkpoint_choice.is_choice(given.checkpoint):
        raise UserError(f"--checkpoint={given.checkpoint}: expected {', '.join(checkpoint_choice.EXPECTED)}")
    root, output = user_path(given.bids_dir), user_path(given.output_dir)
    check_samples(given.system, given.samples)
    labels = MaskChoice(labels=tuple(given.mask_labels), match=given.match_mask, dilate_mm=given.dilate_mm)
    filling = Filling(
        planes=tuple(given.planes), samples=given.samples, strict=given.strict, empty_mask=given.empty_mask, mask=labels
    )
    scans = bids_selection.select_scans(root, output, given.participant_label, given.session_label, given.suffix)
    masks = given.mask_dir or bids_selection.as_list(bids_selection.find_masks(root, output))
    cohort = Cohort(
        image=bids_selection.as_list(scans),
        mask=masks,
        output=output,
        overwrite=given.overwrite,
        skull_stripped=given.skull_stripped,
        report=given.report,
    )
    model = given.model if (given.workdir, given.model, given.system) != (None, None, None) else "flair"

    def load() -> Filler:
        filler = load_filler(given.workdir, model, given.system, given.checkpoint)
        if not given.skip_bids_validation:
            bids_selection.validate(root)  # last, because it may take minutes
        return filler

    # A scheduler's array gives each of its jobs other participants: they are not divided once more.
    fill_cohort(cohort, filling, Shard(), load)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Returns the arguments. UserError for a bad one; SystemExit after --help and --version."""
    name = "ipmedgan bids" if sys.argv[0].startswith("ipmedgan ") else "ipmedgan-bids"
    parser = _Parser(name, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"{name} {ipmedgan_jax.__version__}")
    parser.add_argument("bids_dir", metavar="BIDS_DIR", help="the BIDS data set; it is only read")
    parser.add_argument("output_dir", metavar="OUT_DIR", help="folder of the BIDS derivative")
    parser.add_argument("level", choices=["participant", "group"], help="participant; there is no group level")
    _add_selection(parser)
    _add_filling(parser)
    parser.given = arguments
    return parser.parse_args(arguments)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose scans and masks."""
    group = parser.add_argument_group("what is filled")
    labels: dict = {"nargs": "+", "default": [], "metavar": "LABEL"}
    group.add_argument(
        *("--participant-label", "--participant_label"), **labels, help="participants, with or without sub-; by default all"
    )
    group.add_argument(
        *("--session-label", "--session_label", "--session"), **labels, help="sessions, with or without ses-; by default all"
    )
    group.add_argument("--suffix", default="FLAIR", help="suffix of the scans; by default FLAIR")
    group.add_argument("--mask-dir", "--mask_dir", help="folder of the masks; by default the lesion masks of BIDS_DIR")
    group.add_argument(
        *("--mask-labels", "--mask_labels"),
        nargs="+",
        type=int,
        default=[],
        metavar="NUMBER",
        help="labels to fill",
    )
    group.add_argument("--dilate-mm", "--dilate_mm", type=float, default=0.0, help="also fill voxels within this distance")
    group.add_argument(
        *("--match-mask", "--match_mask"),
        choices=["position", "index"],
        help="for a mask that has the scan's shape but lies elsewhere: fill by position in millimetres, or by voxel index",
    )
    group.add_argument(
        *("--empty-mask", "--empty_mask"),
        choices=["error", "copy", "skip"],
        default="error",
        help="for a scan with an empty mask: report an error (the default), write an unchanged copy, or write nothing",
    )
    group.add_argument(
        *("--skip-bids-validation", "--skip_bids_validation"),
        action="store_true",
        help="do not run the BIDS validator on BIDS_DIR; it runs where it is installed",
    )


def _add_filling(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say what fills, and how."""
    group = parser.add_argument_group("how it is filled")
    group.add_argument("--model", help="a model of the package, or a folder that ipmedgan export wrote; by default flair")
    group.add_argument("--workdir", help="instead of --model: folder of a run")
    group.add_argument("--system", help="instead of --model: a classical fill, for example laplace")
    group.add_argument("--checkpoint", default="best", help="checkpoint of the run: best (the default), latest or a step")
    group.add_argument("--planes", nargs="+", default=["axial"], help="axial (the default), coronal, sagittal")
    group.add_argument("--samples", type=int, default=0, help="varied fills, whose standard deviation is written")
    group.add_argument(
        "--skull-stripped",
        action=argparse.BooleanOptionalAction,
        help="what the derivative says of the scans; by default found from their JSON files or voxels",
    )
    group.add_argument(
        "--report", action=argparse.BooleanOptionalAction, default=True, help="a page that shows each fill, report.html"
    )
    group.add_argument("--strict", action="store_true", help="warnings are errors")
    group.add_argument("--overwrite", action="store_true", help="replace outputs that exist")


if __name__ == "__main__":
    main()
