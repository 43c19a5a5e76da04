"""The soak of exported models: its faults are noticed, and it finds those that are not."""

from benchmarks.soak import models
from benchmarks.soak.tally import Plan
from ipmedgan_jax.core import json_fields
from ipmedgan_jax.inpainting import exported_weights


def test_every_kind_of_fault_is_noticed_or_without_effect(tmp_path):
    count = 2 * len(models.FAULTS)
    tally = models.run(Plan(tmp_path, count, 1))
    assert (tally.injected, tally.silent) == (count, [])
    assert tally.noticed > tally.harmless


def test_it_finds_changed_fields_if_nothing_looks_at_the_seal(tmp_path, monkeypatch):
    monkeypatch.setattr(json_fields, "check_seal", lambda *_, **__: None)
    assert models.run(Plan(tmp_path, 30, 0), ["field"]).silent


def test_it_finds_other_weights_if_nothing_looks_at_their_digest(tmp_path, monkeypatch):
    read = exported_weights.digest_of_bytes
    monkeypatch.setattr(exported_weights, "digest_of_bytes", lambda content: _Any(read(content)))
    found = models.run(Plan(tmp_path, 2, 0), ["weights of another model"]).silent
    assert len(found) == 1
    assert "weights, weights of another model" in found[0]


class _Any(str):
    """A digest that equals every other."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False
