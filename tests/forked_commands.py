"""Commands as processes, but not a start of Python for each: one child imports what they need, and forks for each.

The child never uses JAX itself: a process that has computed with it cannot be forked.
"""

import contextlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 240


class ForkedCommands:
    """Starts the child when the first command is run. A context manager."""

    def __init__(self):
        self._child = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._child is not None:
            self._child.communicate(timeout=SECONDS)  # closes its input, which ends it

    def run(self, module, *arguments, cwd=ROOT):
        """What `python -m ipmedgan_jax.MODULE ARGUMENTS` ends with: `returncode`, `stdout` and `stderr`."""
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        with tempfile.TemporaryDirectory() as folder:
            request = {"module": module, "arguments": [*map(str, arguments)], "cwd": str(cwd)}
            self._child.stdin.write(json.dumps(request | {"environment": environment, "folder": folder}) + "\n")
            self._child.stdin.flush()
            code = int(self._child.stdout.readline())
            texts = [(Path(folder) / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess([module, *arguments], code, *texts)


def serve():
    """The child: reads a command a line, and answers each with an exit code."""
    from ipmedgan_jax.data import preparation  # noqa: F401
    from ipmedgan_jax.evaluation import comparison, evaluate_run  # noqa: F401
    from ipmedgan_jax.inpainting import scan  # noqa: F401
    from ipmedgan_jax.training import dry_run, loop  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(module, arguments, cwd, environment, folder):
    """Runs the command in this forked process, and ends it."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = [module, *arguments]
    code = 1
    try:
        runpy.run_module(f"ipmedgan_jax.{module}", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
