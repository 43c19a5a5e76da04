"""Injects faults and prints, for each part, how many were noticed and how many passed silently.

  python -m benchmarks.soak                            # a few faults of each kind, within minutes
  python -m benchmarks.soak --full                     # the counts of docs/reliability.md, 25 minutes
  python -m benchmarks.soak --parts=kills,records      # some parts
  python -m benchmarks.soak --parts=records --count=20 --seed=7

A soak is repeatable: the same seed injects the same faults. Exit code 1 if any fault passes silently.
"""

import tempfile
import time
from pathlib import Path

from absl import flags

from benchmarks.soak.parts import PARTS
from benchmarks.soak.tally import Plan
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.core.user_paths import user_path


def main() -> None:
    given = flags.FLAGS
    names = given.parts or list(PARTS)
    for name in names:
        if name not in PARTS:
            raise UserError(f"--parts={name}: expected some of {', '.join(PARTS)}{suggestion(name, PARTS)}")
    pictures = user_path(given.pictures) if given.pictures else None
    found = 0
    for name in names:
        part = PARTS[name]
        count = given.count or (part.full if given.full else part.short)
        with tempfile.TemporaryDirectory(prefix=f"soak-{name}-", dir=given.scratch) as folder:
            start = time.monotonic()
            tally = part.run(Plan(Path(folder), count, given.seed, pictures))
        print(f"{name:12} {tally}  ({part.text}, {time.monotonic() - start:.0f} s)", flush=True)
        for line in tally.silent:
            print(f"  silent: {line}", flush=True)
        found += len(tally.silent)
    if found:
        raise UserError(f"{found} faults passed silently", 1)


def define_flags() -> None:
    flags.DEFINE_bool("full", False, "as many faults as docs/reliability.md reports")
    flags.DEFINE_list("parts", None, f"parts to run, of {', '.join(PARTS)}; all by default")
    flags.DEFINE_integer("count", None, "faults (or seconds, or steps) of each part, not its own number", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "seed of the faults")
    flags.DEFINE_string("pictures", None, "folder for the pictures that parts draw")
    flags.DEFINE_string("scratch", None, "folder for temporary files; the system's by default")


if __name__ == "__main__":
    run_command(main, define_flags)
