"""Converts NIfTI volumes to the records that training and evaluation read.

  python -m ipmedgan_jax.prepare --config=mri --input='DIR/**/*_FLAIR.nii.gz' --output=data/mri

--input   a file, a folder, a pattern in quotes (** matches any folders), or a comma-separated list of these. It must match
          images of one modality only. Masks, segmentations and outputs of inpaint are passed over by their names.
--output  a new folder. If a preparation is interrupted, run the same command again to complete it.
--config  the settings; this command uses the keys modality, data.* and holes.avoid. To change one:
          --config.data.image_size=128, --config.data.resample_mm=0, --config.data.subject_regex='patient(\\d+)'
--shard   one of several equal shares: 3/8 is the third of eight. Shards may run at once, on any machines that see both
          folders, and need no connection. The last one to end completes the folder. Run a failed shard again; without
          --shard the same command makes all missing volumes.
--verify  makes nothing: reads every record of --output, compares it with the digests that were written with the data, and
          names each damaged file. The command that prepared the data makes those files again.

Subjects, identified by the BIDS entity sub-..., are split into train, validation and test; all scans of a subject are in one
split. --config.data.fold='2 of 5' makes the second fold of a cross-validation: a fifth of the subjects is its test split.
"""

from absl import flags, logging

from ipmedgan_jax.core import ranks
from ipmedgan_jax.core.command import ShowFlag, run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.lines import print_line
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.experiment import config_flag

FOAM_HU = -700
"""HU below which foam, pads and hair are no air."""


def main() -> None:
    """Prepares this process's shard and prints a summary."""
    from ipmedgan_jax.data import dataset_file, preparation
    from ipmedgan_jax.experiment.datasets import masks_to_avoid  # imported late, so that --help does not wait for JAX
    from ipmedgan_jax.experiment.settings import preparation_settings
    from ipmedgan_jax.imaging.file_kinds import scans_among
    from ipmedgan_jax.imaging.input_files import list_input_files

    paths, passed_over = scans_among(list_input_files(flags.FLAGS.input))
    if not paths:
        raise UserError(f"--input={flags.FLAGS.input}: no scan matches, only {passed_over}")
    settings = preparation_settings(flags.FLAGS.config)
    if settings.modality == "ct" and (hu := settings.threshold(settings.window_hu)) < FOAM_HU:
        logging.warning(
            "data.foreground_level %.3g is %.0f HU: a foam headrest and hair count as head; configs ct, ct_small and "
            "demo have -500 HU",
            *(settings.foreground_level, hu),
        )
    output = user_path(flags.FLAGS.output)
    avoid = masks_to_avoid(flags.FLAGS.config)
    missing = preparation.prepare_shard(settings, paths, output, ranks.given_shard(), avoid=avoid)
    if missing:
        print_line(f"{output}: this shard is done; {missing} of {len(paths)} volumes of other shards are still missing")
    else:
        print(preparation.summary(dataset_file.load_dataset(output)))
    if passed_over:
        print(f"  passed over: {passed_over}")


def _verified() -> str:
    """Checks the folder of --output in full and returns what was read; UserError if a file is damaged, after naming each."""
    from ipmedgan_jax.data import dataset_file, verification

    if flags.FLAGS.output is None:
        raise UserError("--verify needs --output, the folder to check")
    output = user_path(flags.FLAGS.output)
    if not (output / dataset_file.DATASET_FILE).is_file():
        raise UserError(
            f"{output / dataset_file.DATASET_FILE}: not found; --output must name a folder that ipmedgan_jax.prepare finished"
        )
    found = verification.verify(output)
    for problem in found.problems:
        print_line(problem)
    if found.problems:
        raise UserError(
            f"{output}: {counted(len(found.problems), 'damaged file')}; prepare the data again with the same command and "
            "folder, which makes these files anew and leaves the others; delete files that belong to no volume"
        )
    without = found.volumes - found.with_digests
    older = f"; {counted(without, 'volume')} of an earlier version without digests" if without else ", all as written"
    return f"{output}: {counted(found.volumes, 'volume')}, {counted(found.slices, 'slice')} read{older}"


def define_flags() -> None:
    ranks.define_shard_flag()
    config_flag.define("settings")
    flags.DEFINE_flag(ShowFlag("verify", _verified, "check the prepared data in --output, and exit; needs no other flag"))
    flags.DEFINE_string(
        "input", None, "NIfTI files: a file, a folder, a pattern in quotes, or a comma-separated list of these"
    )
    flags.DEFINE_string("output", None, "folder to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["config", "input", "output"])
