"""Fuzzes one reader in a child process, guided by the branches it takes if atheris is installed.

Nothing of the package or of the parsers is imported before atheris can instrument it.
"""

import importlib
import os
import sys
import time
from pathlib import Path

NOTICED, HARMLESS = range(2)
"""Places of the counts in the file `counts`."""

_MAX_LENGTH = 2**16
_HANG_SECONDS = 30


def fuzz_reader(module: str, name: str, folder: Path, seed: int, seconds: float) -> None:
    """Fuzzes `READERS[name]` of a module.

    The first file that fails silently at each line of code goes to `folder/failed`, with a text; the counts of files that do
    not fail go to `folder/counts`, and what is printed to `folder/log`.
    """
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        import atheris
    except ImportError:
        atheris = None
    if atheris is None:
        readers = importlib.import_module(module).READERS
    else:
        with atheris.instrument_imports(include=["ipmedgan_jax", "nibabel", "pydicom"], enable_loader_override=False):
            readers = importlib.import_module(module).READERS
            _import_parsers(readers[name], folder)
    import numpy as np

    from benchmarks.soak import child

    reader = readers[name]
    samples, watch = child.prepare(reader, folder / "files")
    counts = np.memmap(folder / "counts", np.int64, "w+", shape=2)
    found: set[str] = set()
    (folder / "failed").mkdir()

    def read(content: bytes) -> None:
        kind, text = child.judge(reader, content, folder / "files", watch)
        if kind == "silent":
            where = text.rpartition("(")[2] or text
            if where not in found:  # the same line fails for many files
                found.add(where)
                (folder / "failed" / f"{len(found)}").write_bytes(content)
                (folder / "failed" / f"{len(found)}.txt").write_text(text)
        else:
            counts[HARMLESS if kind == "harmless" else NOTICED] += 1

    if atheris is None:
        _fuzz_blindly(reader, samples, read, folder, seed, time.monotonic() + seconds)
    else:
        _fuzz_guided(atheris, reader, samples, read, folder, seed, seconds)


def _import_parsers(reader, folder: Path) -> None:
    """Reads a valid file, so that the modules are imported while atheris instruments them."""
    (folder / "first").mkdir()
    reader.read(reader.samples()[0], folder / "first")


def _fuzz_blindly(reader, samples, read, folder: Path, seed: int, end: float) -> None:
    """Damages samples, and files made from them before, until the time is over."""
    import numpy as np

    i = 0
    while time.monotonic() < end:
        rng = np.random.default_rng([seed, i])
        content = reader.damage(samples[i % len(samples)], rng)
        if rng.random() < 0.3:
            content = reader.damage(content, rng)
        (folder / "content").write_bytes(content)
        read(content)
        i += 1


def _fuzz_guided(atheris, reader, samples, read, folder: Path, seed: int, seconds: float) -> None:
    """Lets libFuzzer keep the files that take new branches, and damage these further. Ends the process."""
    import numpy as np

    (corpus := folder / "corpus").mkdir()
    for i, content in enumerate(samples):
        (corpus / f"{i}").write_bytes(content)

    def mutate(content: bytes, most: int, number: int) -> bytes:
        rng = np.random.default_rng([seed, number])
        return reader.damage(content, rng)[:most] if content and rng.random() < 0.6 else atheris.Mutate(content, most)

    options = {
        "max_total_time": max(1, int(seconds)),
        "seed": seed + 1,
        "max_len": _MAX_LENGTH,
        "timeout": _HANG_SECONDS,
        "rss_limit_mb": 0,
        "artifact_prefix": f"{folder}/content-",
        "print_final_stats": 0,
    }
    arguments = [sys.argv[0], str(corpus), *(f"-{key}={value}" for key, value in options.items())]
    atheris.Setup(arguments, read, custom_mutator=mutate)
    atheris.Fuzz()
