"""Reads the pickles of `torch.save` without running anything that they name: no class is imported, no function is called.

A pickle is a program for a stack machine. Python's own reader lets it call whatever it names, and reserves memory by numbers
in it (a memo of 34 GB takes five bytes). This reader knows the instructions that state dicts need, and has records of its
own in the place of the names. PyTorch's reader of this kind, `torch.load(weights_only=True)`, needs PyTorch.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STORAGES = {
    "ByteStorage": "<u1",
    "CharStorage": "<i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
}
"""NumPy's element type for each of torch's storage classes."""


@dataclass(frozen=True)
class Storage:
    """A storage that the pickle names: NumPy's element type, the key of its bytes, and its number of elements."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view into a storage; `offset` and `stride` count elements, as torch counts them."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Refused(Exception):
    """The pickle names something that state dicts do not need."""


@dataclass
class _Parameter:
    """A parameter in a state dict: torch before 0.4 saved parameters there, not their tensors."""

    data: Any = None


@dataclass(frozen=True)
class _Name:
    """A name that the pickle may use."""

    module: str
    name: str


_DICT = _Name("collections", "OrderedDict")
_TENSORS = (_Name("torch._utils", "_rebuild_tensor"), _Name("torch._utils", "_rebuild_tensor_v2"))
_PARAMETER = _Name("torch.nn.parameter", "Parameter")
_NAMES = {_DICT, *_TENSORS, _PARAMETER, *(_Name("torch", name) for name in STORAGES)}

_MARK = object()


def load(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle from where the stream is, and leaves the stream behind it.

    Returns the content, which is made of numbers, texts, lists, tuples, dicts and `Tensor`s, and all its storages by key.
    Raises `Refused` if the pickle names anything else, ValueError if it is damaged or has instructions that `torch.save` does
    not write.
    """
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name == "STOP":
                return _content(machine.pop()), machine.storages
            machine.run(instruction.name, argument)
    except (IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("damaged, or not written by torch.save") from error
    raise ValueError("cut short")


def _content(value: Any) -> Any:
    """Returns what the pickle holds, with tensors for the parameters of a dict."""
    if isinstance(value, dict):
        return {key: item.data if isinstance(item, _Parameter) else item for key, item in value.items()}
    return value


class _Machine:
    """The stack and the memo of one pickle, and the storages that it named."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("ends too early")
        return value

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def run(self, name: str, argument: Any) -> None:
        """Carries out one instruction; ValueError for one that is not known."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]() if callable(_CONSTANTS[name]) else _CONSTANTS[name])
        elif name in _ARGUMENTS:
            self.stack.append(argument)
        elif name in _TUPLES:
            self.stack.append(tuple([self.pop() for _ in range(_TUPLES[name])][::-1]))
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"has the instruction {name}, which torch.save does not write")

    def put(self, argument: int | None) -> None:
        self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("appends to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        into = self.stack[-1]
        if not isinstance(into, dict) or len(items) % 2:
            raise ValueError("sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):  # the hash of deeply nested tuples would overflow Python's own stack
                raise ValueError(f"has a {type(key).__name__} as a key")
            into[key] = value

    def make_dict(self, items: list[Any]) -> None:
        self.stack.append({})
        self.set_items(items)

    def find(self, module: str, name: str) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("names what is no text")
        if _Name(module, name) not in _NAMES:
            raise Refused(f"asks for {module[:80]}.{name[:80]}")
        self.stack.append(_Name(module, name))

    def find_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        self.find(module, name)

    def call(self) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise ValueError("calls without a tuple")
        if name == _DICT and not arguments:
            self.stack.append({})
        elif name in _TENSORS:
            self.stack.append(_tensor(*arguments[:4]))
        elif name == _PARAMETER:
            self.stack.append(_Parameter(*arguments[:1]))
        else:
            raise ValueError("calls what is no function")

    def set_state(self) -> None:
        """Gives a parameter its tensor; leaves out the attributes of a dict, which are torch's versions."""
        state, value = self.pop(), self.stack[-1]
        if isinstance(value, _Parameter):
            if isinstance(state, tuple) and len(state) == 5:  # the oldest form; later ones give `data` to the constructor
                value.data = state[0]
        elif not isinstance(value, dict):
            raise ValueError("gives a state to what has none")

    def load_storage(self) -> None:
        kind, name, key, _, count, *view = self.pop()
        if kind != "storage" or any(view):
            raise ValueError("unknown kind of storage")
        if not isinstance(name, _Name) or name.name not in STORAGES or not isinstance(key, str) or not _is_size(count):
            raise ValueError("a storage without type, key or size")
        storage = Storage(STORAGES[name.name], key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key[:40]} has two types or sizes")
        self.stack.append(storage)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> Tensor:
    sizes = isinstance(shape, tuple) and isinstance(stride, tuple) and all(map(_is_size, (offset, *shape, *stride)))
    if not isinstance(storage, Storage) or not sizes or len(shape) != len(stride) or len(shape) > 8:
        raise ValueError("a tensor without storage, shape or strides")
    return Tensor(storage, offset, shape, stride)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


_CONSTANTS: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}

_ARGUMENTS = {
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
}

_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.make_dict(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
    "BINGET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
    "LONG_BINGET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
    "GLOBAL": lambda machine, argument: machine.find(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.find_on_stack(),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.set_state(),
    "BINPERSID": lambda machine, _: machine.load_storage(),
}
