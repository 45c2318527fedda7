"""Facts as files, the same ones in each form: NDJSON, Avro object containers by the registered schemas, Parquet.

A part is made in memory and is small; who writes it down does so whole.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import fastavro
from fastavro.schema import parse_schema
from fastavro.write import Writer

from events.codec import Codec
from events.recorded import Recorded
from events.registry import Fact, type_of

Shown: TypeAlias = Callable[[Fact], Mapping[str, Any]]
"""A fact's fields as JSON has them, with what is sealed shown or not."""
_ROWS_AT_ONCE: Final = 2_000


class Format(StrEnum):
    NDJSON = "ndjson"
    AVRO = "avro"
    PARQUET = "parquet"


class FormatMissing(RuntimeError):
    """This installation cannot write the format; the text says what is missing."""


class Made(NamedTuple):
    """A whole file, by the last part of its name."""

    suffix: str
    content: bytes
    facts: int


class Part(Protocol):
    """Some facts, on their way into files."""

    @property
    def facts(self) -> int: ...

    @property
    def size(self) -> int:
        """About how many bytes it holds in memory."""

    def add(self, fact: Recorded[Fact]) -> None: ...

    def made(self) -> Sequence[Made]:
        """Its files; it takes nothing more."""


def part_in(form: Format, codec: Codec, shown: Shown) -> Part:
    """A fresh part. `shown` is for the forms that have JSON in them. Raises FormatMissing."""
    match form:
        case Format.NDJSON:
            return _Lines(shown)
        case Format.PARQUET:
            return _Columns(shown)
        case Format.AVRO:
            return _Containers(codec)


def entry_of(fact: Recorded[Fact], data: Mapping[str, Any]) -> dict[str, Any]:
    """What every form says of a fact beside its fields, and these."""
    return {
        "type": type_of(fact.fact).ce_type,
        "stream": str(fact.stream),
        "version": fact.version,
        "position": str(fact.position),
        "event_id": str(fact.event_id),
        "occurred_at": fact.occurred_at.isoformat(),
        "appended_at": fact.appended_at.isoformat(),
        "actor": fact.actor,
        "causation": None if fact.causation is None else str(fact.causation),
        "correlation_id": fact.correlation_id.hex(),
        "data": data,
    }


class _Lines:
    """One JSON object a line."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._lines = bytearray()
        self.facts = 0

    @property
    def size(self) -> int:
        return len(self._lines)

    def add(self, fact: Recorded[Fact]) -> None:
        entry = entry_of(fact, self._shown(fact.fact))
        self._lines += json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self.facts += 1

    def made(self) -> Sequence[Made]:
        return [Made(".ndjson", bytes(self._lines), self.facts)]


_META: Final[list[dict[str, Any]]] = [
    {"name": "stream", "type": "string"},
    {"name": "version", "type": "long"},
    {"name": "position", "type": "string"},
    {"name": "event_id", "type": "string"},
    {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "appended_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "actor", "type": "string"},
    {"name": "causation", "type": ["null", "string"]},
    {"name": "correlation_id", "type": "string"},
]


@dataclass(slots=True)
class _Container:
    """The facts of one kind: a container has one schema."""

    schema: Any
    into: io.BytesIO
    writer: Any
    facts: int = 0


class _Containers:
    """A file for each kind of fact; its field `fact` has the schema that is registered for the kind."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._kinds: dict[str, _Container] = {}
        self.facts = 0
        self.size = 0

    def add(self, fact: Recorded[Fact]) -> None:
        name = type_of(fact.fact).ce_type
        kind = self._kinds.get(name) or self._begun(name, fact.fact)
        body = self._codec.encode(fact.fact)
        entry = {
            "stream": str(fact.stream), "version": fact.version, "position": str(fact.position), "event_id": str(fact.event_id),
            "occurred_at": fact.occurred_at, "appended_at": fact.appended_at, "actor": fact.actor,
            "causation": None if fact.causation is None else str(fact.causation), "correlation_id": fact.correlation_id.hex(),
            # Behind the marker and the fingerprint.
            "fact": fastavro.schemaless_reader(io.BytesIO(body[10:]), kind.schema, None),
        }  # fmt: skip
        kind.writer.write(entry)
        kind.facts += 1
        self.facts += 1
        self.size += len(body) + 200

    def _begun(self, name: str, fact: Fact) -> _Container:
        _, registered = self._codec.schema(fact)
        whole = {"type": "record", "name": "Exported", "namespace": "aybiza", "fields": [*_META, {"name": "fact", "type": registered}]}
        into = io.BytesIO()
        container = _Container(parse_schema(registered, {}), into, Writer(into, parse_schema(whole, {}), codec="deflate"))
        self._kinds[name] = container
        return container

    def made(self) -> Sequence[Made]:
        files = []
        for name, kind in sorted(self._kinds.items()):
            kind.writer.flush()
            files.append(Made(f"-{name}.avro", kind.into.getvalue(), kind.facts))
        return files


class _Columns:
    """A column for each thing that every fact has; its fields are JSON text in the last one."""

    def __init__(self, shown: Shown) -> None:
        try:
            # An extra of the installation, and slow to import.
            import pyarrow as pa  # noqa: PLC0415
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as cause:
            raise FormatMissing("Parquet is written by pyarrow, which is not here. Type: pip install 'aybiza[export]'") from cause
        self._arrow, self._shown = pa, shown
        text, time = pa.string(), pa.timestamp("us", tz="UTC")
        kinds = {"version": pa.int64(), "occurred_at": time, "appended_at": time}
        names = [*(str(each["name"]) for each in _META), "type", "data"]
        self._schema = pa.schema([(name, kinds.get(name, text)) for name in names])
        self._into = io.BytesIO()
        self._writer = parquet.ParquetWriter(self._into, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._held = 0
        self.facts = 0

    @property
    def size(self) -> int:
        return self._held + self._into.tell()

    def add(self, fact: Recorded[Fact]) -> None:
        data = json.dumps(self._shown(fact.fact), ensure_ascii=False, separators=(",", ":"))
        entry = {**entry_of(fact, {}), "occurred_at": fact.occurred_at, "appended_at": fact.appended_at, "data": data}
        self._rows.append(entry)
        self._held += len(data) + 300
        self.facts += 1
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._held = [], 0

    def made(self) -> Sequence[Made]:
        if self._rows:
            self._write()
        self._writer.close()
        return [Made(".parquet", self._into.getvalue(), self.facts)]
