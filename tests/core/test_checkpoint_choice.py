"""The flag --checkpoint: best, latest or a step."""

import pytest
from absl import flags

from ipmedgan_jax.core import checkpoint_choice, flag_help


@pytest.fixture
def values(monkeypatch):
    found = flags.FlagValues()
    monkeypatch.setattr(flags, "DEFINE_flag", lambda flag: found.__setitem__(flag.name, flag))
    checkpoint_choice.define_flag()
    return found


@pytest.mark.parametrize("choice", ["best", "latest", "0", "4000"])
def test_a_name_or_a_step_is_taken(choice, values):
    values(["command", f"--checkpoint={choice}"])
    assert values["checkpoint"].value == choice


@pytest.mark.parametrize("choice", ["", "newest", "-1", "4e3", "1.0", "٣", "9" * 40])
def test_anything_else_is_refused(choice, values):
    with pytest.raises(flags.IllegalFlagValueError, match="expected best, latest or a step"):
        values(["command", f"--checkpoint={choice}"])


def test_help_names_the_choices(values):
    line = flag_help.help_text("", [values["checkpoint"]], required=()).splitlines()[3]
    assert line == "  --checkpoint: best | latest | STEP; default best"
