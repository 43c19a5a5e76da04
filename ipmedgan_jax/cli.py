"""The console command: `ipmedgan WORD FLAGS` runs the module of that word, as `python -m` does.

ipmedgan train --config=small --workdir=runs/mri
ipmedgan train --help
"""

import importlib
import runpy
import sys
from typing import NoReturn

from ipmedgan_jax import __version__
from ipmedgan_jax.core import spelling
from ipmedgan_jax.core.errors import BAD_INPUT
from ipmedgan_jax.core.lines import one_line
from ipmedgan_jax.core.program import MODULES


def main() -> NoReturn:
    word, *rest = sys.argv[1:] or ["--help"]
    if word in ("--version", "-V"):
        print(f"ipmedgan {__version__}")
        sys.exit(0)
    if word in ("--help", "-help", "-h"):
        print(overview())
        sys.exit(0)
    if word not in MODULES:
        print(one_line(f"error: ipmedgan {word}: {_describe_unknown(word)}"), file=sys.stderr)
        sys.exit(BAD_INPUT)
    sys.argv = [f"ipmedgan {word}", *rest]
    runpy.run_module(f"ipmedgan_jax.{MODULES[word]}", run_name="__main__")
    sys.exit(0)


def overview() -> str:
    """Returns the list of commands, each with the first line of its docstring."""
    lines = ["Adversarial inpainting of medical images.", "", "  ipmedgan COMMAND --FLAG=VALUE ...", "", "commands:"]
    for word, module in MODULES.items():
        description = (importlib.import_module(f"ipmedgan_jax.{module}").__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {word:<9} {description}")
    lines += ["", "ipmedgan COMMAND --help explains a command and its flags; ipmedgan --version prints the version."]
    return "\n".join(lines)


def _describe_unknown(word: str) -> str:
    words = {module: word for word, module in MODULES.items()}
    found = words.get(word) or spelling.nearest(word, MODULES)
    if found:
        return f"no such command; did you mean ipmedgan {found}?"
    return f"no such command; expected one of {', '.join(MODULES)}"


if __name__ == "__main__":
    main()
