"""JSON that this package wrote, read strictly: whatever a damaged or edited file holds, the error is a ValueError.

`parse` and `read` refuse what `json.loads` lets pass or meets with other errors. `build` makes a dataclass from an object, by
the types of its fields. `sealed` and `check_seal` add and check a digest of an object's fields, so that a change is noticed.

Own code and not a library: msgspec, pydantic and cattrs leave unknown fields of dataclasses, duplicate keys or both alone.
"""

import dataclasses
import functools
import hashlib
import json
import math
import sys
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ipmedgan_jax.core import regular_files
from ipmedgan_jax.core.spelling import suggestion

SEAL = "fields_sha256"
"""Key of an object that holds the digest of its other fields."""

_LARGEST = 2**64
"""Bound of whole numbers; all of ours fit in 64 bits."""

_DEEPEST = 64
"""Levels of objects and lists; ours have less than ten, and Python's functions on nested values take hundreds."""

T = TypeVar("T")


def parse(text: str | bytes, *, finite: bool = True) -> Any:
    """Returns the content of a JSON text.

    ValueError if it is no JSON or not UTF-8, repeats a key in one object, is nested deeper than `_DEEPEST`, or has a whole
    number of over 64 bits.

    Args:
      finite: also refuse numbers that are not finite. Python writes them as NaN and Infinity.
    """
    decoder = _FINITE if finite else _ANY
    try:
        content = decoder.decode(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    _check_depth(content)
    return content


def read(path: Path, *, finite: bool = True) -> dict[str, Any]:
    """Returns the object that a JSON file holds; ValueError as `parse`, or if it holds no object.

    Other errors are those of `regular_files.read_bytes`.
    """
    content = parse(regular_files.read_bytes(path), finite=finite)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _check_depth(content: Any) -> None:
    level, depth = [content], 0
    while level:
        if depth >= _DEEPEST:
            raise ValueError("nested too deep")
        level, depth = [inner for item in level for inner in _items(item)], depth + 1


def _items(value: Any) -> Collection[Any]:
    """Returns what an object or a list holds; nothing for other values."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has {_short(next(key for key in keys if keys.count(key) > 1))} twice")
    return found


def _whole_number(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= _LARGEST:
        raise ValueError(f"{text[:10]}... is no number of 64 bits")
    return int(text)


def _number(text: str, *, finite: bool) -> float:
    value = float(text)
    if finite and not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not finite")
    return value


def _decoder(*, finite: bool) -> json.JSONDecoder:
    number = functools.partial(_number, finite=finite)
    return json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number, parse_float=number, parse_constant=number)


_FINITE, _ANY = _decoder(finite=True), _decoder(finite=False)


# ------------------------------------------------------------------ fields


def check_names(
    fields: Mapping[str, Any], expected: Collection[str], optional: Collection[str] = (), where: str = ""
) -> None:
    """ValueError unless an object has all `expected` fields, and no other than these and the `optional` ones."""
    known = [*expected, *optional]
    for name in fields:
        if name not in known:
            raise ValueError(f"unknown field {_short(where + name)}{suggestion(name, known, where)}")
    for name in expected:
        if name not in fields:
            raise ValueError(f"no field {where + name}")


def build(cls: type[T], fields: Any, where: str = "") -> T:
    """Makes a dataclass from a JSON object; fields with a default may be missing. ValueError unless names and types fit.

    Types of fields may be str, bool, int, float, None, Any, unions of these, dataclasses, and tuple, list and dict of all of
    these. Lists become tuples where a tuple is expected, and whole numbers floats where a float is.

    Args:
      where: the field that holds the object, with a dot at its end, for messages.
    """
    types_of_fields, required, optional = _fields_of(cls)  # type: ignore[arg-type]
    if not isinstance(fields, dict):
        raise ValueError(f"{where.rstrip('.') or 'content'}: expected an object, found {_short(fields)}")
    check_names(fields, required, optional, where)
    return cls(**{name: convert(types_of_fields[name], value, where + name) for name, value in fields.items()})


@functools.cache
def _fields_of(cls: Any) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Returns the types of a dataclass's fields, and the names of those that must and of those that may be given."""
    members = [field for field in dataclasses.fields(cls) if field.init]
    required = tuple(field.name for field in members if _is_required(field))
    return typing.get_type_hints(cls), required, tuple(field.name for field in members if field.name not in required)


def convert(kind: Any, value: Any, where: str) -> Any:
    """Returns a value of JSON as the type `kind`, one of those that `build` takes; ValueError if it is another."""
    if kind is Any or type(value) is kind:
        return value
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return build(kind, value, f"{where}.")
    if origin in (types.UnionType, typing.Union):
        return _convert_to_one_of(inner, value, where)
    if kind is float and type(value) is int:
        return float(value)
    if origin is dict and isinstance(value, dict):
        return {name: convert(inner[1], item, f"{where}.{_short(name)}") for name, item in value.items()}
    if origin is list and isinstance(value, list):
        return [convert(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is tuple and isinstance(value, list):
        kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            raise ValueError(f"{where}: expected {len(kinds)} values, found {len(value)}")
        return tuple(convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))
    expected = origin or kind
    if type(value) is expected and expected is not tuple:
        return value
    name = {dict: "an object", list: "a list", tuple: "a list", str: "a text", int: "a whole number", float: "a number",
            bool: "true or false", type(None): "null"}[expected]  # fmt: skip
    raise ValueError(f"{where}: expected {name}, found {_short(value)}")


def _convert_to_one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    reasons = []
    for kind in kinds:
        try:
            return convert(kind, value, where)
        except ValueError as error:
            reasons.append(error)
    raise reasons[0]


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _short(value: Any) -> str:
    """Returns the beginning of a value as JSON, in characters that every terminal shows."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode(sys.getdefaultencoding(), "backslashreplace").decode()
    return text if len(text) <= 40 else f"{text[:40]}..."


# ------------------------------------------------------------------ seals


def digest_of_fields(fields: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of an object's fields but `SEAL`, whatever their order; lists and tuples count as the same."""
    kept = {name: value for name, value in fields.items() if name != SEAL}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object with the digest of its fields, as its last field."""
    return {**{name: value for name, value in fields.items() if name != SEAL}, SEAL: digest_of_fields(fields)}


def check_seal(fields: Mapping[str, Any], *, required: bool = False) -> None:
    """ValueError if an object's fields are not those that were sealed; one without a seal passes unless it is `required`."""
    if SEAL not in fields:
        if required:
            raise ValueError(f"no field {SEAL}")
    elif fields[SEAL] != digest_of_fields(fields):
        raise ValueError(f"a field was changed since it was written: {SEAL} differs")
