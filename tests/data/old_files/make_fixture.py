"""Makes the files that one commit of this package writes: prepared data, runs, exported models, and a scan to fill.

  JAX_PLATFORMS=cpu python tests/data/old_files/make_fixture.py COMMIT [SYSTEM ...]

The commit's own commands make the files, in a git worktree in a temporary folder, with the libraries of the Python that runs
this script. Commands and settings that the commit does not have yet are left out. It writes DATE_COMMIT/ beside this script:

  files.tar.xz   scan/{image,mask}.nii.gz
                 prepared/           four heads at 32x32
                 run_SYSTEM/         two steps and one checkpoint; its evaluation
                 model_SYSTEM_FORMAT the generator of that run, exported
  expected.json  what is in these files, read with Orbax and ArrayRecord alone, and what the commit makes of them: the
                 parameters after two further steps, and the filled voxels

tests/test_old_files.py opens the files with the package as it is now and compares. Do not make a fixture again: it stands
for what people have on their disks. A second one has the same numbers and other bytes, because Orbax writes times.
"""

import hashlib
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import nibabel
import numpy as np
import orbax.checkpoint as ocp
from array_record.python import array_record_module

HERE = Path(__file__).resolve().parent

REPOSITORY = HERE.parents[2]

PREPARATION = {
    "data.image_size": 32,
    "data.fit": "scale",
    "data.resample_mm": 0.0,
    "data.validation_subjects": ("sub-003",),
    "data.test_subjects": ("sub-004",),
}
"""Settings of the prepared data, beside those of the config `demo`."""

SETTINGS = PREPARATION | {
    "data.dir": "prepared",
    "data.threads": 2,
    "data.prefetch": 4,
    "data.workers": 1,
    "holes.size": 16,
    "generator.width": 1,  # a checkpoint holds every parameter three times
    "discriminator.width": 1,
    "discriminator.layers": 2,
    "loss.perceptual_layers": (1.0, 1.0, 1.0, 1.0),
    "loss.style": 0.0,  # VGG-19 would be most of the program that the test has to compile
    "loss.content": 0.0,
    "vgg19.weights": "random",  # nothing to fetch
    "optimiser.learning_rate": 2e-4,
    "optimiser.discriminator_rate": 0.0,
    "optimiser.decay": 0.0,  # with a decay a run keeps its length
    "train.batch_size": 4,
    "train.generator_alone": 0.0,
    "train.log_every": 2,
    "train.validate_every": 2,
    "train.checkpoint_every": 2,
    "train.best": "mae",
    "evaluation.batch_size": 4,
}
"""Settings of the runs, beside those of the config `demo`, the system and the length."""

STEPS, RESUMED_STEPS = 2, 4

SPLITS = ("train", "validation", "test")


class Commit:
    """A commit's package, in a git worktree, whose commands run in `folder`."""

    def __init__(self, name: str, worktree: Path, folder: Path):
        self._worktree, self._folder = worktree, folder
        _git("worktree", "add", "--detach", str(worktree), name)
        self.config = "demo" if self.has("ipmedgan_jax/configs/demo.py") else str(worktree / "configs" / "demo.py")
        module = "ipmedgan_jax.configs" if self.config == "demo" else "configs"
        code = f"import json; from {module} import demo; print(json.dumps(demo.get_config().to_dict()))"
        self._keys = flattened(json.loads(self._run("-c", code, stdout=subprocess.PIPE)))

    def remove(self) -> None:
        _git("worktree", "remove", "--force", str(self._worktree))

    def has(self, path: str, text: str = "") -> bool:
        """Returns whether the commit has a file, with the text in it."""
        return (self._worktree / path).is_file() and text in (self._worktree / path).read_text()

    def command(self, name: str, *arguments: str) -> None:
        self._run("-m", f"ipmedgan_jax.{name}", *arguments)

    def settings(self, system: str, settings: dict[str, Any]) -> list[str]:
        """Returns the flags of a config; settings that the commit does not have are left out."""
        known = {key: value for key, value in settings.items() if key in self._keys}
        return [f"--config={self.config}{system and ':'}{system}", *(f"--config.{k}={v}" for k, v in known.items())]

    def _run(self, *arguments: str, **options: Any) -> str:
        own = {"PYTHONPATH": str(self._worktree), "XDG_CACHE_HOME": str(self._folder / "cache"), "TQDM_DISABLE": "1"}
        print("+", *arguments, flush=True)
        process = subprocess.run(
            [sys.executable, *arguments], cwd=self._folder, env=os.environ | own, check=True, text=True, **options
        )
        return process.stdout or ""


