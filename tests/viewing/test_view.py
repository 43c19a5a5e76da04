"""The command: it starts fast, ends by a signal, and leaves nothing behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from view_client import write_scan

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.viewing import work_folder
from ipmedgan_jax.viewing.work_folder import WorkFolder

ROOT = Path(__file__).parents[2]

START = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
runpy.run_module("ipmedgan_jax.view", run_name="__main__")
"""


@contextlib.contextmanager
def started(temporary, *arguments):
    """Gives a process of the command, and the address that it prints; ends it at last."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", START, "--nobrowser", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            line = process.stdout.readline()
            found = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/[\w-]{43}/)\n", line)
            yield process, found and found[1]
        finally:
            process.kill()


def folders(temporary):
    return [path.name for path in temporary.iterdir() if path.name.startswith(work_folder.PREFIX)]


@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_ends_it_in_one_line_and_its_files_are_removed(tmp_path, number, word):
    image, _ = write_scan(tmp_path / "in")
    with started(tmp_path, image, "--system=laplace") as (process, address):
        with urllib.request.urlopen(f"{address}api/state", timeout=60) as answer:
            assert b'"name": "sub-1_FLAIR.nii.gz"' in answer.read()
        (folder,) = folders(tmp_path)
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert process.stderr.read() == f"{word}: the page is closed, and its temporary files are removed\n"
    assert not folders(tmp_path)


def test_what_a_killed_one_leaves_the_next_one_removes(tmp_path):
    with started(tmp_path) as (process, _):
        left = folders(tmp_path)
        process.kill()
        process.wait(60)
    assert folders(tmp_path) == left
    with contextlib.closing(WorkFolder(tmp_path)) as folder:
        assert folders(tmp_path) == [folder.path.name]
    assert not folders(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.nii.gz"], "nothing.nii.gz: not found"),
        (["a.nii", "b.nii"], "expected one scan at most, got 2: a.nii, b.nii"),
        (["--series=4"], "--series=4: needs the folder of a DICOM series"),
        (["--port=70000"], "--port"),
        (["--model=flare"], "--model=flare: not found"),
        (["."], "holds no DICOM files"),
    ],
)
def test_a_mistake_is_one_line(command, tmp_path, arguments, message):
    done = command("view", "--nobrowser", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_address_comes_before_anything_that_computes_is_imported(tmp_path):
    text = (
        "import sys\nfrom ipmedgan_jax.viewing.server import Server\nfrom ipmedgan_jax.viewing.session import Session\n"
        "session = Session(); server = Server(session); print(server.url)\n"
        "print([name for name in ('jax', 'numpy', 'nibabel', 'scipy', 'cv2') if name in sys.modules])\nsession.close()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[1] == "[]"


# ------------------------------------------------------------------ the folder


def test_the_folder_of_a_living_process_and_what_is_not_ours_stay(tmp_path):
    with contextlib.closing(WorkFolder(tmp_path)) as living:
        other = tmp_path / f"{work_folder.PREFIX}other"
        other.mkdir()  # without a lock: it is being made, or is none of these folders
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / ".lock").touch()
        link = tmp_path / f"{work_folder.PREFIX}link"
        link.symlink_to(tmp_path / "elsewhere")
        work_folder.remove_left_behind(tmp_path)
        assert living.path.exists()
        assert other.exists()
        assert (link / ".lock").exists()


def test_a_folder_is_removed_although_a_request_still_writes(tmp_path):
    folder, stop = WorkFolder(tmp_path), threading.Event()

    def write():
        for number in range(10_000):
            with contextlib.suppress(OSError):
                (folder.path / str(number)).touch()
            if stop.is_set():
                break

    thread = threading.Thread(target=write)
    thread.start()
    threading.Timer(0.15, stop.set).start()
    folder.close()
    thread.join()
    assert not folders(tmp_path)


def test_without_a_folder_for_temporary_files_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^no temporary folder can be created \(No such file or directory\); set TMPDIR"):
        WorkFolder(tmp_path / "none")
