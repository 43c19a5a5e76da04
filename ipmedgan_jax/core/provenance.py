"""What made a file: version, commit, machine, date and command; and digests of files and weights.

Every file that describes results holds `provenance()`: sidecars, metrics.json, config.json, tables, TensorBoard, prepared
data and exported models. None of them holds the path of a home folder, or the name of a machine.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import ipmedgan_jax
from ipmedgan_jax.core.regular_files import open_file
from ipmedgan_jax.core.user_paths import without_homes

KEY = "provenance"
"""Key of JSON files that holds the provenance."""


def provenance(devices: Sequence[Any] = ()) -> dict[str, Any]:
    """Returns the provenance of a file that this process writes now, as JSON.

    Args:
      devices: the JAX devices that computed the content; none for a command that does not compute with JAX.
    """
    return {
        "ipmedgan_jax": ipmedgan_jax.__version__,
        "commit": commit(),
        "jax": importlib.metadata.version("jax"),
        "machine": machine(),
        "devices": dict(Counter(device.device_kind for device in devices)),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(),
    }


def one_line(made: dict[str, Any]) -> str:
    """Returns a provenance as one line of text, for tables and figures."""
    commit_text = f" at commit {made['commit']}" if made["commit"] else ""
    where = ", ".join([made["machine"], *(f"{count} x {kind}" for kind, count in made["devices"].items())])
    version = f"ipmedgan_jax {made['ipmedgan_jax']}{commit_text}, JAX {made['jax']}"
    return f"Made {made['date']} with {version}, on {where}: {made['command']}".encode(errors="backslashreplace").decode()


@functools.cache
def commit() -> str | None:
    """Returns the commit of the running code, with `-dirty` if files were changed since; None if it is not known.

    A clone asks git. A package that pip installed from a repository knows its commit.
    """
    root = Path(ipmedgan_jax.__file__).parents[1]
    if (root / ".git").exists():
        ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        with suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(
                ask, capture_output=True, text=True, check=True, timeout=20, env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
            )
            return answer.stdout.strip()
        return None
    with suppress(importlib.metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        installed = importlib.metadata.distribution("ipmedgan-jax").read_text("direct_url.json")
        return json.loads(installed or "")["vcs_info"]["commit_id"]
    return None


@functools.cache
def machine() -> str:
    """Returns the kind of the machine: system, processor and number of cores; not its name."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            model = found[1]
    return f"{platform.system()} {platform.machine()}, {model}, {os.cpu_count()} cores"


def command_line() -> str:
    """Returns the command of this process as it can be typed again, without home folders."""
    program, *arguments = sys.argv
    if (module := Path(program)).suffix == ".py" and module.parent.name == "ipmedgan_jax":
        program = f"python -m ipmedgan_jax.{module.stem}"
    elif not program.startswith("ipmedgan "):
        program = module.name
    return " ".join([program, *(shlex.quote(without_homes(argument)) for argument in arguments)])


# ------------------------------------------------------------------ digests


def digest_of_path(path: Path) -> str:
    """Returns the SHA-256 of a file or, for a folder, of the digests of all files in it, whatever their names.

    OSError if one cannot be read, UserError if it is a pipe or a device.
    """
    if not path.is_dir():
        with open_file(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return digest_of_files(path for path in path.rglob("*") if path.is_file() and not path.name.startswith("."))


def digest_of_files(paths: Iterable[Path]) -> str:
    """Returns the SHA-256 of the digests of files, whatever their names and order; errors as in `digest_of_path`."""
    return hashlib.sha256("".join(sorted(map(digest_of_path, paths))).encode()).hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """Returns the SHA-256 of a file's content, as `digest_of_path` does of the file."""
    return hashlib.sha256(content).hexdigest()


def digest_of_arrays(arrays: Iterable[Any]) -> str:
    """Returns the SHA-256 of the shapes and bytes of arrays, in order; a run and its exported model give the same."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()
