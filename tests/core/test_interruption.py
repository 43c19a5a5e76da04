"""Ctrl-C and SIGTERM outside of training: one line, the exit code of shells, nothing half written."""

import signal
import subprocess
import sys
import threading

import pytest

from ipmedgan_jax.core import interruption, program

PROGRAM = """
import gc, os, signal, sys, time
from ipmedgan_jax.core import command, interruption

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

def stopped(number):
    os.kill(os.getpid(), number)
    time.sleep(30)

def main():
    {main}

command.run_command(main, lambda: {flags})
"""

AGAIN = "files that were written are complete; run the same command again"


@pytest.mark.parametrize(("number", "code", "word"), [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")])
@pytest.mark.parametrize(
    ("main", "flags", "note"),
    [
        ("stopped(signal.{})", "None", AGAIN),
        ("pass", "stopped(signal.{})", AGAIN),
        ("\n    with interruption.if_interrupted('all is saved'): stopped(signal.{})", "None", "all is saved"),
    ],
)
def test_a_signal_ends_a_command_with_one_line_and_its_code(number, code, word, main, flags, note):
    text = PROGRAM.format(main=main.format(number), flags=flags.format(number))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{word}: {note}\n")


LOST = """
    class Collected:
        def __del__(self):
            os.kill(os.getpid(), signal.{0})
            time.sleep(0.1)

    def while_collecting(phase, info):
        gc.callbacks.clear()
        os.kill(os.getpid(), signal.{0})
        time.sleep(0.1)

    {1}
    print("goes on")
    time.sleep(20)
    print("never ends")
"""


@pytest.mark.parametrize("lost", ["Collected()", "gc.callbacks.append(while_collecting); gc.collect()"])
@pytest.mark.parametrize(("number", "code", "word"), [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")])
def test_a_signal_that_is_lost_in_a_callback_ends_the_command_soon_after(number, code, word, lost):
    text = PROGRAM.format(main=LOST.format(number, lost), flags="None")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "goes on\n", f"{word}: {AGAIN}\n")


@pytest.fixture
def restored_handler(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


FORK = """
import os, signal
from ipmedgan_jax.core import interruption, program
interruption.raise_on_sigterm()
child = os.fork()
os.kill(os.getpid(), 0 if child else signal.SIGTERM)
print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_ends_by_the_signal_without_a_word():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (f"{signal.SIGTERM.value}\n", "")


def test_a_signal_that_is_handled_or_ignored_already_stays_so(restored_handler):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    interruption.raise_on_sigterm()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def test_a_thread_leaves_the_signals_alone(restored_handler):
    thread = threading.Thread(target=interruption.raise_on_sigterm)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


AT_IMPORT = """
import os, runpy, signal, sys
def hook(event, arguments):
    if event == "import" and arguments[0] == {library!r}:
        os.kill(os.getpid(), signal.SIGTERM)
sys.addaudithook(hook)
sys.argv = ["x", *{arguments!r}]
runpy.run_module("ipmedgan_jax.{module}", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "library", "arguments"),
    [
        ("main", "jax", ["--config=demo", "--workdir={folder}/run"]),
        ("evaluate", "jax", ["--workdir={folder}/run"]),
        ("evaluate", "grain", ["--workdir={folder}/run"]),
        ("inpaint", "jax", ["--workdir={folder}/run", "--image=a.nii", "--mask=b.nii", "--output=c.nii"]),
        ("view", "http", ["{folder}/a.nii"]),
        ("bids", "jax", ["{folder}", "{folder}/out", "participant"]),
        ("export", "jax", ["--workdir={folder}/run", "--output={folder}/model"]),
        ("prepare", "nibabel", ["--config=demo", "--input={folder}/*.nii", "--output={folder}/data"]),
        ("compare", "PIL", ["{folder}/run", "--output={folder}/tables"]),
    ],
)
def test_a_signal_while_a_command_imports_its_libraries_ends_it_with_one_line(tmp_path, module, library, arguments):
    filled = [argument.format(folder=tmp_path) for argument in arguments]
    text = AT_IMPORT.format(module=module, library=library, arguments=filled)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (143, f"terminated: {AGAIN}\n")
    assert not list(tmp_path.iterdir())


def test_no_command_imports_jax_before_it_handles_signals():
    names = ", ".join(f"ipmedgan_jax.{module}" for module in program.MODULES.values())
    lines = f"import sys, {names}; print({{'jax', 'flax', 'scipy', 'grain'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
