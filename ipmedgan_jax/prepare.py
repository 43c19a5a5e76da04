"""Turns NIfTI volumes into the records that training and evaluation read.

  python -m ipmedgan_jax.prepare --config=mri --input='DIR/**/*_FLAIR.nii.gz' --output=data/mri

--input   a file, a folder, a pattern in quotes (** stands for any folders), or several of these separated by commas. It must
          match images only, not masks or labels, and one modality.
--output  a new folder. Called again with the same settings, an interrupted preparation continues where it stopped.
--config  where the settings come from. The keys that matter here are modality and data.*; to change one:
          --config.data.image_size=128, --config.data.resample_mm=0, --config.data.subject_regex='patient(\\d+)'
--shard   makes one of several equal shares: 3/8 is the third of eight. Shards may run at once, on any machines that see both
          folders, and do not know of each other. The last one to end completes the folder. Run a shard that failed again;
          without --shard the same command makes all that is missing.

Subjects, found by the BIDS entity sub-..., are split into train, validation and test; all scans of one are in one.
"""

from pathlib import Path

from absl import flags

from ipmedgan_jax.core import ranks
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    """Prepares and prints what came of it."""
    from ipmedgan_jax.data import preparation, records
    from ipmedgan_jax.experiment.settings import preparation_settings  # late: --help need not wait for JAX
    from ipmedgan_jax.imaging.input_files import list_input_files

    paths = list_input_files(flags.FLAGS.input)
    settings = preparation_settings(flags.FLAGS.config)
    output = Path(flags.FLAGS.output).expanduser()
    missing = preparation.prepare_shard(settings, paths, output, ranks.given_shard())
    if missing:
        print(f"{output}: this shard is done; the others have {missing} of {len(paths)} volumes still to make")
    else:
        print(preparation.summary(records.load_dataset(output)))


def define_flags() -> None:
    ranks.define_shard_flag()
    config_flag.define("the settings")
    flags.DEFINE_string("input", None, "the NIfTI files: a file, a folder, a pattern in quotes, or a comma list of these")
    flags.DEFINE_string("output", None, "folder to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["config", "input", "output"])
