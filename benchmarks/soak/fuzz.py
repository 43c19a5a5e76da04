"""Fuzzing of all readers for a number of seconds: guided by branches with atheris, or else by seeded damage alone."""

import importlib
import importlib.util
import multiprocessing
import shutil
from pathlib import Path

import numpy as np

from benchmarks.soak.fuzz_child import HARMLESS, NOTICED, fuzz_reader
from benchmarks.soak.hostile import KEPT
from benchmarks.soak.tally import Plan, Tally

_START_SECONDS = 120.0
"""Longest time, beside that of the fuzzing, for the child's start and for its last file."""


def run(plan: Plan, module: str = "benchmarks.soak.readers") -> Tally:
    """Fuzzes the readers of a module's `READERS` for `plan.count` seconds in all; outcomes as in `hostile.run`.

    Of silent failures that end in the same line of code, one is kept.
    """
    tally = Tally()
    guided = importlib.util.find_spec("atheris") is not None
    print("fuzz: guided by branches (atheris)" if guided else "fuzz: by the seed alone, atheris is not installed", flush=True)
    readers = importlib.import_module(module).READERS
    for name in readers:
        _fuzz(module, name, plan, plan.count / len(readers), tally)
    return tally


def _fuzz(module: str, name: str, plan: Plan, seconds: float, tally: Tally) -> None:
    context = multiprocessing.get_context("spawn")
    (folder := plan.folder / name).mkdir()
    child = context.Process(target=fuzz_reader, args=(module, name, folder, plan.seed, seconds), daemon=True)
    child.start()
    child.join(seconds + _START_SECONDS)
    hangs = child.is_alive()
    child.kill()
    child.join()
    for text in sorted(folder.glob("failed/*.txt")):
        kept = _keep(text.with_suffix(""), f"{name}-fuzz-{plan.seed}-{text.stem}")
        tally.silent.append(f"{name}: {text.read_text()} ({kept})")
    if hangs or child.exitcode:
        left = [*folder.glob("content-*"), *folder.glob("content")]
        why = "no end" if hangs else f"its process ended with {child.exitcode}"
        kept = _keep(left[0], f"{name}-fuzz-{plan.seed}-end") if left else "no file was left"
        tally.silent.append(f"{name}: {why} ({kept})")
    counts = np.fromfile(folder / "counts", np.int64) if (folder / "counts").exists() else np.zeros(2, np.int64)
    tally.noticed += int(counts[NOTICED])
    tally.harmless += int(counts[HARMLESS])


def _keep(path: Path, name: str) -> Path:
    """Copies a file that failed to the folder of such files; returns the copy."""
    KEPT.mkdir(exist_ok=True)
    return Path(shutil.copyfile(path, KEPT / name))
