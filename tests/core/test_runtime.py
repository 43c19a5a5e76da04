"""Process settings: right fusions on CPUs, and compiled programs kept in the user's cache folder."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from ipmedgan_jax.core import processor

PROGRAM = """
import jax
from ipmedgan_jax.core import runtime
runtime.set_up()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: x * 3 + 1)(2.0))
"""


def run(program=PROGRAM, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=kept | {"JAX_PLATFORMS": "cpu"} | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )


def entries(folder):
    return sorted(path.name for path in folder.rglob("*-cache"))


def test_compiled_programs_are_kept_and_found_again(tmp_path):
    assert run(XDG_CACHE_HOME=str(tmp_path)).stdout == "7.0\n"
    (folder,) = (tmp_path / "ipmedgan_jax").glob("compiled-*")
    first = entries(folder)
    assert first
    again = run(XDG_CACHE_HOME=str(tmp_path))
    assert (again.stdout, again.stderr) == ("7.0\n", "")
    assert entries(folder) == first


def test_the_user_s_own_choice_stands(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path / "ours"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"))
    assert entries(tmp_path / "theirs")
    assert not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path):
    (tmp_path / "ipmedgan_jax").write_text("a file where the folder should be")
    assert run(XDG_CACHE_HOME=str(tmp_path)).stdout == "7.0\n"


SUMS = """
from ipmedgan_jax.core import runtime
runtime.set_up()
import jax, jax.numpy as jnp, numpy as np
rng = np.random.default_rng(0)
for size in (2, 3, 4, 8):
    matrix, rows = (rng.normal(size=shape).astype(np.float32) for shape in ((size, size), (40_000, size)))
    found = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(rows)
    expected = ((rows.astype(float) @ matrix.astype(float).T) ** 2).sum(1)
    print(np.abs(found - expected).max() / expected.max())
"""


def test_sums_of_products_are_right_for_any_number_of_rows(tmp_path):
    """The line of jax-ml/jax#39103: with jaxlib 0.10.2's own choice of fusions the sums of 3 are wrong by half."""
    errors = [float(line) for line in run(SUMS, XDG_CACHE_HOME=str(tmp_path)).stdout.split()]
    assert len(errors) == 4
    assert max(errors) < 1e-5


def test_one_program_is_right_without_flags_for_the_process(tmp_path):
    """As in a Python process of the user's, in which JAX has started already."""
    program = SUMS.replace("runtime.set_up()", "from ipmedgan_jax.core import processor").replace(
        "** 2)))(rows)", "** 2)), compiler_options=processor.compiler_options())(rows)"
    )
    errors = [float(line) for line in run(program, XDG_CACHE_HOME=str(tmp_path)).stdout.split()]
    assert max(errors) < 1e-5


def test_fusions_that_the_user_has_chosen_stay(monkeypatch):
    monkeypatch.setattr(processor, "RIGHT_FUSIONS", {metadata.version("jaxlib"): "RIGHT"})
    for given, expected in (
        ("", f"{processor.FUSION_FLAG}=RIGHT"),
        ("--a=1", f"--a=1 {processor.FUSION_FLAG}=RIGHT"),
        (f"{processor.FUSION_FLAG}=", f"{processor.FUSION_FLAG}="),
    ):
        monkeypatch.setenv("XLA_FLAGS", given)
        own = {processor.FUSION_FLAG.removeprefix("--"): "RIGHT"}
        assert processor.compiler_options() == ({} if processor.FUSION_FLAG in given else own)
        processor.avoid_wrong_fusions()
        assert os.environ["XLA_FLAGS"] == expected
        assert processor.compiler_options() == {}


UPDATE_AND_FILL = """
import sys
if sys.argv[1] == "set up":
    from ipmedgan_jax.core import runtime
    runtime.set_up()
from functools import partial
import jax, numpy as np
from benchmarks.step import random_batch
from ipmedgan_jax.configs import demo
from ipmedgan_jax.experiment import build, phases
from ipmedgan_jax.systems.inference import LearnedInpaint
from ipmedgan_jax.systems.interface import Batch
from ipmedgan_jax.systems.state import init_state
from ipmedgan_jax.systems.update import train_steps
from ipmedgan_jax.training import devices
config = demo.get_config().unlock()
config.data.image_size, config.holes.size, config.train.batch_size = 256, 64, 1  # 65,536 pixels: many rows
config.generator.width = config.discriminator.width = config.discriminator.layers = 2
config.loss.perceptual_layers = (1.0,) * 4
config.loss.style, config.vgg19.weights = 0.0, "random"
features = build.feature_network(config)
system = build.make_system(config, features.net)
update = phases.make_update(config, system)
state = jax.jit(partial(init_state, update, image_size=256))(jax.random.key(0))
batch = random_batch(1, 256, 64)
fill = LearnedInpaint(system).bind(state.generator.params, state.generator.statistics)(batch)
step = devices.map_over_devices(partial(train_steps, update))
_, metrics = step(devices.replicate(state), devices.replicate(features.params), Batch(**devices.split_over_devices(batch)))
np.savez(sys.argv[2], fill=fill, **{name.replace("/", "."): value for name, value in metrics.items()})
"""


@pytest.mark.slow
def test_a_whole_update_and_a_fill_do_not_depend_on_the_fusions(tmp_path):
    found = []
    for name in ("XLA's own", "set up"):
        program = f"import sys; sys.argv[1:] = {[name, str(tmp_path / name)]!r}\n{UPDATE_AND_FILL}"
        run(program, XDG_CACHE_HOME=str(tmp_path / "cache"))
        with np.load(tmp_path / f"{name}.npz") as arrays:
            found.append(dict(arrays))
    own, ours = found
    assert len(own) > 5
    for key, expected in own.items():
        np.testing.assert_allclose(ours[key], expected, rtol=2e-4, atol=2e-5, err_msg=key)


STEP = """
import os
from ipmedgan_jax.core import runtime
runtime.set_up(deterministic={})
import jax
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
print("xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", ""))
image, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(4, 3, 32, 32), (8, 3, 3, 3)]))
gradient = jax.jit(jax.grad(lambda kernel: (jax.lax.conv(image, kernel, (1, 1), "SAME") ** 2).mean()))(kernel)
print(jax.device_get(gradient).tobytes().hex())
"""


def test_determinism_is_asked_of_xla_before_it_starts_and_two_processes_agree_to_the_bit(tmp_path):
    first, second, without = (
        run(STEP.format(wanted), XDG_CACHE_HOME=str(tmp_path / str(i))).stdout.split()
        for i, wanted in enumerate([True, True, False])
    )
    assert first == second
    assert (first[0], without[0]) == ("True", "False")
    assert first[1] == without[1]  # a CPU is deterministic without it


def test_a_user_s_own_choice_about_determinism_stands(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=false")
    processor.request_determinism()
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=false"
