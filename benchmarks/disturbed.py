"""Disturbs one process of a multi-process run at random moments, restarts it, and compares it with an undisturbed run.

  python -m benchmarks.disturbed --by=kill --processes=3 --times=20 --output=/tmp/killed
  python -m benchmarks.disturbed --by=pause --processes=2 --times=2 --output=/tmp/paused
  python -m benchmarks.disturbed --by=cut --processes=2 --times=2 --output=/tmp/cut    # as root

There are two runs of one small config on the built-in phantom. One is undisturbed. In the other, a process is disturbed at a
random moment after the first checkpoint of each start. When all processes have ended they are started again, until the run
is finished.

--by=kill   kills the process (SIGKILL)
--by=pause  stops it, like a machine that hangs, until the others have ended (SIGSTOP, SIGCONT)
--by=cut    cuts one of two processes, each in its own network namespace, off from the other

All arrays of the last checkpoints must be bit-identical. Exit code 1 if they are not, or if a process outlives the
disturbance for too long.
"""

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Iterator

from absl import flags

from benchmarks import several
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

LONGEST_S = 90
"""Longest time in seconds that a process may outlive the disturbance."""


def main() -> None:
    given = flags.FLAGS
    if given.by == "cut" and given.processes != 2:
        raise UserError(f"--processes={given.processes}: expected 2 with --by=cut")
    output = several.new_folder(given.output)
    settings = [*several.SMALL, f"--config.train.batch_size={given.processes}", f"--config.train.steps={given.steps}"]
    settings += ["--config.train.checkpoint_every=10", "--config.train.log_every=20"]
    quiet, disturbed = output / "quiet", output / "disturbed"
    several.run(quiet, settings, given.processes)
    moments = random.Random(given.seed)
    slowest = 0.0
    with several.two_hosts() if given.by == "cut" else contextlib.nullcontext(several.LOOPBACK) as hosts:
        for number in range(1, given.times + 1):
            started = several.start(disturbed, settings, given.processes, hosts=hosts)
            # Each start makes at least one checkpoint; otherwise the run might never end.
            several.wait_for_checkpoint(disturbed, started, later_than=several.latest(disturbed))
            time.sleep(moments.uniform(0, given.longest))
            victim = moments.choice(started)
            if victim.poll() is not None:
                several.end(started)
                raise UserError(f"a process ended before disturbance {number}; see {disturbed}.0.log", 1)
            start = time.monotonic()
            with _disturbance(given.by, victim):
                several.end([process for process in started if given.by != "pause" or process is not victim], LONGEST_S)
                slowest = max(slowest, time.monotonic() - start)
            codes = several.end(started, LONGEST_S)
            rank, saved = started.index(victim), several.latest(disturbed)
            print(f"{given.by} {number}: process {rank}; exit codes {codes}; step {saved}", flush=True)
        several.run(disturbed, settings, given.processes, hosts=hosts)
    one, other = (several.arrays(folder, given.steps) for folder in (quiet, disturbed))
    equal = sum(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    print(f"{equal} of {len(one)} arrays bit-identical, {given.by} {given.times} times; all ended within {slowest:.0f} s")
    if equal < len(one):
        raise UserError("the runs differ", 1)


@contextlib.contextmanager
def _disturbance(how: str, victim: subprocess.Popen[bytes]) -> Iterator[None]:
    """Starts a disturbance, and ends it on exit if it can be ended."""
    if how == "cut":
        several.set_link(up=False)
    else:
        victim.send_signal(signal.SIGSTOP if how == "pause" else signal.SIGKILL)
    try:
        yield
    finally:
        if how == "cut":
            several.set_link(up=True)
        else:
            victim.send_signal(signal.SIGCONT)


def define_flags() -> None:
    flags.DEFINE_enum("by", "kill", ["kill", "pause", "cut"], "kind of disturbance")
    flags.DEFINE_integer("processes", 3, "number of processes of the run")
    flags.DEFINE_integer("times", 20, "number of disturbances")
    flags.DEFINE_integer("steps", 800, "number of steps of the run")
    flags.DEFINE_float("longest", 2.0, "longest delay in seconds between a start's first checkpoint and its disturbance")
    flags.DEFINE_integer("seed", 0, "seed of the random moments")
    flags.DEFINE_string("output", None, "new folder for both runs and their logs")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"])
