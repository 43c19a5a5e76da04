"""Readers with planted faults, which the soak must find. A child process imports this module by name."""

import os
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.soak.readers import Reader
from ipmedgan_jax.core.errors import UserError


def one_sample() -> tuple[bytes]:
    return (b"good",)


def break_it(content: bytes, rng: np.random.Generator) -> bytes:
    return b"bad" + rng.bytes(1)


def refuse(content: bytes, folder: Path) -> None:
    if content != b"good":
        raise UserError("file: expected `good`")


def raise_key_error(content: bytes, folder: Path) -> None:
    if content != b"good":
        raise KeyError("next_index")


def start_program(content: bytes, folder: Path) -> None:
    if content != b"good":
        subprocess.run(["true"], check=True)


def run_code(content: bytes, folder: Path) -> None:
    if content != b"good":
        eval("1 + 1")


def write_elsewhere(content: bytes, folder: Path) -> None:
    if content != b"good":
        folder.parents[2].joinpath("elsewhere").write_text("")


def take_memory(content: bytes, folder: Path) -> None:
    if content != b"good":
        np.ones(2**28)


def crash(content: bytes, folder: Path) -> None:
    if content != b"good":
        os._exit(7)


FAULTS = {
    "raise_key_error": (raise_key_error, "KeyError: 'next_index'"),
    "start_program": (start_program, "did subprocess.Popen"),
    "run_code": (run_code, "did exec of"),
    "write_elsewhere": (write_elsewhere, "for writing"),
    "take_memory": (take_memory, "MemoryError"),
    "crash": (crash, "its process ended with 7"),
}

READERS = {
    "refuse": Reader(one_sample, break_it, refuse),
    "raise_key_error": Reader(one_sample, break_it, raise_key_error),
}
