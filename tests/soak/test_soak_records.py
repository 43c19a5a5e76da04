"""The soak of prepared data: its faults are noticed, and it finds those that are not."""

import pytest

from benchmarks.soak import records
from benchmarks.soak.tally import Plan
from ipmedgan_jax.core import json_fields
from ipmedgan_jax.data import slice_source, verification


def test_every_kind_of_fault_is_noticed_or_without_effect(tmp_path):
    tally = records.run(Plan(tmp_path, len(records.FAULTS), 1))
    assert (tally.injected, tally.silent) == (len(records.FAULTS), [])
    assert tally.noticed > tally.harmless


@pytest.mark.parametrize("kind", ["shard of another preparation", "volume of another preparation"])
def test_it_finds_foreign_records_if_nothing_looks_at_their_digest(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(slice_source, "_check_belongs", lambda *_: None)
    monkeypatch.setattr(verification, "shard_problem", lambda *_: "")
    tally = records.run(Plan(tmp_path, 2, 0), [kind])
    assert len(tally.silent) == 2
    assert "training reads other slices" in tally.silent[0]


def test_it_finds_changed_fields_if_nothing_looks_at_the_seal(tmp_path, monkeypatch):
    monkeypatch.setattr(json_fields, "check_seal", lambda *_, **__: None)
    assert records.run(Plan(tmp_path, 12, 0), ["dataset field", "dataset flip_bit"]).silent
