"""Damaged and hostile files through the real readers, each in a child process with bounds on memory and time."""

import multiprocessing
from collections.abc import Mapping
from pathlib import Path

from benchmarks.soak.child import read_damaged
from benchmarks.soak.readers import READERS, Reader
from benchmarks.soak.tally import Plan, Tally

SECONDS = 30.0
"""Longest time for one file; it includes the child's start for the first."""

KEPT = Path("failed-inputs")
"""Folder, in the working directory, of the files that passed silently."""


def run(plan: Plan, readers: Mapping[str, Reader] = READERS) -> Tally:
    """Injects `plan.count` files, in equal shares for all readers.

    A file is noticed if the package refuses it by a UserError, and harmless if its reader returns a usable result. It is
    silent if it causes another exception or warning, a crash, a hang, more memory than the bound, a program or a connection,
    code to be run, or another file to be changed.
    """
    tally = Tally()
    names = list(readers)
    for k, name in enumerate(names):
        indices = list(range(k, plan.count, len(names)))
        while indices:
            indices = _run_child(name, readers[name], plan, indices, tally)
    return tally


def _run_child(name: str, reader: Reader, plan: Plan, indices: list[int], tally: Tally) -> list[int]:
    """Lets a child read files until all are done, or until it dies or hangs; returns the indices that are left."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    folder = plan.folder / name
    folder.mkdir(exist_ok=True)
    child = context.Process(target=read_damaged, args=(reader, folder, plan.seed, indices, sender), daemon=True)
    child.start()
    sender.close()
    done, begun = set(), None
    why = ""
    try:
        while len(done) < len(indices):
            if not receiver.poll(SECONDS):
                why = f"no end within {SECONDS:.0f} s"
                break
            i, kind, text = receiver.recv()
            if kind == "begun":
                begun = i
                continue
            done.add(i)
            _add(tally, f"{name} {i}", kind, text, folder / f"content-{i}")
    except EOFError:
        child.join()
        why = f"its process ended with {child.exitcode}"
    finally:
        child.kill()
        child.join()
    if why:
        if begun is None or begun in done:
            raise RuntimeError(f"the reader {name} cannot be tested: {why}")
        done.add(begun)
        _add(tally, f"{name} {begun}", "silent", why, folder / f"content-{begun}")
    return [i for i in indices if i not in done]


def _add(tally: Tally, file: str, kind: str, text: str, content: Path) -> None:
    """Counts the outcome of a file, and keeps its content if it was silent."""
    if kind == "silent":
        tally.silent.append(f"{file}: {text}")
        KEPT.mkdir(exist_ok=True)
        (KEPT / file.replace(" ", "-")).write_bytes(content.read_bytes())
    elif kind == "noticed":
        tally.noticed += 1
    else:
        tally.harmless += 1
    content.unlink()
