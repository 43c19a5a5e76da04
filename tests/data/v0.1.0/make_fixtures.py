"""Makes the files of this folder with version 0.1.0: prepared data, a run, an exported model, and a scan to fill.

Run it from a clone of commit 0bfd4049eea76c23e6ec9052ef6f483bb14bef53, with that clone's environment:

  PYTHONPATH=. JAX_PLATFORMS=cpu python FOLDER/make_fixtures.py FOLDER

It imports the package as that commit lays it out. The files come of that version's own commands. It writes into FOLDER:

  prepared.tar.gz  four CT phantoms at 32x32, by `prepare`
  run.tar.gz       a run of ip-MedGAN with the checkpoints of steps 2 and 4 and its evaluation, by `main`
  model.tar.gz     the generator of that run, by `export`
  scan.tar.gz      a phantom that no run has seen, and a mask
  expected.json    what the same version reads from these files and makes of them

tests/test_old_files.py opens the files with the package as it is now and compares. To make them again is rarely right: they
stand for what people have on their disks. A second run gives the same numbers but other bytes: Orbax writes times.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import jax
import nibabel
import numpy as np
from absl import flags

import ipmedgan_jax
from ipmedgan_jax import parallel, runs, train
from ipmedgan_jax.data import phantom, records

COMMIT = "0bfd4049eea76c23e6ec9052ef6f483bb14bef53"

PREPARATION = {
    "data.image_size": 32,
    "data.fit": "scale",
    "data.resample_mm": 0.0,
    "data.validation_subjects": ("sub-003",),
    "data.test_subjects": ("sub-004",),
}
"""Settings of the prepared data, beside those of configs/demo.py."""

SETTINGS = PREPARATION | {
    "data.threads": 2,
    "data.prefetch": 4,
    "holes.size": 16,
    "generator.width": 1,  # a checkpoint holds every parameter four times
    "discriminator.width": 2,
    "discriminator.layers": 2,
    "loss.perceptual_layers": (1.0, 1.0, 1.0, 1.0),
    "loss.style": 0.0,  # VGG-19 would be most of the program that the test has to compile
    "vgg19.weights": "random",  # nothing to fetch
    "train.batch_size": 4,
    "train.log_every": 2,
    "train.validate_every": 4,
    "train.checkpoint_every": 2,
    "evaluation.batch_size": 4,
    "evaluation.bootstrap": 50,
}
"""Settings of the run, beside those of configs/demo.py, its data and its length."""

STEPS, RESUMED_STEPS = 4, 8


def main() -> None:
    output, clone = Path(sys.argv[1]).resolve(), Path.cwd()
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    if head != COMMIT or Path(ipmedgan_jax.__file__).resolve().parents[1] != clone.resolve():
        sys.exit(f"run this from a clone of {COMMIT}, with PYTHONPATH=.")
    flags.FLAGS.mark_as_parsed()  # Grain's readers ask
    with tempfile.TemporaryDirectory() as folder:
        expected = make(Path(folder), clone)
        for name, contents in {
            "prepared": ("prepared",),
            "run": ("run/config.json", "run/data.json", "run/checkpoints", "run/evaluation"),
            "model": ("model",),
            "scan": ("scan",),
        }.items():
            pack(output / f"{name}.tar.gz", Path(folder), contents)
    (output / "expected.json").write_text(as_text(expected))


def make(folder: Path, clone: Path) -> dict:
    """Makes everything in `folder`; returns what expected.json holds."""

    def command(name: str, *given: str) -> None:
        """Runs one of the package's commands in `folder`, so that the paths that it records are relative ones."""
        own = {"PYTHONPATH": str(clone), "XDG_CACHE_HOME": str(folder / "cache"), "TQDM_DISABLE": "1"}
        subprocess.run([sys.executable, "-m", f"ipmedgan_jax.{name}", *given], cwd=folder, env=os.environ | own, check=True)

    def config(settings: dict) -> list[str]:
        return [f"--config={clone / 'configs' / 'demo.py'}", *(f"--config.{key}={value}" for key, value in settings.items())]

    def fill(source: str) -> dict:
        given = ("--image=scan/image.nii.gz", "--mask=scan/mask.nii.gz", "--output=filled.nii", "--overwrite")
        command("inpaint", source, *given)
        return fill_numbers(folder / "filled.nii", folder / "scan" / "mask.nii.gz")

    size = {"shape": (64, 64), "spacing_mm": (4.0, 4.0, 4.0)}
    phantom.write_phantoms(folder / "nifti", "ct", subjects=4, slices=6, seed=0, **size)
    command("prepare", *config(PREPARATION), "--input=nifti/**/*_ct.nii.gz", "--output=prepared")

    training = SETTINGS | {"data.dir": "prepared"}
    command("main", *config(training | {"train.steps": STEPS}), "--workdir=run")
    (folder / "run" / "evaluation" / "examples.png").unlink()
    shutil.copytree(folder / "run", folder / "resumed")
    command("main", *config(training | {"train.steps": RESUMED_STEPS}), "--workdir=resumed")
    command("export", "--workdir=run", "--output=model")

    (folder / "scan").mkdir()
    (image,) = phantom.write_phantoms(folder / "unseen", "ct", subjects=1, slices=6, seed=1, **size)
    shutil.copy(image, folder / "scan" / "image.nii.gz")
    mask = np.zeros((64, 64, 6), np.uint8)
    mask[26:36, 30:42, 2:4] = 1
    nibabel.save(nibabel.Nifti1Image(mask, nibabel.load(image).affine), folder / "scan" / "mask.nii.gz")

    (run, state), (resumed, resumed_state) = (run_numbers(folder / name, folder / "prepared") for name in ("run", "resumed"))
    return {
        "commit": COMMIT,
        "ipmedgan_jax": ipmedgan_jax.__version__,
        "jax": jax.__version__,
        "settings": SETTINGS,
        "prepared": prepared_numbers(folder / "prepared"),
        "run": run | {"state_sha256": state_digest(state)},
        "resumed": resumed | {"parameters": parameter_numbers(resumed_state)},
        "evaluation": json.loads((folder / "run" / "evaluation" / "metrics.json").read_text())["region"],
        "filled": {"workdir": fill("--workdir=run"), "model": fill("--model=model")},
    }


