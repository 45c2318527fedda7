"""A record as it lies on the log, and the fact that it carries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from events.admission import Fence
from events.codec import Codec
from events.headers import HEADER, ZERO_16, BrokenHeader, Kind, RecordHeader
from events.positions import Position
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.streams import StreamId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPEC_VERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/avro")


class RawRecord(NamedTuple):
    """One Kafka record with its packed header read; `header` is None where there is none of ours or it is broken."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes
    ce_type: str
    header: RecordHeader | None


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


def read_header(headers: Iterable[tuple[str, bytes | None]]) -> tuple[str, RecordHeader | None]:
    """The CloudEvents type and the packed header among a record's Kafka headers."""
    ce_type, packed = "", None
    for name, value in headers:
        if name == HEADER:
            packed = value
        elif name == "ce_type":
            ce_type = (value or b"").decode("utf-8", "replace")
    if packed is None:
        return ce_type, None
    try:
        return ce_type, RecordHeader.unpack(packed)
    except BrokenHeader:
        return ce_type, None


def write_headers(room: str, ce_type: str, event_id: str, packed: bytes) -> list[tuple[str, bytes]]:
    """A record's Kafka headers: CloudEvents' required attributes in binary mode, the type first; the packed header last."""
    named, sourced = _constant_headers(room, ce_type)
    return [named, _SPEC_VERSION, ("ce_id", event_id.encode()), sourced, _CONTENT_TYPE, (HEADER, packed)]


@lru_cache(maxsize=4096)
def _constant_headers(room: str, ce_type: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return ("ce_type", ce_type.encode()), ("ce_source", f"aybiza/{room}".encode())


def position_of(raw: RawRecord, header: RecordHeader) -> Position:
    """An admitted record's fence is its own term and claim."""
    return Position(raw.topic, raw.partition, raw.offset, Fence(header.term, header.claim_id))


def recorded(raw: RawRecord, codec: Codec) -> Recorded[Fact]:
    """Decode an admitted event. Raises as Codec.decode and StreamId.parse do; ValueError for a record that is no event."""
    header = raw.header
    if header is None or header.kind is not Kind.EVENT:
        raise ValueError(f"{raw.topic}/{raw.partition}/{raw.offset} carries no event")
    (_, term, claim_id, version, commit_id, index, count, command_id, _, occurred_at_us, cause_id, cause_index, correlation_id,
     _, _, depth, actor) = header  # fmt: skip
    return Recorded(
        codec.decode(raw.value), StreamId.parse(raw.key), version, Position(raw.topic, raw.partition, raw.offset, Fence(term, claim_id)),
        EventId(commit_id, index), count, command_id, _EPOCH + timedelta(0, 0, occurred_at_us), _appended_at(raw.timestamp_ms),
        None if cause_id == ZERO_16 else EventId(cause_id, cause_index), correlation_id, depth, actor,
    )  # fmt: skip


# All records of a batch have the same.
@lru_cache(maxsize=1024)
def _appended_at(timestamp_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=timestamp_ms)
