"""Ctrl-C and SIGTERM outside of training: one line, the exit code of shells, nothing half written."""

import signal
import subprocess
import sys
import threading

import pytest

from ipmedgan_jax.core import interruption

PROGRAM = """
import os, signal, sys, time
from ipmedgan_jax.core import command, interruption

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
    program = PROGRAM.format(main=main.format(number), flags=flags.format(number))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{word}: {note}\n")


@pytest.fixture
def restored_handler():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


FORK = """
import os, signal
from ipmedgan_jax.core import interruption
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
