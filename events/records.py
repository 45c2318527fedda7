"""A record as it lies on the log, and the fact that it carries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, Self

from events.admission import Fence
from events.codec import Codec
from events.headers import HEADER, ZERO_16, BrokenHeader, Kind, RecordHeader, begins_with, fields_of, heads_of, kind_of, version_in
from events.positions import Position
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.streams import StreamId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPEC_VERSION = ("ce_specversion", b"1.0")
_EVENT = bytes([Kind.EVENT])
CONTENT_TYPE = ("content-type", b"application/avro")


class _Stored(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes
    ce_type: str
    packed: bytes | None


class _Header:
    """Unpacked when it is first asked for: most readers need it of few records."""

    def __get__(self, raw: "RawRecord", _: type) -> RecordHeader | None:
        try:
            header = None if raw.packed is None else RecordHeader.unpack(raw.packed)
        except BrokenHeader:
            header = None
        raw.__dict__["header"] = header
        return header


class RawRecord(_Stored):
    """One Kafka record. `packed` is its packed header as it lies there, None where there is none of ours.

    `header` is the same, read; None where there is none or it is broken.
    """

    header = _Header()

    def __new__(  # noqa: PLR0913, PLR0917 - the parts of a record, as Kafka has them
        cls, topic: str, partition: int, offset: int, timestamp_ms: int, key: bytes, value: bytes, ce_type: str,
        header: RecordHeader | bytes | None,
    ) -> Self:  # fmt: skip
        packed = header.pack() if isinstance(header, RecordHeader) else header
        return tuple.__new__(cls, (topic, partition, offset, timestamp_ms, key, value, ce_type, packed))

    @property
    def kind(self) -> Kind | None:
        """What the header says that it is, told quickly."""
        return kind_of(self.packed)


@dataclass(frozen=True, slots=True)
class AdmittedBatch:
    """Admitted records of one partition, whole commits only, in order.

    A reader that has dealt with them goes on at `next_offset` with `fence`. Receipts and barriers are among the records
    (`header.kind`); claims, lost claims, superseded and foreign records are not, but are counted in `next_offset`.
    """

    topic: str
    partition: int
    records: Sequence[RawRecord]
    next_offset: int
    fence: Fence


def packed_header(headers: Iterable[tuple[str, bytes | None]]) -> tuple[str, bytes | None]:
    """The CloudEvents type and the packed header's bytes among a record's Kafka headers, of each the last that is there."""
    ce_type, packed = "", None
    for name, value in headers:
        if name == HEADER:
            packed = value
        elif name == "ce_type":
            ce_type = (value or b"").decode("utf-8", "replace")
    return ce_type, packed


def read_header(headers: Iterable[tuple[str, bytes | None]]) -> tuple[str, RecordHeader | None]:
    """As `packed_header`, unpacked; None where there is none or it is broken."""
    ce_type, packed = packed_header(headers)
    try:
        return ce_type, None if packed is None else RecordHeader.unpack(packed)
    except BrokenHeader:
        return ce_type, None


def write_headers(room: str, ce_type: str, event_id: str, packed: bytes) -> list[tuple[str, bytes]]:
    """A record's Kafka headers: CloudEvents' required attributes in binary mode, the type first; the packed header last."""
    named, sourced = constant_headers(room, ce_type)
    return [named, SPEC_VERSION, ("ce_id", event_id.encode()), sourced, CONTENT_TYPE, (HEADER, packed)]


@lru_cache(maxsize=4096)
def constant_headers(room: str, ce_type: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """Those that all facts of a kind have, for the writer's hot path: the type and the source."""
    return ("ce_type", ce_type.encode()), ("ce_source", f"aybiza/{room}".encode())


def admitted_run(fence: Fence, raws: Sequence[RawRecord], start: int) -> int:
    """Where the run of records ends, from `start` on, that are admitted and leave the fence as it is; told without unpacking them."""
    heads = heads_of(*fence)
    for at in range(start, len(raws)):
        if not begins_with(raws[at].packed, heads):
            return at
    return len(raws)


def version_of(raw: RawRecord) -> int:
    """The stream's version after an admitted record, told without unpacking its header."""
    return 0 if raw.packed is None else version_in(raw.packed)


def position_of(raw: RawRecord, header: RecordHeader) -> Position:
    """An admitted record's fence is its own term and claim."""
    return Position(raw.topic, raw.partition, raw.offset, Fence(header.term, header.claim_id))


def recorded(raw: RawRecord, codec: Codec) -> Recorded[Fact]:
    """Decode an admitted event. Raises as Codec.decode and StreamId.parse do; ValueError for a record that is no event."""
    packed = raw.packed
    if packed is None or packed[1:2] != _EVENT:
        raise ValueError(f"{raw.topic}/{raw.partition}/{raw.offset} carries no event")
    (
        (_, _, term, claim_id, version, commit_id, index, count, command_id, _, occurred_at_us, cause_id, cause_index, correlation_id,
         _, _, depth, _),
        actor,
    ) = fields_of(packed)  # fmt: skip
    # As the classes' own constructors make them, in a third of the time.
    make = tuple.__new__
    position = make(Position, (raw.topic, raw.partition, raw.offset, make(Fence, (term, claim_id))))
    return make(Recorded, (
        codec.decode(raw.value), StreamId.parse(raw.key), version, position, make(EventId, (commit_id, index)), count, command_id,
        _EPOCH + timedelta(0, 0, occurred_at_us), appended_at(raw.timestamp_ms),
        None if cause_id == ZERO_16 else EventId(cause_id, cause_index), correlation_id, depth, actor,
    ))  # fmt: skip


# All records of a batch have the same.
@lru_cache(maxsize=1024)
def appended_at(timestamp_ms: int) -> datetime:
    """A record's append time."""
    return _EPOCH + timedelta(milliseconds=timestamp_ms)
