"""Golden examples: the bytes of an event as a program of then wrote it, and what they must say for ever."""

import io
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from fastavro import parse_schema, schemaless_writer

from events.codec import MARKER, BrokenBody, Codec, UnknownSchema, fingerprint_of
from events.registry import EventType, UnknownEvent, type_named
from events.schema import Schema, lowering, schema_of
from events.sealing import Sealed
from events.upcasting import newest_of

_PLAIN: Mapping[type, Any] = {
    bool: True,
    int: 1_234_567_890_123,
    float: 0.875,
    bytes: b"\x00\x7f\x80\xff",
    Decimal: Decimal("12.345678901"),
    datetime: datetime(2026, 11, 20, 9, 30, 0, 123456, UTC),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One schema that ever was in use: `examples` pair a record's value in hex with its fields in plain JSON."""

    event: str
    version: int
    fingerprint: str
    schema: Schema
    examples: tuple[tuple[str, Any], ...]

    @property
    def ce_type(self) -> str:
        return f"{self.event}.v{self.version}"


def golden_of(kind: EventType) -> Golden:
    """Two examples of today's schema: one with everything given, one with nothing that may be left out."""
    schema = schema_of(kind)
    mark = fingerprint_of(schema)
    parsed, lower = parse_schema(schema, {}), lowering(kind.cls)
    examples = {}
    for fact in (_sample(kind.cls, "", full=True), _sample(kind.cls, "", full=False)):
        out = io.BytesIO()
        schemaless_writer(out, parsed, lower(fact))
        examples[(MARKER + mark + out.getvalue()).hex()] = plain(fact)
    return Golden(event=kind.name, version=kind.version, fingerprint=mark.hex(), schema=schema, examples=tuple(examples.items()))


def faults_of(golden: Golden, codec: Codec) -> list[str]:
    """Why the examples do not say today what they said then. Empty when they do."""
    mark = codec.learn(golden.schema).hex()
    if mark != golden.fingerprint:
        return [f"its schema has the fingerprint {mark}, not {golden.fingerprint}"]
    faults = []
    for number, (value, expected) in enumerate(golden.examples, 1):
        try:
            fact = codec.decode(bytes.fromhex(value))
            newest = newest_of(type_named(golden.ce_type).cls)
        except (BrokenBody, UnknownEvent, UnknownSchema) as cause:
            faults.append(f"example {number} cannot be read: {cause}")
            continue
        if type(fact) is not newest:
            faults.append(f"example {number} becomes {type(fact).__qualname__}, not {newest.__qualname__}")
        elif newest is type_named(golden.ce_type).cls:
            # What an upcaster makes of an old version is a matter of its own tests.
            faults += [f"example {number}: {fault}" for fault in _differences(expected, plain(fact), "")]
    return faults


def plain(value: Any) -> Any:
    """A fact as JSON can hold it: bytes in hex, times in ISO 8601, decimals as text, maps as sorted pairs."""
    match value:
        case Enum():
            return value.value
        case Sealed():
            return {"subject": value.subject, "box": value.box.hex()}
        case bytes():
            return value.hex()
        case Decimal():
            return f"{value.normalize():f}"
        case datetime():
            return value.isoformat()
        case tuple():
            return [plain(item) for item in value]
        case Mapping():
            return [[key, plain(item)] for key, item in sorted(value.items())]
        case _ if is_dataclass(value):
            return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        case _:
            return value


def _differences(expected: Any, found: Any, path: str) -> list[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        # A field that has left the event since, or joined it, is a matter of compatibility.
        shared = [key for key in expected if key in found]
        return [fault for key in shared for fault in _differences(expected[key], found[key], f"{path}/{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [fault for at, item in enumerate(expected) for fault in _differences(item, found[at], f"{path}/{at}")]
    return [] if expected == found and type(expected) is type(found) else [f"{path} is {found!r}, not {expected!r}"]


def _sample(hint: Any, name: str, *, full: bool) -> Any:
    """A value for a type hint, the same every time; `name` is the field's, and stands in texts."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Sealed or hint is Sealed:
        return Sealed(f"AYB-SAMP-LEXX-XXXX/{name}", b"a nonce of12" + name.encode() + bytes(16))
    if origin in (typing.Union, types.UnionType):
        return _sample(next(each for each in arguments if each is not type(None)), name, full=full) if full else None
    if origin is tuple:
        return (_sample(arguments[0], name, full=True), _sample(arguments[0], name, full=False)) if full else ()
    if origin in (dict, Mapping):
        return {name: _sample(arguments[1], name, full=True), "ünïcode ☎": _sample(arguments[1], name, full=False)} if full else {}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if isinstance(hint, type) and is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{each.name: _sample(hints[each.name], each.name, full=full) for each in fields(hint)})
    if hint is str:
        return f"{name} ☎" if full else ""
    return _PLAIN[hint] if full else hint() if hint is not datetime else datetime(1970, 1, 1, tzinfo=UTC)
