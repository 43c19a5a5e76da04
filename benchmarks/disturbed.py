"""Disturbs one of several processes of a run at random moments, begins it again, and holds its end against a quiet run's.

  python -m benchmarks.disturbed --by=kill --processes=3 --times=20 --output=/tmp/killed
  python -m benchmarks.disturbed --by=pause --processes=2 --times=2 --output=/tmp/paused
  python -m benchmarks.disturbed --by=cut --processes=2 --times=2 --output=/tmp/cut    # as root

Two runs of one small config on the built-in phantom: one undisturbed; of the other a process is disturbed at a random moment
after each life's first checkpoint; when all have ended they are begun again, until the run is finished. Disturbed is: killed
(SIGKILL); or stopped, as by a machine that hangs, until the others have ended (SIGSTOP, SIGCONT); or, of two in network
namespaces of their own, cut off from the other. All arrays of the last checkpoints must be equal to the bit. Exit code 1
where they are not, or where a process outlives the disturbance for too long.
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
"""How long a process may outlive the disturbance."""


def main() -> None:
    given = flags.FLAGS
    if given.by == "cut" and given.processes != 2:
        raise UserError(f"--processes={given.processes}: wanted 2, of which one is cut off from the other")
    output = several.new_folder(given.output)
    settings = [*several.SMALL, f"--config.train.batch_size={given.processes}", f"--config.train.steps={given.steps}"]
    settings += ["--config.train.checkpoint_every=10", "--config.train.log_every=20"]
    quiet, disturbed = output / "quiet", output / "disturbed"
    several.run(quiet, settings, given.processes)
    moments = random.Random(given.seed)
    slowest = 0.0
    with several.two_hosts() if given.by == "cut" else contextlib.nullcontext(several.LOOPBACK) as hosts:
        for time_ in range(given.times):
            started = several.start(disturbed, settings, given.processes, hosts=hosts)
            # At least one checkpoint a life: else it would not come to an end.
            several.wait_for_checkpoint(disturbed, started, later_than=several.latest(disturbed))
            time.sleep(moments.uniform(0, given.longest))
            victim = moments.choice(started)
            if victim.poll() is not None:
                several.end(started)
                raise UserError(f"ended before it could be disturbed for the {time_ + 1}. time: see {disturbed}.0.log", 1)
            start = time.monotonic()
            with _disturbance(given.by, victim):
                several.end([each for each in started if given.by != "pause" or each is not victim], LONGEST_S)
                slowest = max(slowest, time.monotonic() - start)
            codes = several.end(started, LONGEST_S)
            which, saved = started.index(victim), several.latest(disturbed)
            print(f"{given.by} {time_ + 1}: process {which}; exit codes {codes}; step {saved}", flush=True)
        several.run(disturbed, settings, given.processes, hosts=hosts)
    one, other = (several.arrays(folder, given.steps) for folder in (quiet, disturbed))
    equal = sum(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    print(f"{equal} of {len(one)} arrays equal to the bit, {given.by} {given.times} times; all ended within {slowest:.0f} s")
    if equal < len(one):
        raise UserError("the runs differ", 1)


@contextlib.contextmanager
def _disturbance(how: str, victim: subprocess.Popen[bytes]) -> Iterator[None]:
    """Begins it; ends it, where it has an end."""
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
    flags.DEFINE_enum("by", "kill", ["kill", "pause", "cut"], "what is done to one of them")
    flags.DEFINE_integer("processes", 3, "of the run")
    flags.DEFINE_integer("times", 20, "how often one is disturbed")
    flags.DEFINE_integer("steps", 800, "of the run")
    flags.DEFINE_float("longest", 2.0, "seconds after a life's first checkpoint within which it is disturbed")
    flags.DEFINE_integer("seed", 0, "of the moments")
    flags.DEFINE_string("output", None, "a new folder for both runs and their logs")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"])
