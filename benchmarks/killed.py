"""Kills one of several processes of a run at random moments, begins it again, and holds its end against an undisturbed run.

  python -m benchmarks.killed --processes=3 --kills=20 --output=/tmp/killed
  python -m benchmarks.killed --processes=2 --kills=2 --pause --output=/tmp/paused

Two runs of one small config on the built-in phantom: one undisturbed; of the other one process is killed (SIGKILL) at a
random moment after each life's first checkpoint, and all are begun again, until it is finished. All arrays of the last
checkpoints must be equal to the bit. Exit code 1 where they are not, or where others outlive a killed process for too long.
With --pause it is stopped instead (SIGSTOP), as by a machine that hangs, and goes on when the others have ended: it too must
end.
"""

import random
import signal
import time
from pathlib import Path

from absl import flags, logging

from benchmarks import several
from ipmedgan_jax import entry
from ipmedgan_jax.errors import UserError

LONGEST_S = 90
"""How long the others may outlive a killed process."""


def main() -> None:
    given = flags.FLAGS
    output = Path(given.output)
    settings = [*several.SMALL, f"--config.train.batch_size={given.processes}", f"--config.train.steps={given.steps}"]
    settings += ["--config.train.checkpoint_every=10", "--config.train.log_every=20"]
    undisturbed, disturbed = output / "undisturbed", output / "disturbed"
    several.run(undisturbed, settings, given.processes)
    moments = random.Random(given.seed)
    slowest = 0.0
    for kill in range(given.kills):
        started = several.start(disturbed, settings, given.processes)
        latest = several.latest(disturbed)
        while several.latest(disturbed) == latest and all(each.poll() is None for each in started):
            time.sleep(0.2)  # at least one checkpoint a life: else it would not come to an end
        time.sleep(moments.uniform(0, given.longest))
        victim = moments.choice(started)
        if victim.poll() is not None:
            several.end(started)
            raise UserError(f"ended before it could be killed for the {kill + 1}. time: more --steps", 1)
        victim.send_signal(signal.SIGSTOP if given.pause else signal.SIGKILL)
        start = time.monotonic()
        several.end([each for each in started if each is not victim], LONGEST_S)
        slowest = max(slowest, time.monotonic() - start)
        victim.send_signal(signal.SIGCONT)
        codes = several.end(started, LONGEST_S)
        logging.info(
            "kill %d: process %d; exit codes %s; step %d", kill + 1, started.index(victim), codes, several.latest(disturbed)
        )
    several.run(disturbed, settings, given.processes)
    one, other = (several.arrays(folder, given.steps) for folder in (undisturbed, disturbed))
    equal = sum(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    print(f"{equal} of {len(one)} arrays equal to the bit after {given.kills} kills; others ended within {slowest:.0f} s")
    if equal < len(one):
        raise UserError("the runs differ", 1)


def define_flags() -> None:
    flags.DEFINE_integer("processes", 3, "of the run")
    flags.DEFINE_integer("kills", 20, "how often one is killed")
    flags.DEFINE_bool("pause", False, "stop it for a while instead of killing it")
    flags.DEFINE_integer("steps", 800, "of the run")
    flags.DEFINE_float("longest", 2.0, "seconds after a life's first checkpoint within which it is killed")
    flags.DEFINE_integer("seed", 0, "of the moments")
    flags.DEFINE_string("output", None, "a folder for both runs and their logs")


if __name__ == "__main__":
    entry.run(main, define_flags, required=["output"])
