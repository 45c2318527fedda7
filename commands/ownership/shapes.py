"""Any state of a decider as JSON and back, by its type alone; and a hash of that type, so that no other shape is read as this one."""

import hashlib
import types
import typing
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from json import dumps
from typing import Any, TypeAlias

from commands.decider import Decider
from events.sealing import Sealed

Convert: TypeAlias = Callable[[Any], Any]


class NotSnapshotable(Exception):
    """The type of a decider's state is not said, or holds what has no plain form; the text says what."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a type is written: `text` says all there is to it, `lower` makes plain values of it, `build` the way back."""

    text: str
    lower: Convert
    build: Convert


def _same(value: Any) -> Any:
    return value


_PLAIN: Mapping[Any, Shape] = {
    str: Shape("str", _same, _same),
    int: Shape("int", _same, _same),
    bool: Shape("bool", _same, _same),
    float: Shape("float", _same, float),
    bytes: Shape("bytes", lambda value: b64encode(value).decode(), b64decode),
    Decimal: Shape("decimal", str, Decimal),
    datetime: Shape("datetime", datetime.isoformat, datetime.fromisoformat),
}
_ABSENT = Shape("none", _same, _same)


def fold_version(decider: Decider[Any, Any, Any]) -> bytes:
    """Eight bytes that differ when the state's type differs, or the decider says that its folding does. Raises NotSnapshotable."""
    text = f"{decider.category}/{decider.fold_version}/{state_shape(decider).text}"
    return hashlib.sha256(text.encode()).digest()[:8]


def state_shape(decider: Decider[Any, Any, Any]) -> Shape:
    """The shape of a decider's state, as the second parameter of its `decide` is annotated. Raises NotSnapshotable."""
    try:
        hints = list(typing.get_type_hints(decider.decide).items())
    except (NameError, TypeError) as cause:
        raise NotSnapshotable(f"{decider.category}: {cause}") from cause
    if len(hints) < 2 or hints[1][0] == "return":
        raise NotSnapshotable(f"{decider.category}: annotate the state that decide takes")
    try:
        return _shape(hints[1][1])
    except (NotSnapshotable, RecursionError) as cause:
        raise NotSnapshotable(f"{decider.category}: {cause}") from None


@cache
def _shape(hint: Any) -> Shape:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is type(None):
        return _ABSENT
    if origin in {typing.Union, types.UnionType}:
        return _union(arguments)
    if origin is Sealed or hint is Sealed:
        parts = _PLAIN[bytes]
        return Shape("sealed", lambda value: [value.subject, parts.lower(value.box)], lambda value: Sealed(value[0], parts.build(value[1])))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _many("tuple", _shape(arguments[0]), list, tuple)
    if origin is frozenset:
        # Written in one order, whatever order it is kept in.
        return _many("set", _shape(arguments[0]), lambda values: sorted(values, key=dumps), frozenset)
    if origin in {dict, Mapping}:
        return _mapping(*map(_shape, arguments))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Shape(f"enum {hint.__name__}", lambda value: value.value, hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint)
    raise NotSnapshotable(f"{hint} has no plain form")


def _many(name: str, each: Shape, ordered: Convert, collect: Convert) -> Shape:
    return Shape(
        f"{name}[{each.text}]",
        lambda values: ordered([each.lower(value) for value in values]),
        lambda values: collect([each.build(value) for value in values]),
    )


def _mapping(key: Shape, value: Shape) -> Shape:
    return Shape(
        f"map[{key.text}, {value.text}]",
        lambda entries: [[key.lower(name), value.lower(entry)] for name, entry in entries.items()],
        lambda entries: {key.build(name): value.build(entry) for name, entry in entries},
    )


def _record(cls: type) -> Shape:
    hints = typing.get_type_hints(cls)
    shapes = [(field.name, _shape(hints[field.name])) for field in fields(cls)]
    text = ", ".join(f"{name}: {shape.text}" for name, shape in shapes)
    return Shape(
        f"{cls.__name__}({text})",
        lambda value: [shape.lower(getattr(value, name)) for name, shape in shapes],
        lambda values: cls(**{name: shape.build(value) for (name, shape), value in zip(shapes, values, strict=True)}),
    )


def _union(members: tuple[Any, ...]) -> Shape:
    """Which member it is stands before the value. Members that are told apart by their class, and None."""
    shapes = [(each, _shape(each)) for each in members]
    if any(typing.get_origin(each) is not None and typing.get_origin(each) is not Sealed for each in members):
        raise NotSnapshotable(f"the members of {members} cannot be told apart by their class")
    classes = [typing.get_origin(each) or each for each in members]

    def lower(value: Any) -> Any:
        at = classes.index(type(value))
        return [at, shapes[at][1].lower(value)]

    return Shape(" | ".join(shape.text for _, shape in shapes), lower, lambda value: shapes[value[0]][1].build(value[1]))
