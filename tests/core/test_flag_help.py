"""The text that --help prints for a flag."""

import re
from pathlib import Path

import pytest
from absl import flags

import ipmedgan_jax
from ipmedgan_jax.core import command, flag_help


def defined(define, name, *arguments, **options):
    values = flags.FlagValues()
    define(name, *arguments, flag_values=values, **options)
    return values[name]


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        (defined(flags.DEFINE_string, "output", None, "h"), "--output: text; optional"),
        (defined(flags.DEFINE_string, "caption", "", "h"), "--caption: text; default empty"),
        (defined(flags.DEFINE_integer, "cases", 4, "h", lower_bound=1), "--cases: whole number, at least 1; default 4"),
        (defined(flags.DEFINE_integer, "n", 4, "h", upper_bound=9), "--n: whole number, at most 9; default 4"),
        (defined(flags.DEFINE_float, "x", 0.5, "h", lower_bound=0, upper_bound=1), "--x: number, 0 to 1; default 0.5"),
        (defined(flags.DEFINE_float, "dilate_mm", 0.0, "h"), "--dilate_mm: number in millimetres; default 0.0"),
        (defined(flags.DEFINE_float, "mask_above_hu", None, "h"), "--mask_above_hu: number in HU; optional"),
        (defined(flags.DEFINE_boolean, "strict", False, "h"), "--strict: true or false; default false"),
        (defined(flags.DEFINE_list, "planes", ["axial"], "h"), "--planes: list, separated by commas; default axial"),
        (
            defined(flags.DEFINE_enum, "checkpoint", "best", ["best", "latest"], "h"),
            "--checkpoint: best | latest; default best",
        ),
    ],
)
def test_a_flag_s_type_bounds_unit_choices_and_default_are_said(flag, line):
    assert flag_help.help_text("", [flag], required=()).splitlines()[3:] == [f"  {line}", "      h"]


def test_a_required_flag_says_so_and_long_help_is_wrapped():
    flag = defined(flags.DEFINE_string, "image", None, "word " * 60)
    lines = flag_help.help_text("What it does.\n", [flag], required=["image"]).splitlines()
    assert lines[:4] == ["What it does.", "", "flags:", "  --image: text; required"]
    assert len(lines) > 5
    assert max(map(len, lines)) <= flag_help.WIDTH


def test_flags_are_in_the_order_of_their_names():
    strict, image = defined(flags.DEFINE_boolean, "strict", False, "h"), defined(flags.DEFINE_string, "image", None, "h")
    text = flag_help.help_text("", [strict, image], required=())
    assert text.index("--image") < text.index("--strict")


def test_a_flag_that_shows_something_keeps_its_text():
    assert command.ShowFlag("print_config", lambda: "all", "h").text() == "all"


def test_units_are_in_the_names_of_the_flags_that_have_one():
    """A flag in millimetres whose name does not end in _mm would be shown without its unit."""
    commands = Path(ipmedgan_jax.__file__).parent.glob("*.py")
    names = [name for path in commands for name in re.findall(r'DEFINE_float\(\s*"(\w+)"', path.read_text())]
    assert names
    assert all(name.endswith(tuple(flag_help.UNITS)) for name in names)
