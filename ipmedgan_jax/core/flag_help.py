"""The text of --help: what a command does, and of each flag the type, the choices, the unit and the default."""

import re
import textwrap
from collections.abc import Collection, Iterable
from typing import Any

from absl import flags

UNITS = {"_mm": "millimetres", "_hu": "HU"}
"""A flag of a unit has it at the end of its name."""

WIDTH = 118


def help_text(description: str, defined: Iterable[flags.Flag], required: Collection[str]) -> str:
    """The command's description, then its flags by name."""
    lines = [description.strip(), "", "flags:"]
    for flag in sorted(defined, key=lambda flag: flag.name):
        lines.append(f"  --{flag.name}: {kind_of(flag)}; {'required' if flag.name in required else default_of(flag)}")
        explanation = re.sub(r"^<[^>]*>: ", "", flag.help or "")  # absl's list of choices
        for line in explanation.splitlines():
            lines += textwrap.wrap(line, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def kind_of(flag: flags.Flag) -> str:
    """A flag's type, with its choices, its bounds and its unit."""
    parser: Any = flag.parser
    if choices := getattr(parser, "enum_values", None):
        return " | ".join(choices)
    kind = flag.flag_type()
    if kind in ("int", "float"):
        unit = next((f" in {unit}" for end, unit in UNITS.items() if flag.name.endswith(end)), "")
        return ("whole number" if kind == "int" else "number") + unit + _bounds(parser.lower_bound, parser.upper_bound)
    names = {"string": "text", "bool": "true or false", "comma separated list of strings": "list, separated by commas"}
    return names.get(kind, kind)


def default_of(flag: flags.Flag) -> str:
    """The value of a flag that is not given."""
    if flag.default is None:
        return "optional"
    value = flag.default
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, list):
        value = ",".join(value)
    return f"default {value if value != '' else 'empty'}"


def _bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    if low is not None:
        return f", at least {low:g}"
    return "" if high is None else f", at most {high:g}"
