"""Checkpoints of the first days; a whole run of them is in tests/data/old_files."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import first_checkpoints
from ipmedgan_jax.experiment.checkpoint_folder import StepFolder


def write(folder, state):
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(folder / "4" / "state", args=ocp.args.StandardSave(state))
    return StepFolder(folder / "4")


def on_a_device(tree):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


THEN = {
    "average": {"down_0": {"kernel": jnp.arange(3.0)}},
    "generator": {"params": {"down_0": {"kernel": jnp.ones(3)}}, "statistics": {"norm": {"mean": jnp.arange(2.0)}}},
}
"""An average of parameters alone."""


def test_the_average_s_parameters_and_the_generator_s_statistics_are_found(tmp_path):
    folder = write(tmp_path, THEN)
    assert first_checkpoints.is_one(folder.path / "state")
    like = {"average": {"params": THEN["average"], "statistics": THEN["generator"]["statistics"]}}
    found = folder.read_part(on_a_device(like), None, None)
    jax.tree.map(np.testing.assert_array_equal, found, like)


@pytest.mark.parametrize(
    ("params", "message"),
    [({"up_0": {"kernel": jnp.ones(3)}}, "a part is missing"), ({"down_0": {"kernel": jnp.ones(4)}}, "expected float32")],
)
def test_another_network_is_refused(tmp_path, params, message):
    folder = write(tmp_path, THEN)
    with pytest.raises(UserError, match=rf"damaged or of another system .*{message}"):
        folder.read_part(on_a_device({"average": {"params": params, "statistics": {}}}), None, None)


def test_a_state_of_today_or_a_damaged_one_is_none_of_the_first_days(tmp_path):
    today = write(tmp_path, {"average": {"params": THEN["average"]}, "generator": THEN["generator"]})
    assert not first_checkpoints.is_one(today.path / "state")
    (today.path / "state" / "_METADATA").write_text("{")
    assert not first_checkpoints.is_one(today.path / "state")
    assert not first_checkpoints.is_one(tmp_path / "nowhere")
