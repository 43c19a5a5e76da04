"""`model.json`: a changed field is noticed, in both kinds of model; whatever an older file holds is read or refused."""

import json

import numpy as np
import pytest

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting import exported, model_files, shipped
from ipmedgan_jax.inpainting.model import Trained
from tests.changed_json import OTHERS, REMOVED, changed, places
from tests.inpainting.test_scan import generator


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """The descriptions of a program and of weights alone."""
    folder = tmp_path_factory.mktemp("models") / "program"
    exported.write(folder, generator(), lambda weights, *batch: batch[0], [np.float32(1.0)], "card")
    of_weights = json.loads((shipped.find("flair") / "model.json").read_text())
    return {"program": json.loads((folder / "model.json").read_text()), "weights": of_weights}


@pytest.mark.parametrize("kind", ["program", "weights"])
def test_every_changed_removed_or_added_field_is_noticed(described, tmp_path, kind):
    path, found = tmp_path / "model.json", list(places(described[kind]))
    assert len(found) > 60
    for place in found:
        for value in (REMOVED, "other", 7):
            text = changed(described[kind], place, value)
            if text == json.dumps(described[kind]) or (place == ("fields_sha256",) and value is REMOVED):
                continue  # nothing was changed, or as an earlier version wrote it
            path.write_text(text)
            with pytest.raises(UserError, match=r"(damaged or of another version|has format)"):
                model_files.read_description(tmp_path)
    path.write_text(json.dumps(described[kind] | {"colour": 1}))
    with pytest.raises(UserError, match="a field was changed"):
        model_files.read_description(tmp_path)


@pytest.mark.parametrize("kind", ["program", "weights"])
def test_without_a_digest_any_value_is_read_or_refused(described, tmp_path, kind):
    older = {name: value for name, value in described[kind].items() if name != json_fields.SEAL}
    refused = 0
    for place in [place for place in places(older) if place[0] not in ("config", "provenance")]:
        for value in OTHERS:
            (tmp_path / "model.json").write_text(changed(older, place, value))
            try:
                found = model_files.read_description(tmp_path)
                with model_files.model_errors(tmp_path):
                    assert Trained.from_json(found["trained"]).hole_size > 0
            except UserError:
                refused += 1
    assert refused > 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licens": "x"}, r"unknown field licens; did you mean licence\?"),
        ({"colour": 1}, "unknown field colour"),
        ({"step": -1}, "step: a number below 0"),
        ({"step": "3"}, "step: expected a whole number, found 3"),
        ({"training_data": {"slice": 3}}, r"unknown field training_data.slice; did you mean training_data.slices\?"),
        ({"training_data": {"preparation": {"modality": "mri"}}}, "no field training_data.preparation.image_size"),
    ],
)
def test_a_field_that_is_wrong_is_named(described, tmp_path, change, message):
    (tmp_path / "model.json").write_text(json.dumps(json_fields.sealed(described["program"] | change)))
    with pytest.raises(UserError, match=message):
        model_files.read_description(tmp_path)


def test_the_weights_of_a_program_are_named_by_the_digest_of_its_run(described):
    assert described["program"]["weights_sha256"] == exported.digest_of_arrays([np.float32(1.0)])


def test_nested_json_is_refused_in_one_line(tmp_path):
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deep"):
        model_files.read_description(tmp_path)
