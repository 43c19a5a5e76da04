"""The text of --help: a command's description, and the type, choices, unit and default of each flag."""

import re
import textwrap
from collections.abc import Collection, Iterable
from typing import Any

from absl import flags

UNITS = {"_mm": "millimetres", "_hu": "HU"}
"""Units by the ending of a flag's name."""

WIDTH = 118


def help_text(description: str, defined: Iterable[flags.Flag], required: Collection[str]) -> str:
    """Returns the command's description, followed by its flags in alphabetical order."""
    lines = [description.strip(), "", "flags:"]
    for flag in sorted(defined, key=lambda flag: flag.name):
        lines.append(f"  --{flag.name}: {kind_of(flag)}; {'required' if flag.name in required else default_of(flag)}")
        explanation = re.sub(r"^<[^>]*>: ", "", flag.help or "")  # absl puts the choices there; `kind_of` prints them
        for line in explanation.splitlines():
            lines += textwrap.wrap(line, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def kind_of(flag: flags.Flag) -> str:
    """Returns a flag's choices, or its type with its unit and bounds."""
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
    """Returns the default of a flag, or `optional` if it has none."""
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
