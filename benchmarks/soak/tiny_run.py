"""The smallest complete run with steps of milliseconds, in processes that start in a second.

A server imports the package once and is forked for each start (multiprocessing's `forkserver`). The image stands in for
VGG-19's features, which would take most of the time.
"""

import logging as python_logging
import multiprocessing
import multiprocessing.context
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import cache, processor

SMALL: dict[str, Any] = {
    "phantom.subjects": 4,
    "phantom.slices": 6,
    "data.image_size": 32,
    "data.validation_subjects": ("sub-003",),
    "data.test_subjects": ("sub-004",),
    "data.threads": 1,
    "data.prefetch": 4,
    "holes.size": 16,
    "generator.width": 2,
    "discriminator.width": 2,
    "discriminator.layers": 2,
    "loss.perceptual_layers": (1.0,) * 4,
    "loss.style": 0.0,
    "vgg19.weights": "random",
    "train.batch_size": 2,
    "train.ema": 0.9,
    "train.validation_slices": 4,
}
"""What differs from the config `demo`."""


def context() -> multiprocessing.context.ForkServerContext:
    """Returns the server that is forked for each start; it imports what a run needs when it is first used."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, "ipmedgan_jax.training.loop"])
    return server


def shared_number() -> "Synchronized[int]":
    """Returns a number that a process and its parent both see, 0 at first."""
    return context().Value("q", 0)


@dataclass(frozen=True)
class Start:
    """One start of a run.

    Attributes:
      workdir: the run's folder; the process's output is appended to `WORKDIR.log`.
      settings: what differs from `SMALL`, by dotted key; and the `system`.
      before: called in the process before it trains; must be picklable.
      compiled: JAX's cache of compiled programs.
    """

    workdir: Path
    settings: Mapping[str, Any]
    before: Callable[[], None] | None = None
    compiled: str = field(default_factory=lambda: os.environ.get("JAX_COMPILATION_CACHE_DIR") or _compiled_folder())

    @property
    def log(self) -> Path:
        return Path(f"{self.workdir}.log")

    def process(self) -> ForkServerProcess:
        """Returns the process, which is not started yet; its exit code is 0 if the run is finished."""
        return context().Process(target=_train, args=(self,))

    def run(self) -> int:
        """Runs the process to its end and returns its exit code, negative if a signal ended it."""
        process = self.process()
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def last_words(self) -> str:
        """Returns the last line of the log."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line for line in reversed(lines) if line.strip()), "no word")


def _compiled_folder() -> str:
    return str(cache.folder() / f"soak-{processor.name()}")


def _train(start: Start) -> None:
    """What the process does; ends it with 0, a UserError's code, or 1."""
    start.workdir.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(start.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    from absl import flags

    from ipmedgan_jax.core import runtime
    from ipmedgan_jax.core.errors import UserError

    runtime.set_up()
    import jax

    jax.config.update("jax_compilation_cache_dir", start.compiled)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    flags.FLAGS.mark_as_parsed()  # Grain's readers ask
    python_logging.getLogger().setLevel(python_logging.ERROR)
    from ipmedgan_jax.training import loop

    code = 0
    try:
        if start.before:
            start.before()
        loop.train(experiment(start.settings), start.workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


def experiment(settings: Mapping[str, Any]) -> Any:
    """Builds the experiment of these settings, with the image in place of VGG-19's features."""
    import flax.linen as nn

    from ipmedgan_jax.configs import demo
    from ipmedgan_jax.experiment import build
    from ipmedgan_jax.pretrained.vgg19_weights import FeatureNetwork

    class Pixels(nn.Module):
        dtype: str = "float32"

        @nn.compact
        def __call__(self, image: Any) -> Any:
            return (image,)

    changes = SMALL | dict(settings)
    config = demo.get_config(changes.pop("system", "")).unlock()
    for key, value in changes.items():
        group, name = key.split(".")
        config[group][name] = value
    return replace(build.build_experiment(config.lock()), features=FeatureNetwork(Pixels(), {}, "pixels"))
