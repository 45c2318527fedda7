"""What is no event but travels between programs, a command for one, as Avro bytes by the derivation that events have."""

import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, make_dataclass
from typing import Any, NamedTuple

from events.codec import BrokenBody, Codec
from events.compiling import decoder, encoder
from events.registry import EventType, UnknownEvent, type_of
from events.schema import schema_of


class _Field(NamedTuple):
    """A field that no event can have: the type it travels as, and the way there and back."""

    hint: Any
    there: Callable[[Any], Any]
    back: Callable[[Any], Any]


class Form:
    """One dataclass, compiled. Beside what events hold, a field may be a union of events, which it carries as the log would,
    or a mapping whose keys are fixed tuples.

    `kinds` are the events that it can carry; `mark` is 8 bytes that differ as soon as a field's name, type, logical type or order
    does: both ends must have the same.
    Raises UnsupportedField for a field that cannot travel.
    """

    def __init__(self, cls: type, room: str, codec: Codec) -> None:
        found = typing.get_type_hints(cls)
        hints = {each.name: found[each.name] for each in fields(cls)}
        special = {name: _special(name, hint, codec) for name, hint in hints.items()}
        self.cls = cls
        self.kinds = tuple(
            type_of(object.__new__(each))
            for name, field in special.items()
            if field and field.hint is bytes
            for each in typing.get_args(hints[name])
        )
        self._special = [(name, field) for name, field in special.items() if field is not None]
        hints.update((name, field.hint) for name, field in self._special)
        # Without defaults: they play no part where both ends have the same fields.
        self._plain = make_dataclass(cls.__name__, list(hints.items()), frozen=True, slots=True, kw_only=True)
        schema = schema_of(EventType(name=cls.__name__, version=1, room=f"{room}.commands", cls=self._plain))
        self.mark = hashlib.sha256(json.dumps(_bare(schema), sort_keys=True).encode()).digest()[:8]
        self._encode = encoder(self._plain, b"")
        self._decode = decoder(self._plain if self._special else cls, 0)

    def encode(self, value: Any) -> bytes:
        """Avro's binary encoding of the fields."""
        if self._special:
            entry = {each.name: getattr(value, each.name) for each in fields(self.cls)}
            for name, field in self._special:
                entry[name] = field.there(entry[name])
            value = self._plain(**entry)
        return self._encode(value)

    def decode(self, data: bytes) -> Any:
        """Raises UnknownSchema or UnknownEvent for a newer program's fact, BrokenBody for what can never be read."""
        try:
            value = self._decode(data)
        except (ArithmeticError, EOFError, IndexError, KeyError, TypeError, ValueError) as cause:
            raise BrokenBody(f"{self.cls.__name__}: {type(cause).__name__}: {cause}") from cause
        if not self._special:
            return value
        entry = {each.name: getattr(value, each.name) for each in fields(self.cls)}
        for name, field in self._special:
            entry[name] = field.back(entry[name])
        return self.cls(**entry)


def _special(name: str, hint: Any, codec: Codec) -> _Field | None:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and all(map(_is_event, arguments)):
        return _Field(bytes, codec.encode, codec.decode)
    if origin in (dict, Mapping) and typing.get_origin(arguments[0]) is tuple:
        parts = [(f"key_{at}", part) for at, part in enumerate(typing.get_args(arguments[0]))]
        entry = make_dataclass(f"{name.capitalize()}Entry", [*parts, ("value", arguments[1])], frozen=True, slots=True)
        return _Field(
            tuple[entry, ...],  # type: ignore[valid-type]  # made here
            lambda mapping: tuple(entry(*key, value) for key, value in mapping.items()),
            lambda entries: {tuple(getattr(each, part) for part, _ in parts): each.value for each in entries},
        )
    return None


def _is_event(cls: Any) -> bool:
    try:
        type_of(object.__new__(cls))
    except (TypeError, UnknownEvent):
        return False
    return True


def _bare(schema: Any) -> Any:
    """The schema without words for people."""
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if isinstance(schema, dict):
        return {key: _bare(each) for key, each in schema.items() if key != "doc"}
    return schema
