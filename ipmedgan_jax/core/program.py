"""The words of the console command, and messages in the form in which the user started the process."""

import re
import sys

MODULES = {
    "prepare": "prepare",
    "train": "main",
    "evaluate": "evaluate",
    "inpaint": "inpaint",
    "view": "view",
    "compare": "compare",
    "export": "export",
    "vgg19": "vgg19",
    "bids": "bids",
}
"""The words of the console command, in the order of a project, and the modules that they run."""


def as_typed(text: str) -> str:
    """Replaces `python -m ipmedgan_jax.MODULE` in a text by `ipmedgan WORD`, if the user typed the console command."""
    if not sys.argv[0].startswith("ipmedgan "):
        return text
    words = {module: word for word, module in MODULES.items()}
    return re.sub(r"python -m ipmedgan_jax\.(\w+)", lambda found: f"ipmedgan {words.get(found[1], found[1])}", text)
