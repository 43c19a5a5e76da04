"""The flag --config: a shipped config by its name, or a config file, with changes of single keys.

  --config=small  --config=small:unet  --config=configs/ct.py  --config=/home/me/mine.py:glcic  --config.train.steps=400

A config is a Python file that defines `get_config(system)`. A user's own config starts from a shipped one:
`from ipmedgan_jax.configs import base`. A config that cannot be read raises UserError.
"""

import ast
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from ipmedgan_jax import configs
from ipmedgan_jax.core.command import ShowFlag
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.lines import one_line
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.core.user_paths import user_path

FOLDER = Path(configs.__file__).parent
"""Folder of the shipped configs."""


def _no_config() -> dict[str, Any]:
    raise UserError("--print_config needs --config")


def define(what: str = "the settings, and the system", saved: Callable[[], dict[str, Any]] = _no_config) -> None:
    """Defines --config and --print_config.

    Args:
      what: the beginning of --config's help.
      saved: returns the nested dict that --print_config prints without --config, for a command that does not need it.
    """
    config_flags.DEFINE_config_file("config", None, _help(what))
    flags.FLAGS["config"].parser = _Parser()

    def text() -> str:
        from ipmedgan_jax.experiment.saved_config import flattened  # here, as in `load`

        found = flattened(flags.FLAGS.config.to_dict() if flags.FLAGS.config else saved())
        return "\n".join(f"{key} = {value!r}" for key, value in found.items())

    flags.DEFINE_flag(ShowFlag("print_config", text, "print every setting, with the changed ones, and exit"))


def computation_type(config: ConfigDict) -> str:
    """Returns `train.dtype`, which a command needs before it imports JAX."""
    return str(config.train.dtype)


def is_deterministic(config: ConfigDict) -> bool:
    """Returns `train.deterministic`, which a command needs before it imports JAX."""
    return bool(config.train.deterministic)


def given() -> str:
    """Returns the flag's value as the user typed it."""
    return config_flags.get_config_filename(flags.FLAGS["config"])


class _Parser(flags.ArgumentParser):
    def parse(self, argument: str) -> ConfigDict:
        name, *system = argument.split(":", 1)
        config = load(find(name), *system)
        check_keys(config, sys.argv[1:])
        return config

    def flag_type(self) -> str:
        return "NAME[:SYSTEM] or FILE[:SYSTEM]"


def shipped() -> dict[str, Path]:
    """Returns the files of the shipped configs by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.stem != "__init__"}


def find(name: str) -> Path:
    """Returns the file of a config: a shipped config by its name, or a path.

    The path `configs/NAME.py` names the shipped config if there is no such file. Raises UserError if there is neither.
    """
    known, path = shipped(), user_path(name)
    if name in known:
        return known[name]
    if path.is_file():
        return path
    if path.parts == ("configs", path.name) and path.suffix == ".py" and path.stem in known:
        # Flags are read before the log is open.
        print(one_line(f"{name}: not in this folder; using the shipped {known[path.stem]}"), file=sys.stderr)
        return known[path.stem]
    what = "no such file" if path.suffix == ".py" or len(path.parts) > 1 else "no such config"
    suggested = suggestion(path.stem, known, "--config=") or ", or give a file"
    raise UserError(f"--config={name}: {what}; shipped are {', '.join(known)}{suggested}")


def load(path: Path, *system: str) -> ConfigDict:
    """Returns the config that the file's `get_config` makes, locked so that no new key can be set.

    Raises UserError if the file cannot be run or does not return a ConfigDict.
    """
    # Imported here, because it takes long: a command handles signals only once its own module is imported.
    from ipmedgan_jax.experiment.saved_config import check_known

    loader = importlib.machinery.SourceFileLoader("ipmedgan_config", str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(loader.name, loader, origin=str(path)))
    try:
        loader.exec_module(module)
        config = module.get_config(*system)
    except UserError:
        raise
    except Exception as error:  # a config is Python: it can raise anything
        hint = ": write `from ipmedgan_jax.configs import ...`" if getattr(error, "name", None) == "configs" else ""
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error}){hint}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config returned {type(config).__name__}, expected a ConfigDict")
    check_known(config, path)
    return config.lock()


def check_keys(config: ConfigDict, arguments: Sequence[str]) -> None:
    """Raises UserError for a --config.KEY on the command line that the config does not have; suggests the nearest key."""
    known = list(_keys(config.to_dict()))
    for argument in arguments:
        found = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if found and found[1] == "system":
            raise UserError("config.system is set by the config's suffix: --config=NAME:SYSTEM, see --help")
        if found and found[1] not in known:
            what = suggestion(found[1], known, "config.") or "; --print_config prints all"
            raise UserError(f"config.{found[1]}: no such key{what}")


def _keys(nested: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of values and of groups."""
    for key, value in nested.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _help(what: str) -> str:
    """Returns the help of --config, which lists the shipped configs with the beginnings of their docstrings."""
    lines = [f"{what}: a shipped config or a file; --config.KEY=VALUE changes a setting. Shipped configs:"]
    for name, path in shipped().items():
        description = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"{name:<10} {re.split(r'[:.]', description)[0]}")
    return "\n".join(lines)
