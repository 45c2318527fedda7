"""Facts to bytes and back: Avro single-object encoding, read by the writer's own schema."""

import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from events.compiling import decoder, encoder
from events.registry import EventType, Fact, UnknownEvent, type_named, type_of
from events.schema import Schema, raising, schema_of
from events.upcasting import upcaster

MARKER = b"\xc3\x01"


class UnknownSchema(LookupError):
    """No schema is known for a fingerprint: the reader waits for `aybiza.schemas`, and never skips."""

    def __init__(self, mark: bytes) -> None:
        super().__init__(f"no schema with fingerprint {mark.hex()}")
        self.mark = mark


class BrokenBody(ValueError):
    """The value is no single-object encoding, or does not fit its schema."""


def fingerprint_of(schema: Schema) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, 8 bytes, little-endian as on the wire."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def mark_of(value: bytes) -> bytes | None:
    """The fingerprint of the schema with which a value was written; None for what is no single-object encoding."""
    return value[2:10] if value[:2] == MARKER and len(value) >= 10 else None


class _Kind:
    """One kind of event, compiled."""

    __slots__ = ("build", "decode", "encode", "mark", "parsed", "schema", "type")

    def __init__(self, kind: EventType) -> None:
        self.type = kind
        self.schema = schema_of(kind)
        self.parsed = parse_schema(self.schema, {})
        self.mark = fingerprint_of(self.schema)
        self.encode = encoder(kind.cls, MARKER + self.mark)
        self.decode = _through(decoder(kind.cls, 10), kind.cls)
        self.build = _through(raising(kind.cls), kind.cls)


def _through(read: Callable[[Any], Fact], cls: type) -> Callable[[Any], Fact]:
    """What was read, as the newest version of its event."""
    lift = upcaster(cls)
    return read if lift is None else lambda value: lift(read(value))


# Compiling takes milliseconds, and a process has several codecs.
_compiled = cache(_Kind)


class Codec:
    """Encodes with today's schemas; decodes with any schema it was told of, to the newest version of each event. Holds no I/O."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._by_mark: dict[bytes, _Kind] = {}
        self._by_class: dict[type, _Kind] = {}
        self._foreign: dict[bytes, tuple[Schema, str]] = {}

    def encode(self, fact: Fact) -> bytes:
        """Marker, fingerprint, body. Raises UnknownEvent for an object that is no event."""
        kind = self._by_class.get(type(fact)) or self._kind(type_of(fact))
        return kind.encode(fact)

    def decode(self, value: bytes) -> Fact:
        """Raises UnknownSchema (wait), UnknownEvent (a newer program's), BrokenBody (can never succeed)."""
        if value[:2] != MARKER or len(value) < 10:
            raise BrokenBody("the value does not begin with Avro's single-object marker")
        mark = value[2:10]
        kind = self._by_mark.get(mark)
        try:
            if kind is not None:
                return kind.decode(value)
            return self._decode_foreign(mark, io.BytesIO(value[10:]))
        # ArithmeticError: a time or an amount that no value of ours can hold.
        except (ArithmeticError, EOFError, IndexError, KeyError, TypeError, ValueError) as cause:
            if isinstance(cause, UnknownSchema | UnknownEvent):
                raise
            raise BrokenBody(f"{type(cause).__name__}: {cause}") from cause

    def learn(self, schema: Schema) -> bytes:
        """Take a schema as found on `aybiza.schemas`, or as JSON text; returns its fingerprint."""
        parsed = json.loads(schema) if isinstance(schema, str | bytes) else schema
        mark = fingerprint_of(parsed)
        if mark not in self._by_mark:
            self._foreign[mark] = (parse_schema(parsed, {}), f"{parsed['event']}.v{parsed['version']}")
        return mark

    def knows(self, mark: bytes) -> bool:
        return mark in self._by_mark or mark in self._foreign

    def schema(self, fact: Fact) -> tuple[bytes, Schema]:
        """Fingerprint and schema with which a fact is encoded, for the writer to put on `aybiza.schemas` first."""
        return self.schema_of(type_of(fact))

    def schema_of(self, kind: EventType) -> tuple[bytes, Schema]:
        """As `schema`, for all facts of a kind."""
        compiled = self._kind(kind)
        return compiled.mark, compiled.schema

    def prepare(self, kinds: list[EventType]) -> None:
        """Compile kinds ahead, so that their records are decoded without the schema topic."""
        for kind in kinds:
            self._kind(kind)

    def _kind(self, kind: EventType) -> _Kind:
        compiled = self._kinds.get(kind.ce_type)
        if compiled is None:
            compiled = self._kinds[kind.ce_type] = _compiled(kind)
            self._by_mark[compiled.mark] = self._by_class[kind.cls] = compiled
        return compiled

    def _decode_foreign(self, mark: bytes, body: io.BytesIO) -> Fact:
        if mark not in self._foreign:
            raise UnknownSchema(mark)
        writer, ce_type = self._foreign[mark]
        kind = self._kind(type_named(ce_type))
        return kind.build(fastavro.schemaless_reader(body, writer, kind.parsed))
