"""Before JAX starts, all processes agree, or all report in one line why not."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ipmedgan_jax.core.errors import BAD_INPUT, TRY_AGAIN, UserError
from ipmedgan_jax.distributed import rendezvous

SETTINGS = {"train.batch_size": 4, "seed": 0, "holes.kinds": ["square"], "name": None}
PACKAGE = Path(__file__).parents[2] / "ipmedgan_jax"


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def check(*processes, port=None):
    """Runs processes `(rank, count, settings)`; returns None or the UserError's message and exit code for each."""
    port = port or free_port()

    def one(process):
        rank, count, settings = process
        try:
            return rendezvous.check(f"127.0.0.1:{port}", count, rank, settings)
        except UserError as error:
            return str(error), error.exit_code

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(one, processes))


def test_processes_that_agree_may_start_repeatedly_on_one_port():
    port = free_port()
    for _ in range(2):
        assert check(*((rank, 3, SETTINGS) for rank in range(3)), port=port) == [None] * 3


def test_all_processes_hear_which_setting_of_which_process_differs():
    heard = check((0, 3, SETTINGS), (1, 3, SETTINGS), (2, 3, SETTINGS | {"train.batch_size": 8, "seed": 1}))
    assert heard == [(f"process 2 on {socket.gethostname()} differs from process 0 in seed, train.batch_size", BAD_INPUT)] * 3


def test_all_processes_hear_which_one_did_not_come(monkeypatch):
    monkeypatch.setattr(rendezvous, "TIMEOUT_S", 1)
    heard = check((0, 3, SETTINGS), (1, 3, SETTINGS))
    assert heard == [("process 2 of 3 did not connect within 1 s; nothing was started", TRY_AGAIN)] * 2


def test_a_first_process_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(rendezvous, "TIMEOUT_S", 0.3)
    ((message, exit_code),) = check((1, 2, SETTINGS))
    assert message.startswith("process 0 at 127.0.0.1:")
    assert "cannot be reached" in message
    assert exit_code == TRY_AGAIN


def report(rank, host, **values):
    return {"rank": rank, "host": host, "values": values}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (report(1, "b", seed=0, code="y"), "process 1 on b differs from process 0 in code"),
        (report(1, "b", seed=0, code="x", more=1), "process 1 on b differs from process 0 in more"),
        (report(0, "b", seed=0, code="x"), "process 0 on b has the --process_id of another on a: give each its own"),
        (report(1, "b", seed=0, code="x"), ""),
    ],
)
def test_what_is_wrong_is_said_with_the_process_and_its_machine(other, message):
    said, exit_code = rendezvous.first_disagreement([report(0, "a", seed=0, code="x"), other], 2)
    assert (said, exit_code) == (message, BAD_INPUT if message else 0)


def test_processes_compare_their_number_and_their_code(monkeypatch):
    heard = check((0, 2, SETTINGS), (1, 3, SETTINGS))
    assert all("differs from process 0 in --processes" in message for message, _ in heard)
    digests = iter(["abc", "abd"])
    monkeypatch.setattr(rendezvous, "code_digest", lambda: next(digests))
    heard = check((0, 2, SETTINGS), (1, 2, SETTINGS))
    assert all("differs from process 0 in the code of ipmedgan_jax" in message for message, _ in heard)


def test_the_digest_of_the_code_covers_every_module(monkeypatch):
    read, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    before = rendezvous.code_digest()
    assert set(read) == {*PACKAGE.rglob("*.py"), *(PACKAGE / "configs").glob("*.py")}  # which is a link in a clone
    assert {path.parent for path in read} > {PACKAGE, PACKAGE / "networks", PACKAGE / "distributed"}
    changed = PACKAGE / "networks" / "layers.py"
    monkeypatch.setattr(Path, "read_bytes", lambda path: read_bytes(path) + b"#" * (path == changed))
    assert rendezvous.code_digest() != before


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=f"127.0.0.1:{port}: process 0 cannot listen there .*; give another port"
        ) as caught:
            rendezvous.check(f"127.0.0.1:{port}", 2, 0, SETTINGS)
    assert caught.value.exit_code == TRY_AGAIN


def test_strangers_are_no_processes(monkeypatch, capfd):
    monkeypatch.setattr(rendezvous, "TIMEOUT_S", 20)
    port = free_port()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(check, (0, 2, SETTINGS), port=port)
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"x"):
            for _ in range(100):
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
                        stranger.sendall(said)
                    break
                except OSError:
                    time.sleep(0.02)
        assert check((1, 2, SETTINGS), port=port) == [None]
        assert first.result() == [None]
    assert "Traceback" not in capfd.readouterr().err
