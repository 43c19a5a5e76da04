"""The soak's parts on training: kills and a long run, in short forms."""

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.soak import kills, long_run
from benchmarks.soak.long_run import Sample
from benchmarks.soak.tally import Plan


@pytest.fixture(autouse=True)
def compiled_programs_of_the_tests(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.values["jax_compilation_cache_dir"])


def test_a_killed_and_restarted_training_ends_on_the_same_bits(tmp_path):
    tally = kills.run(Plan(tmp_path, 2, 19), system="unet")  # the first kill of this seed comes after a checkpoint
    assert not tally.silent
    assert (tally.injected, tally.harmless) == (2, 2)


KEPT = []


def leak():
    """Makes the process keep 2 MiB more at every step."""
    from ipmedgan_jax.training.metrics_watch import MetricsWatch

    add = MetricsWatch.add
    MetricsWatch.add = lambda self, *arguments: KEPT.append(np.ones(2**18)) or add(self, *arguments)


def test_a_leak_is_found_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(long_run, "SAMPLES_S", 0.02)
    tally = long_run.run(Plan(tmp_path, 60, 0, pictures=tmp_path), leak)
    assert "memory rose by" in tally.silent[0]
    with Image.open(tmp_path / "long_run.png") as picture:
        assert picture.size[0] > 500


@pytest.mark.parametrize(
    ("memory", "files", "found"),
    [(1.0, 9, []), (1.019, 9, []), (1.021, 9, ["memory rose by 2.1%"]), (0.9, 10, ["open files rose from 9 to 10"])],
)
def test_a_rise_after_the_start_up_is_told(memory, files, found):
    start_up = [Sample(step, 10**6, 2, 0) for step in range(0, 1000, 10)]
    begin = [Sample(step, 10**9, 9, 0) for step in range(1000, 1500, 10)]
    saving = [Sample(9500, 9 * 10**9, 99, 0)]
    end = [Sample(step, int(memory * 10**9), files, 0) for step in range(9000, 9500, 10)]
    assert long_run.rises(*long_run.after_start_up([*start_up, *begin, *saving, *end], 10_000)) == found
