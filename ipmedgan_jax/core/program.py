"""How the user started this process: `ipmedgan train` or `python -m ipmedgan_jax.main`."""

import re
import sys

MODULES = {
    "prepare": "prepare",
    "train": "main",
    "evaluate": "evaluate",
    "inpaint": "inpaint",
    "compare": "compare",
    "export": "export",
    "vgg19": "vgg19",
}
"""The words of the console command, in the order a project needs them, and the modules that they run."""


def as_typed(text: str) -> str:
    """The text with its `python -m ipmedgan_jax.MODULE` written as the words of the console command, if that was typed."""
    if not sys.argv[0].startswith("ipmedgan "):
        return text
    words = {module: word for word, module in MODULES.items()}
    return re.sub(r"python -m ipmedgan_jax\.(\w+)", lambda found: f"ipmedgan {words.get(found[1], found[1])}", text)
