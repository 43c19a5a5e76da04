"""The soak's faults in checkpoints: none is silent, and without the digests some are."""

from benchmarks.soak import checkpoints, views
from benchmarks.soak.tally import Plan
from ipmedgan_jax.experiment.checkpoint_folder import StepFolder
from ipmedgan_jax.experiment.checkpoints import Checkpoints


def test_no_fault_in_a_checkpoint_is_silent(tmp_path):
    tally = checkpoints.run(Plan(tmp_path, len(checkpoints.FAULTS), 0))
    assert not tally.silent
    assert tally.injected == len(checkpoints.FAULTS)
    assert tally.fell_back


def test_without_the_digests_faults_are_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(StepFolder, "record", lambda self: None)
    monkeypatch.setattr(Checkpoints, "_read_back", lambda *_: None)
    values = checkpoints.FAULTS["a bit of the values"]
    monkeypatch.setattr(checkpoints, "FAULTS", {"a bit of the values": values})
    tally = checkpoints.run(Plan(tmp_path, 5, 0))
    assert "other values of step 30" in " ".join(tally.silent)


def test_damage_that_one_of_two_processes_sees_makes_both_use_the_step_before(tmp_path):
    tally = views.run(Plan(tmp_path, 1, 0))
    assert not tally.silent
    assert tally.fell_back == 1
