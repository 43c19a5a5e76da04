"""JSON of our own: every text and value is read as its type, or refused by a ValueError in plain words."""

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import reason
from tests.properties import property_test


@dataclass(frozen=True)
class Part:
    name: str
    share: float = 0.5


@dataclass(frozen=True)
class Thing:
    size: int
    on: bool
    pair: tuple[float, float]
    names: tuple[str, ...] = ()
    parts: dict[str, Part] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    step: int | None = None
    free: Any = None


GOOD: dict[str, Any] = {
    "size": 3,
    "on": True,
    "pair": [1, 2.5],
    "names": ["a"],
    "parts": {"x": {"name": "b"}},
    "notes": ["n"],
}


def test_an_object_becomes_a_dataclass_by_its_annotations():
    thing = json_fields.build(Thing, json_fields.parse(json.dumps(GOOD)))
    assert thing == Thing(3, True, (1.0, 2.5), ("a",), {"x": Part("b")}, ["n"])
    assert [type(value) for value in thing.pair] == [float, float]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "3"}, "size: expected a whole number, found 3"),
        ({"size": True}, "size: expected a whole number, found true"),
        ({"size": 3.0}, "size: expected a whole number, found 3.0"),
        ({"on": 1}, "on: expected true or false, found 1"),
        ({"pair": [1]}, "pair: expected 2 values, found 1"),
        ({"pair": 1}, "pair: expected a list, found 1"),
        ({"pair": [1, "x"]}, r"pair\[1\]: expected a number, found x"),
        ({"names": "abc"}, "names: expected a list, found abc"),
        ({"parts": []}, r"parts: expected an object, found \[\]"),
        ({"parts": {"x": None}}, "parts.x: expected an object, found null"),
        ({"parts": {"x": {}}}, "no field parts.x.name"),
        ({"parts": {"x": {"name": "b", "shre": 1}}}, r"unknown field parts.x.shre; did you mean parts.x.share\?"),
        ({"notes": {}}, "notes: expected a list, found {}"),
        ({"step": "x"}, "step: expected a whole number, found x"),
        ({"sise": 3}, r"unknown field sise; did you mean size\?"),
    ],
)
def test_other_types_and_names_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        json_fields.build(Thing, GOOD | change)


@pytest.mark.parametrize("name", ["size", "on", "pair"])
def test_a_missing_field_is_named(name):
    with pytest.raises(ValueError, match=f"^no field {name}$"):
        json_fields.build(Thing, {key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xfe", "^not text$"),
        (b"{", "^incomplete or not JSON$"),
        (b"", "^incomplete or not JSON$"),
        (b"[" * 100_000, "^nested too deep$"),
        (b'{"a":' * 100_000, "^nested too deep$"),
        (b"[" * 65 + b"]" * 65, "^nested too deep$"),
        (b"1" * 5000, "no number of 64 bits$"),
        (b"-99999999999999999999", "no number of 64 bits$"),
        (b"NaN", "^NaN is not finite$"),
        (b"[-Infinity]", "^-Infinity is not finite$"),
        (b"1e999", "^1e999 is not finite$"),
        (b'{"a": 1, "b": 2, "a": 3}', "^has a twice$"),
    ],
)
def test_what_is_no_plain_json_is_refused_in_plain_words(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is matched as it is shown
        json_fields.parse(text)
    assert re.search(message, reason(caught.value))


def test_numbers_that_are_not_finite_are_read_where_they_are_allowed():
    assert json_fields.parse("[Infinity]", finite=False) == [float("inf")]


def test_a_file_that_holds_no_object_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"^not a JSON object$"):
        json_fields.read(tmp_path / "x.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@property_test
@given(st.dictionaries(st.sampled_from([*GOOD, "step", "free", "siz"]), JSON))
def test_any_json_is_built_or_refused(change):
    with contextlib.suppress(ValueError):
        json_fields.build(Thing, json_fields.parse(json.dumps(GOOD | change)))


@property_test
@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_refused(text):
    with contextlib.suppress(ValueError):
        json_fields.parse(text)


def test_a_seal_holds_for_the_same_fields_and_no_other():
    fields = json.loads(json.dumps(json_fields.sealed(GOOD)))
    json_fields.check_seal(fields)
    json_fields.check_seal(dict(reversed(fields.items())))
    json_fields.check_seal(GOOD)
    for name in GOOD:
        with pytest.raises(ValueError, match="a field was changed"):
            json_fields.check_seal({key: value for key, value in fields.items() if key != name})
        with pytest.raises(ValueError, match="a field was changed"):
            json_fields.check_seal(fields | {name: "other"})
    with pytest.raises(ValueError, match=r"^no field fields_sha256$"):
        json_fields.check_seal(GOOD, required=True)
