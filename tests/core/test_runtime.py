"""Process settings: compiled programs are kept in the user's cache folder."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import jax
from ipmedgan_jax.core import runtime
runtime.set_up()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: x * 3 + 1)(2.0))
"""


def run(**environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
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