# ------------------------------------------------------------------ what the files hold


def prepared_numbers(directory: Path) -> dict:
    dataset = records.load_dataset(directory)
    digests = {split: split_digest(directory, split) for split in records.SPLITS}
    return {"fingerprint": dataset.fingerprint, "slices": dataset.slices, "records_sha256": digests}


def split_digest(directory: Path, split: str) -> str:
    """Of all that the records of a split say, in order."""
    digest = hashlib.sha256()
    for path in records.shard_paths(directory, split):
        for each in records.read_shard(path):
            said = [each.subject, each.volume, each.index, each.window, each.scale, each.offset, each.codes.shape]
            digest.update(json.dumps(said).encode() + each.codes.astype("<u2").tobytes())
    return digest.hexdigest()


def run_numbers(workdir: Path, prepared: Path) -> tuple[dict, train.TrainState]:
    """Of the latest checkpoint: the step, the place in the input and the scores of the validation; and the state."""
    built = runs.read_experiment(workdir, str(prepared))
    with runs.open_checkpoints(built.training, workdir) as checkpoints:
        step = checkpoints.latest_step()
        state, place = checkpoints.restore(step, parallel.as_one_like(train.InitialState(built).shapes))
        return {"step": step, "input": place, "validation": dict(checkpoints.scores(step))}, state


def state_digest(state: train.TrainState) -> str:
    """Of all arrays in order: optimisers and random key included."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def parameter_numbers(state: train.TrainState) -> dict[str, list[float]]:
    """`{"generator/block_0/down_0/kernel": [sum, L2 norm]}` of every network, and of the generator's average."""
    nets = {"generator": state.generator, "average": state.average, **state.discriminators}
    numbers = {}
    for name, net in nets.items():
        for path, leaf in jax.tree.leaves_with_path(net.params):
            values = np.asarray(leaf, np.float64)
            numbers["/".join([name, *(each.key for each in path)])] = [float(values.sum()), float(np.sqrt((values**2).sum()))]
    return numbers


def fill_numbers(filled: Path, mask: Path) -> dict:
    """The masked voxels as they are stored, in C order. The sum and the hash are for people, not for tests."""
    stored = np.asarray(nibabel.load(filled).dataobj)
    masked = stored[np.asarray(nibabel.load(mask).dataobj) > 0]
    return {
        "dtype": str(stored.dtype),
        "sha256": hashlib.sha256(stored.tobytes()).hexdigest(),
        "masked_sum": float(masked.sum(dtype=np.float64)),
        "masked": masked.tolist(),
    }


# ------------------------------------------------------------------ files


def pack(path: Path, folder: Path, contents: tuple[str, ...]) -> None:
    """An archive of files and folders in `folder`; it depends on their names and bytes alone."""
    files = sorted(each for name in contents for each in ((folder / name), *(folder / name).rglob("*")) if each.is_file())
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for each in files:
                content = each.read_bytes()
                entry = tarfile.TarInfo(str(each.relative_to(folder)))  # mtime 0, owner 0
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def as_text(content: dict) -> str:
    """JSON with a list of numbers in one line."""
    return re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), json.dumps(content, indent=1)) + "\n"


if __name__ == "__main__":
    main()