def main() -> None:
    name, *systems = sys.argv[1:]
    date, commit = _git("log", "-1", "--format=%as %h", "--abbrev=7", name).split()
    output = HERE / f"{date}_{commit}"
    with tempfile.TemporaryDirectory() as folder:
        package = Commit(name, Path(folder) / "worktree", Path(folder))
        try:
            expected = make(package, systems or ["ipmedgan"], Path(folder))
        finally:
            package.remove()
        output.mkdir(exist_ok=True)
        pack(output / "files.tar.xz", Path(folder))
    about = {
        "commit": _git("rev-parse", name).strip(),
        "date": date,
        "jax": version("jax"),
        "orbax": version("orbax-checkpoint"),
    }
    (output / "expected.json").write_text(as_text(about | expected))


def make(package: Commit, systems: list[str], folder: Path) -> dict:
    """Makes everything in `folder`; returns what expected.json holds."""
    for subject in range(1, 5):
        write_head(folder / "nifti" / f"sub-{subject:03}" / f"sub-{subject:03}_ct.nii.gz", seed=subject)
    write_head(folder / "scan" / "image.nii.gz", seed=5)
    write_mask(folder / "scan" / "mask.nii.gz", folder / "scan" / "image.nii.gz")
    package.command("prepare", *package.settings("", PREPARATION), "--input=nifti/*/*_ct.nii.gz", "--output=prepared")

    runs = {system: make_run(package, system, folder) for system in systems}
    saved = json.loads((folder / f"run_{systems[0]}" / "config.json").read_text())
    return {
        "settings": SETTINGS,
        "steps": RESUMED_STEPS,
        "keys": sorted(flattened({key: value for key, value in saved.items() if key not in ("dataset", "provenance")})),
        "fingerprint": saved.get("dataset", ""),
        "records": {split: records_digest(folder / "prepared", split) for split in SPLITS},
        "runs": runs,
    }


def make_run(package: Commit, system: str, folder: Path) -> dict:
    """Makes a run, its models, and what it fills; returns the numbers of all."""
    run, resumed = f"run_{system}", f"resumed_{system}"
    package.command("main", *package.settings(system, SETTINGS | {"train.steps": STEPS}), f"--workdir={run}")
    shutil.copytree(folder / run, folder / resumed)
    package.command("main", *package.settings(system, SETTINGS | {"train.steps": RESUMED_STEPS}), f"--workdir={resumed}")
    filled = {}
    if package.has("ipmedgan_jax/inpaint.py"):
        filled[run] = fill(package, f"--workdir={run}", folder)
    for model, flags in models(package, system).items():
        package.command("export", f"--workdir={run}", f"--output={model}", *flags)
        filled[model] = fill(package, f"--model={model}", folder)
    report = json.loads((folder / run / "evaluation" / "metrics.json").read_text())
    checkpoint, later = (folder / name / "checkpoints" / str(n) for name, n in ((run, STEPS), (resumed, RESUMED_STEPS)))
    return {
        "input": json.loads((checkpoint / "input" / "metadata").read_text()),
        "validation": validation_scores(checkpoint),
        "state": state_digest(leaves(checkpoint)),
        "resumed": {leaf: numbers(value) for leaf, value in leaves(later).items() if "/params/" in leaf},
        "evaluation": means(report["region"]),
        "filled": filled,
    }


def models(package: Commit, system: str) -> dict[str, list[str]]:
    """Returns the flags of every form of export, by the model's folder."""
    if not package.has("ipmedgan_jax/export.py"):
        return {}
    if not package.has("ipmedgan_jax/export.py", '"weights"'):
        return {f"model_{system}_stablehlo": []}
    return {f"model_{system}_{form}": [f"--format={form}"] for form in ("stablehlo", "weights")}


def fill(package: Commit, source: str, folder: Path) -> list:
    """Fills the scan; returns the masked voxels as they are stored, in C order."""
    given = ("--image=scan/image.nii.gz", "--mask=scan/mask.nii.gz", "--output=filled.nii", "--overwrite")
    package.command("inpaint", source, *given)
    mask = np.asarray(nibabel.load(folder / "scan" / "mask.nii.gz").dataobj)
    return np.asarray(nibabel.load(folder / "filled.nii").dataobj)[mask > 0].tolist()


# ------------------------------------------------------------------ scans


