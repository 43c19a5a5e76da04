"""Times this package and a PyTorch script in alternation, each in its own process; prints their times and the ratio.

  python -m benchmarks.against_pytorch --config=configs/ct.py --peer=SCRIPT.py
  python -m benchmarks.against_pytorch --config=configs/small.py --peer=SCRIPT.py --peer_flags='--dtype fp32,--dtype bf16'
  python -m benchmarks.against_pytorch --config=configs/ct.py --peer=SCRIPT.py --own_flags=--config.train.dtype=bfloat16
  python -m benchmarks.against_pytorch --config=configs/ct.py --peer=SCRIPT.py --what=infer

--what=train times one update (`benchmarks.step`); --what=infer times the generator alone (`benchmarks.inference`). Both use
train.batch_size slices. The script --peer must take the flags --mode --size --blocks --width --d-width --batch --steps
--warmup and print one JSON line with `seconds_per_step`. --own_flags and --peer_flags list the settings of either side to
try, separated by commas; the fastest of this package is compared with the fastest of the peer.
"""

import json
import shlex
import statistics
import subprocess
import sys
from typing import Any

from absl import flags

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    values = flags.FLAGS
    config, timing = values.config, [f"--steps={values.steps}", f"--warmup={values.warmup}"]
    own = {"train": ["benchmarks.step"], "infer": ["benchmarks.inference", f"--batch_sizes={config.train.batch_size}"]}
    ours = [sys.executable, "-m", *own[values.what], *_own_config_flags(), *timing]
    peer = [
        *(values.peer_python or sys.executable, values.peer, "--mode", values.what),
        *("--size", str(config.data.image_size)),
        *("--blocks", str(config.generator.blocks)),
        *("--width", str(config.generator.width)),
        *("--d-width", str(config.discriminator.width)),
        *("--batch", str(config.train.batch_size)),
        *("--steps", str(values.steps), "--warmup", str(values.warmup)),
    ]
    sides = {"ours": (ours, values.own_flags), "PyTorch": (peer, values.peer_flags)}
    commands = {
        f"{side} {options}".strip(): command + shlex.split(options)
        for side, (command, settings) in sides.items()
        for options in settings
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(1, values.turns + 1):
        for name, command in commands.items():
            result = run(command)
            seconds[name].append(result["seconds_per_step"])
            print(json.dumps({"turn": turn, "who": name} | result), flush=True)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    best = {side: min((name for name in medians if name.startswith(side)), key=medians.__getitem__) for side in sides}
    per_turn = [ours / theirs for ours, theirs in zip(seconds[best["ours"]], seconds[best["PyTorch"]], strict=True)]
    ratio = medians[best["ours"]] / medians[best["PyTorch"]]
    print(json.dumps({"seconds_per_step": medians, "best": best, "ours_over_best": ratio, "of_each_turn": per_turn}))


def run(command: list[str]) -> dict[str, Any]:
    """Runs a command and returns the JSON object on its last line of output; UserError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        error = (done.stderr.strip().splitlines() or ["no error message"])[-1]
        raise UserError(f"{shlex.join(command)}: exit code {done.returncode}: {error}")
    return json.loads(lines[-1])


def _own_config_flags() -> list[str]:
    """Returns the arguments of this command that select the config."""
    return [argument for argument in sys.argv[1:] if argument.startswith(("--config=", "--config."))]


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_enum("what", "train", ["train", "infer"], "time one update, or the generator alone")
    flags.DEFINE_string("peer", None, "path of the PyTorch script")
    flags.DEFINE_string("peer_python", None, "Python interpreter that has PyTorch; by default this one")
    flags.DEFINE_list("own_flags", [""], "settings of this package to try, for example --config.train.dtype=bfloat16")
    flags.DEFINE_list("peer_flags", ["--dtype fp32"], "settings of the PyTorch script to try, for example '--dtype bf16'")
    flags.DEFINE_integer("steps", 5, "number of timed updates per turn", lower_bound=1)
    flags.DEFINE_integer("warmup", 2, "number of untimed updates before them", lower_bound=0)
    flags.DEFINE_integer("turns", 2, "number of turns", lower_bound=1)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config", "peer"])
