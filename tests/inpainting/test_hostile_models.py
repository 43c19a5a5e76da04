"""Models of others: crafted folders with right digests, whose content is refused by one line, in a process that lives on."""

import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.soak import hostile_programs
from benchmarks.soak.hostile_programs import TRAINED, batch, give, make_model, sign
from benchmarks.soak.tally import Plan
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting import exported, program_check

PROGRAMS = Path(__file__).parents[1] / "data" / "hostile" / "programs"
"""Programs that ended the process that read them; make.py there found them."""


@pytest.fixture
def model(tmp_path):
    """The folder of a small compiled model."""
    return make_model(tmp_path / "model")


def program_of(function, like=None):
    """Returns the bytes of a program with the model's inputs."""
    allowed = [jax.export.DisabledSafetyCheck.custom_call("evil")]
    export = jax.export.export(jax.jit(function), platforms=("cpu",), disabled_checks=allowed)
    return bytes(export([jax.ShapeDtypeStruct((), jnp.float32)], *(like or exported._batch(TRAINED))).serialize())


def test_a_program_that_calls_a_function_by_name_is_refused(model):
    def calls(weights, image, hole, shape):
        return jax.ffi.ffi_call("evil", jax.ShapeDtypeStruct(image.shape, image.dtype))(image)

    give(model, program_of(calls))
    with pytest.raises(UserError, match=r"has the operation stablehlo\.custom_call, which reaches outside it: refused"):
        exported.read(model)


@pytest.mark.parametrize("name", ["infeed", "outfeed", "send", "recv", "custom_call"])
def test_operations_that_reach_outside_are_refused(name, tmp_path):
    contents = program_check.Contents(10, ("cpu",), 1, 0, (), (), ("func.func", f"stablehlo.{name}"))
    with pytest.raises(UserError, match=f"stablehlo.{name}, which reaches outside"):
        program_check._check(tmp_path, contents)


def test_other_sizes_types_inputs_and_platforms_are_refused(model):
    def other(weights, image, hole, shape):
        return image[:1]

    give(model, program_of(other))
    with pytest.raises(UserError, match="the program is for images, holes or weights of other sizes"):
        exported.read(model)
    give(model, program_of(lambda weights, image: image + weights[0], exported._batch(TRAINED)[:1]))
    with pytest.raises(UserError, match="other sizes"):
        exported.read(model)


def test_a_program_that_needs_more_memory_than_there_is_is_refused(model):
    def greedy(weights, image, hole, shape):
        large = jnp.broadcast_to(image[..., None, None], (2, 32, 32, 1, 2**15, 2**14))
        return jnp.sort(jnp.cumsum(large, -1), -2)[..., -1, -1]

    give(model, program_of(greedy))
    generator = exported.read(model)
    with pytest.raises(UserError, match=r"its program (needs .* GiB of memory|cannot be compiled or run here)"):
        generator.inpaint(batch())


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("crash_*")), ids=lambda path: path.stem)
def test_a_program_that_kills_its_reader_is_one_line(model, path):
    give(model, path.read_bytes())
    with pytest.raises(UserError, match=r"program (crashes its reader \(signal|takes more than|cannot be read)"):
        exported.read(model)


def test_an_endless_program_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(program_check, "_main_command", lambda: [sys.executable, "-c", "while True: pass"])
    monkeypatch.setattr(program_check, "SECONDS", 0.1)
    with pytest.raises(UserError, match=r"its program takes more than 1\.0 s to read"):
        program_check.inspect(tmp_path, b"")


def test_altered_programs_are_refused_or_run_and_never_end_the_process(tmp_path):
    tally = hostile_programs.run(Plan(tmp_path, 4, 0))
    assert (tally.injected, tally.silent) == (4, [])
    assert tally.noticed


def test_the_soak_sees_a_reader_without_its_checks(tmp_path, monkeypatch):
    real = program_check.inspect

    def unchecked(path, content):
        try:
            return real(path, content)
        except UserError as error:
            raise RuntimeError("as before") from error

    monkeypatch.setattr(program_check, "inspect", unchecked)
    assert hostile_programs.run(Plan(tmp_path, 2, 0)).silent


@pytest.mark.parametrize("weights", [{"0": np.zeros(2)}, {"1": np.float32(0)}, {"0": np.array([{}], object)}, {}])
def test_weights_that_do_not_fit_the_program_are_refused(model, weights):
    np.savez(model / exported.WEIGHTS_FILE, **weights)
    sign(model)
    with pytest.raises(UserError, match="damaged or of another version"):
        exported.read(model)
