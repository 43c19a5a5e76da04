"""Fills real volumes in many file forms, counts stored bytes that differ outside the masks, and times one large volume.

  python -m benchmarks.fill_volumes runs/any --scans='DIR/**/*_FLAIR.nii.gz' --volumes=20 --output=results/fill_volumes.md

Each volume is written in three orientations (RAS, LPI, PIR) and three types (int16; uint8 and float32 with slope and
intercept). Each file is filled with four masks: a square, a lesion-like outline, one at the border, and one of several parts.

The large volume is 256x256x150 with holes in all slices. It is filled in a process of its own; time and memory are those of
the whole command.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from absl import flags

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

ORIENTATIONS = ("RAS", "LPI", "PIR")

TYPES: dict[str, tuple[Any, tuple[float, float] | None]] = {
    "int16": (np.int16, None),
    "uint8 with slope": (np.uint8, (8.0, -3.0)),
    "float32 with slope": (np.float32, (0.5, 10.0)),
}

LARGE = (256, 256, 150)


def main(folders: list[str]) -> None:
    runtime.set_up()
    from tqdm import tqdm

    from benchmarks import outputs
    from ipmedgan_jax.imaging.input_files import list_input_files
    from ipmedgan_jax.inpainting import load_run
    from ipmedgan_jax.inpainting.filling_options import Filling
    from ipmedgan_jax.inpainting.jobs import Job
    from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
    from ipmedgan_jax.inpainting.scan import inpaint_file

    given = flags.FLAGS
    if len(folders) != 1:
        raise UserError(f"expected one run, found {len(folders)}")
    output = outputs.file(given.output)
    generator = load_run.load(Path(folders[0]).expanduser(), "best")
    scans = list_input_files(given.scans)[: given.volumes]
    files = differing = other_headers = inside = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in tqdm(scans, unit="scan", disable=None):
            source = nibabel.as_closest_canonical(nibabel.load(path))
            array = source.get_fdata(dtype=np.float32)
            masks = _make_masks(array)
            for orientation in ORIENTATIONS:
                for kind in TYPES:
                    image = _write(folder / "scan.nii.gz", array, source.affine, orientation, *TYPES[kind])
                    for mask in masks.values():
                        _write(folder / "mask.nii.gz", mask, source.affine, orientation, np.uint8, None)
                        job = Job(image, folder / "mask.nii.gz", folder / "filled.nii.gz")
                        inpaint_file(LearnedFiller(generator), job, Filling())
                        counts = _count_differences(job)
                        totals = files, differing, other_headers, inside
                        files, differing, other_headers, inside = (
                            total + count for total, count in zip(totals, counts, strict=True)
                        )
        seconds, gigabytes = _time_large(Path(folders[0]), folder)
    lines = [
        f"{files} outputs of {len(scans)} volumes in {len(ORIENTATIONS)} orientations, {len(TYPES)} types, 4 masks:",
        f"{differing} voxels differ outside the masks (stored bytes), {other_headers} headers or geometries differ, and "
        f"{inside:,} voxels inside were changed.",
        "",
        f"{LARGE[0]}x{LARGE[1]}x{LARGE[2]}, a hole in every slice, the whole command: {seconds:.1f} s, {gigabytes:.2f} GB.",
    ]
    output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _make_masks(array: np.ndarray) -> dict[str, np.ndarray]:
    """Makes four kinds of masks, bool `[X, Y, Z]`, all in the middle of the volume except the one at the border."""
    rng = np.random.default_rng(array.shape)
    x, y, z = (length // 2 for length in array.shape)
    empty = np.zeros(array.shape, bool)
    square, outline, border, parts = (empty.copy() for _ in range(4))
    square[x - 20 : x + 20, y - 20 : y + 20, z : z + 2] = True
    distance = np.hypot(*np.meshgrid(np.arange(array.shape[0]) - x, np.arange(array.shape[1]) - y, indexing="ij"))
    outline[:, :, z - 1 : z + 2] = (distance < 25 + 8 * np.sin(np.arange(array.shape[0]) / 4.0)[:, None])[..., None]
    border[:30, :35, z] = border[-10:, y - 5 : y + 30, z - 1] = True
    for _ in range(6):
        a, b = rng.integers(5, (array.shape[0] - 25, array.shape[1] - 25))
        parts[a : a + int(rng.integers(1, 20)), b : b + int(rng.integers(1, 20)), z - 1 : z + 1] = True
    return {"square": square, "outline": outline, "border": border, "parts": parts}


def _write(
    path: Path, array: np.ndarray, affine: np.ndarray, codes: str, dtype: Any, scaling: tuple[float, float] | None
) -> Path:
    """Writes a canonical array as a NIfTI file with axes `codes`, `dtype`, and slope and intercept `scaling`."""
    axes = nibabel.orientations.axcodes2ornt(codes)
    axes = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), axes)
    image = nibabel.Nifti1Image(array.astype(np.float32), affine).as_reoriented(axes)
    slope, intercept = scaling or (1.0, 0.0)
    stored = (image.get_fdata() - intercept) / slope
    if np.dtype(dtype).kind in "iu":
        stored = np.clip(np.rint(stored), np.iinfo(dtype).min, np.iinfo(dtype).max)
    made = nibabel.Nifti1Image(stored.astype(dtype), image.affine)
    made.set_qform(image.affine, 1)
    content = bytearray(made.to_bytes())
    if scaling:
        content[112:120] = np.array(scaling, "<f4").tobytes()
    from ipmedgan_jax.imaging import nifti

    nifti.write(path, bytes(content))
    return path


def _count_differences(job: Any) -> tuple[int, int, int, int]:
    """Returns 1, the number of voxels that differ outside the mask, 1 if header or geometry differ, and those inside it."""
    from ipmedgan_jax.imaging import nifti

    before, after, mask = (nifti.read(path) for path in (job.image, job.output, job.mask))
    start = int(before.header["vox_offset"])
    opened = nibabel.load(job.output)
    same = before.content[:start] == after.content[:start] and np.array_equal(opened.affine, nibabel.load(job.image).affine)
    changed = before.stored.view(f"V{before.stored.itemsize}") != after.stored.view(f"V{after.stored.itemsize}")
    outside = mask.stored == 0
    return 1, int(changed[outside].sum()), int(not same), int(changed[~outside].sum())


def _time_large(run: Path, folder: Path) -> tuple[float, float]:
    """Returns seconds and GB of `inpaint` on a volume of noise and a head-like ellipsoid, with a hole in every slice."""
    rng = np.random.default_rng(0)
    grids = np.meshgrid(*(np.linspace(-1.2, 1.2, length) for length in LARGE), indexing="ij")
    head = sum(np.square(grid) for grid in grids) < 1
    array = np.where(head, 600 + 100 * rng.standard_normal(LARGE), 5 * rng.random(LARGE)).astype(np.float32)
    mask = np.zeros(LARGE, bool)
    mask[100:150, 110:150] = True
    image = _write(folder / "large.nii.gz", array, np.eye(4), "RAS", np.int16, None)
    hole = _write(folder / "large_mask.nii.gz", mask, np.eye(4), "RAS", np.uint8, None)
    command = [sys.executable, "-m", "ipmedgan_jax.inpaint", f"--workdir={run}", f"--image={image}", f"--mask={hole}"]
    command.append(f"--output={folder / 'large_filled.nii.gz'}")
    start = time.monotonic()
    subprocess.run(command, check=True, env=os.environ)
    seconds = time.monotonic() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def define_flags() -> None:
    flags.DEFINE_string("scans", None, "pattern of NIfTI scans; none of them may be from the run's training data")
    flags.DEFINE_integer("volumes", 20, "number of scans to use, from the first", lower_bound=1)
    flags.DEFINE_string("output", None, "Markdown file to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["scans", "output"], arguments="a run")
