"""Several processes of one run compute the same as a single process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipmedgan_jax.core import ranks
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.training import devices
from tests.distributed.test_rendezvous import free_port


def test_a_process_that_is_alone_has_it_all():
    assert processes.gather("own") == ["own"]
    assert processes.gather_lists([1, 2]) == [1, 2]
    assert list(processes.share("abc")) == ["a", "b", "c"]
    assert processes.global_index(2) == 2
    assert processes.run_on_all(lambda: 3) == 3
    assert devices.DelayedMax().update(2) == 2
    processes.assert_equal(seed=1)


def test_a_process_that_is_alone_keeps_its_error_as_it_is():
    def fails():
        raise UserError("nothing there", 75)

    with pytest.raises(UserError, match=r"^nothing there$") as caught:
        processes.run_on_first(fails)
    assert caught.value.exit_code == 75


def test_a_process_that_is_alone_starts_nothing(monkeypatch):
    monkeypatch.setattr(ranks, "given_place", lambda: None)
    monkeypatch.setattr("jax.distributed.initialize", lambda *_, **__: pytest.fail("started"))
    monkeypatch.setitem(sys.modules, "ipmedgan_jax.distributed.rendezvous", None)  # importing it would fail
    processes.start({})


SCRIPT = """
import json, sys
import numpy as np
from absl import flags
from pathlib import Path
from ipmedgan_jax.core import ranks
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.training import devices

ranks.define_flags()
flags.FLAGS(sys.argv[:4])
processes.start({"a": 1})
import jax
me = jax.process_index()
highest = devices.DelayedMax()
out = {
    "gathered": processes.gather(f"of {me}"),
    "lists": processes.gather_lists([10 * i for i in processes.share(range(5))]),
    "numbers": [processes.global_index(i) for i in range(2)],
    "highest": [highest.update(1 if me == 1 and i == 1 else 0) for i in range(4)],
}
def fails():
    if me == 1:
        raise UserError("nothing there")
try:
    processes.run_on_all(fails)
except UserError as error:
    out["error"] = str(error)
try:
    processes.assert_equal(75, latest_checkpoint=me)
except UserError as error:
    out["disagreed"] = [str(error), error.exit_code]
processes.assert_equal(latest_checkpoint=3)
state = devices.replicate({"w": np.arange(3.0, dtype=np.float32)})
with Checkpoints(Path(sys.argv[4]), keep=1, best="psnr") as checkpoints:
    checkpoints.save(1, devices.as_one(state), {"next_index": 8}, {"psnr": 1.0})
with Checkpoints(Path(sys.argv[4]), keep=1, best="psnr") as checkpoints:
    restored, place = checkpoints.restore(1, devices.replicated_like(state))
    out["restored"] = np.asarray(restored["w"]).tolist()
out["place"] = place
print(json.dumps(out))
"""


def test_two_processes_agree(tmp_path):
    port = free_port()
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", SCRIPT, f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process_id={i}"),
                str(tmp_path / "checkpoints"),
            ],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ended = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    first, second = (json.loads(output.splitlines()[-1]) for output, _ in ended)
    assert first.pop("numbers") == [0, 2]
    assert second.pop("numbers") == [1, 3]
    assert first == second
    assert first["gathered"] == ["of 0", "of 1"]
    assert first["lists"] == [0, 10, 20, 30, 40]
    assert first["highest"] == [0, 0, 1, 0]  # both processes know it one step later
    assert first["error"] == "process 1: nothing there"
    assert first["disagreed"] == ["process 1 has latest checkpoint 1, process 0 0", 75]
    assert first["restored"] == [0.0, 1.0, 2.0]
    assert first["place"] == {"next_index": 8}
