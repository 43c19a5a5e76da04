"""The step `inference`: the generator alone at several batch sizes, then a head of 150 slices from NIfTI to NIfTI."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.context import Context, given
from benchmarks.gpu.sizes import full_config
from benchmarks.gpu.updates import first_line, timed_compile

BATCHES = (1, 8, 32)
HEAD = (256, 256, 150)
SMALL_HEAD = (64, 64, 10)


def main() -> None:
    began = time.time()
    context, _ = given()
    scan, mask = write_head(Path(context.scratch), SMALL_HEAD if context.rehearsal else HEAD)
    for dtype, step in (("bfloat16", fill_head), ("bfloat16", time_batches), ("float32", time_batches)):
        try:
            if step is fill_head:
                fill_head(context, dtype, scan, mask, began)
            elif context.left() > 5:
                time_batches(context, dtype)
        except Exception as error:
            context.report(event="failed", what=step.__name__, dtype=dtype, reason=first_line(error))


def _bound(config: Any) -> tuple[Any, Any, Any]:
    """The generator with random weights: its system's fill, the compiled function, and the weights."""
    import jax

    from ipmedgan_jax.experiment import build
    from ipmedgan_jax.networks.vgg19 import VGG19
    from ipmedgan_jax.systems.inference import LearnedInpaint
    from ipmedgan_jax.systems.state import init_generator

    system = build.make_system(config, VGG19("caffe"))
    initial = jax.jit(lambda key: init_generator(system, key, config.data.image_size))
    weights = initial(jax.random.key(0))
    learned = LearnedInpaint(system)
    return learned.bind(*weights), jax.jit(learned.inpainted), weights


def time_batches(context: Context, dtype: str) -> None:
    """Milliseconds a slice: on the device alone, calls not waited for; and from host array to host array."""
    import jax

    from benchmarks.gpu.ceilings import seconds_pipelined
    from benchmarks.step import random_batch
    from ipmedgan_jax.systems.interface import Batch

    config = full_config(context, train__dtype=dtype)
    _, inpainted, weights = _bound(config)
    images = {count: random_batch(count, config.data.image_size, config.holes.size) for count in BATCHES}
    batches = {count: Batch(**jax.device_put(arrays)) for count, arrays in images.items()}
    lowered = {count: inpainted.lower(*weights, batch) for count, batch in batches.items()}
    with ThreadPoolExecutor() as pool:
        programs = dict(zip(BATCHES, pool.map(timed_compile, lowered.values()), strict=True))
    repeats = 3 if context.rehearsal else 20
    for count, (program, compile_seconds) in programs.items():
        seconds = seconds_pipelined(program, *weights, batches[count], count=repeats)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            np.asarray(program(*weights, Batch(**images[count])))
            times.append(time.perf_counter() - start)
        context.report(
            event="generator",
            dtype=dtype,
            batch=count,
            ms_a_slice=1e3 * seconds / count,
            ms_a_slice_host=1e3 * statistics.median(times) / count,
            compile_seconds=compile_seconds,
        )


def fill_head(context: Context, dtype: str, scan: Path, mask: Path, began: float) -> None:
    """Seconds to fill a head with a hole in every slice: the first time in a process, which compiles, and then again."""
    from ipmedgan_jax.experiment.settings import preparation_settings
    from ipmedgan_jax.inpainting.filling_options import Filling
    from ipmedgan_jax.inpainting.jobs import Job
    from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
    from ipmedgan_jax.inpainting.load_run import BATCH_SIZE
    from ipmedgan_jax.inpainting.model import Generator, Trained
    from ipmedgan_jax.inpainting.scan import inpaint_file

    config = full_config(context, train__dtype=dtype)
    inpaint, _, _ = _bound(config)
    trained = Trained(preparation_settings(config), config.holes.size, False, BATCH_SIZE)
    generator = Generator(config.system, 0, "random weights", trained, {}, inpaint)
    for run in ("cold", "warm", "warm again"):
        output = scan.with_name(f"filled_{run.replace(' ', '_')}_{time.time_ns()}.nii.gz")
        start = time.time()
        inpaint_file(LearnedFiller(generator), Job(scan, mask, output), Filling())
        context.report(event="scan", dtype=dtype, run=run, seconds=time.time() - start, since_start=time.time() - began)
        output.unlink()


def write_head(folder: Path, shape: tuple[int, int, int]) -> tuple[Path, Path]:
    """Writes a head-like ellipsoid with noise, int16, and a mask with a hole in every slice."""
    import nibabel

    rng = np.random.default_rng(0)
    grids = np.meshgrid(*(np.linspace(-1.2, 1.2, length) for length in shape), indexing="ij")
    inside = sum(np.square(grid) for grid in grids) < 1
    array = np.where(inside, 600 + 100 * rng.standard_normal(shape), 5 * rng.random(shape)).astype(np.int16)
    mask = np.zeros(shape, np.uint8)
    low, high = (int(share * shape[0]) for share in (0.4, 0.55))
    mask[low:high, low:high] = 1
    paths = folder / "head.nii.gz", folder / "head_mask.nii.gz"
    for path, content in zip(paths, (array, mask), strict=True):
        nibabel.save(nibabel.Nifti1Image(content, np.eye(4)), path)
    return paths


if __name__ == "__main__":
    main()