def write_head(path: Path, seed: int) -> None:
    """Writes a CT of 32x32x6 voxels of 8 mm: a skull round a brain with ventricles and a little noise, in air."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 32, 6)), indexing="ij")
    size = rng.uniform(0.75, 0.9)
    radius = np.sqrt((x / 0.8) ** 2 + y**2 + (z / 3) ** 2) / size
    voxels = np.full(x.shape, -1000, np.int16)
    voxels[radius < 1] = 900
    voxels[radius < 0.85] = 35
    voxels[(np.abs(np.abs(x) - 0.12) < 0.07) & (np.abs(y - rng.uniform(-0.1, 0.1)) < 0.3)] = 5
    voxels += rng.integers(-4, 5, x.shape).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.diag([8.0, 8.0, 8.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_mask(path: Path, image: Path) -> None:
    """Writes a mask of 8x8x2 voxels in the scan."""
    mask = np.zeros((32, 32, 6), np.uint8)
    mask[12:20, 10:18, 2:4] = 1
    nibabel.save(nibabel.Nifti1Image(mask, nibabel.load(image).affine), path)


# ------------------------------------------------------------------ what the files hold


def records_digest(directory: Path, split: str) -> str:
    """Returns a digest of a split's records: their headers without what later versions added, and their codes."""
    digest = hashlib.sha256()
    for path in sorted((directory / split).glob("*.arrayrecord")):
        reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0")
        for data in reader.read_all():
            end = 4 + struct.unpack_from("<I", data)[0]
            found = json.loads(data[4:end])
            header = {name: found[name] for name in ("subject", "volume", "index", "window", "scale", "offset", "shape")}
            codes = data[end : end + 2 * int(np.prod(header["shape"]))]
            digest.update(json.dumps(header, sort_keys=True).encode() + codes)
    return digest.hexdigest()


def leaves(checkpoint: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint's state by name, `generator/params/block_0/down_0/kernel`."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        state = checkpointer.restore(checkpoint / "state")
    return named_leaves(state)


def validation_scores(checkpoint: Path) -> dict[str, float] | None:
    """Returns the validation scores that were saved with a checkpoint, if any."""
    path = checkpoint / "metrics" / "metrics"
    return json.loads(path.read_text()) if path.exists() else None


def named_leaves(state: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of a state by name; tests/test_old_files.py names those of the package so too."""
    named = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        # The first commits had a module inside a module.
        name = jax.tree_util.keystr(path, simple=True, separator="/").replace("/Conv_0/", "/")
        named[name] = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return named


def state_digest(named: dict[str, np.ndarray]) -> str:
    """Returns the SHA-256 of arrays, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, leaf in sorted(named.items()):
        digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return digest.hexdigest()


def numbers(leaf: np.ndarray) -> list[float]:
    """Returns the sum and the L2 norm of an array."""
    values = leaf.astype(np.float64)
    return [float(f"{value:.8g}") for value in (values.sum(), np.sqrt((values**2).sum()))]


def means(regions: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the mean scores of every region of metrics.json, without those of VGG-19's random weights."""
    return {
        region: {name: value["mean"] for name, value in scores.items() if isinstance(value, dict) and name != "vgg_distance"}
        for region, scores in regions.items()
    }


# ------------------------------------------------------------------ files


def pack(path: Path, folder: Path) -> None:
    """Writes an archive of what the tests open."""
    folders = sorted(entry for entry in folder.iterdir() if entry.name.startswith(("scan", "prepared", "run_", "model_")))
    kept = ("config.json", "data.json", "checkpoints", "evaluation")
    with lzma.open(path, "wb", preset=9 | lzma.PRESET_EXTREME) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for entry in folders:
            for file in sorted(file for file in entry.rglob("*") if file.is_file()):
                inside = file.relative_to(entry)
                if (entry.name.startswith("run_") and inside.parts[0] not in kept) or file.suffix == ".png":
                    continue
                info = archive.gettarinfo(file, str(file.relative_to(folder)))
                info.uid = info.gid = info.mtime = 0
                info.uname = info.gname = ""
                with file.open("rb") as content:
                    archive.addfile(info, content)


def flattened(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"steps": 3}}` -> `{"train.steps": 3}`."""
    items: dict[str, Any] = {}
    for key, value in nested.items():
        items |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return items


def as_text(content: dict) -> str:
    """Returns JSON with a list of numbers in one line."""
    return re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), json.dumps(content, indent=1)) + "\n"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main()
