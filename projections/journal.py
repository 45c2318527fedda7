"""Every admitted record as it lies on the log, by stream and by position, with its leaf hash. It decodes nothing and never parks."""

from dataclasses import dataclass
from typing import NamedTuple

from events.headers import RecordHeader
from events.leaves import leaf_hash
from events.records import RawRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The journal as a projection, on every topic that it is told of."""

    name: str = "journal"
    version: int = 1
    build: int = 1


JOURNAL = Journal()


class JournalEntry(NamedTuple):
    """An admitted record. `stream` is its key as text; `kind` as in the packed header (0 is an event).

    A tuple, for there is one for every record of the log.
    """

    topic: str
    partition: int
    offset: int
    stream: str
    version: int
    kind: int
    ce_type: str
    appended_at_ms: int
    header: bytes
    value: bytes
    leaf: bytes


def entry_of(raw: RawRecord, header: RecordHeader) -> JournalEntry:
    """Total: whatever was admitted has an entry."""
    packed = header.pack() if raw.packed is None else raw.packed
    leaf = leaf_hash(key=raw.key, timestamp_ms=raw.timestamp_ms, ce_type=raw.ce_type, packed_header=packed, value=raw.value)
    return JournalEntry(
        raw.topic, raw.partition, raw.offset, stream_text(raw.key), header.version, int(header.kind), stored_type(raw.ce_type),
        raw.timestamp_ms, packed, raw.value, leaf,
    )  # fmt: skip


def raw_of(entry: JournalEntry) -> RawRecord:
    """The record again, from its entry. Raises BrokenHeader for an entry that was tampered with."""
    return RawRecord(
        entry.topic, entry.partition, entry.offset, entry.appended_at_ms, key_of(entry.stream), entry.value, entry.ce_type,
        RecordHeader.unpack(entry.header),
    )  # fmt: skip


def stream_text(key: bytes) -> str:
    r"""A stream's key is plain text already; any other key is written in hex behind `\x`."""
    if key.isascii() and (text := key.decode()).isprintable() and not text.startswith("\\x"):
        return text
    return "\\x" + key.hex()


def key_of(text: str) -> bytes:
    """The way back."""
    return bytes.fromhex(text[2:]) if text.startswith("\\x") else text.encode()


def stored_type(ce_type: str) -> str:
    """A CloudEvents type as it is stored."""
    # The one character that PostgreSQL's text cannot hold.
    return ce_type.replace("\0", "\N{SYMBOL FOR NULL}")
