"""A spool's bytes: a segment is a header and entries, each with a checksum; what a crash cut off is told from what was damaged.

Header: `AYSP`, format version (2), length of the rest (4), checksum (8), then JSON with the incarnation of the process, the number of
the segment's first entry, the marks of all commands (`commands/wire.py`) and the schemas of the facts that commands carry.

Entry, big-endian:

    offset  size  field
         0     2  marker (e5 0a)
         2     4  length of the payload
         6     8  number: counts from 1 over all segments of the incarnation, without gap
        14     8  synced: the number up to which all was on disk for certain before this entry was written
        22     8  checksum over incarnation, bytes 2 to 21 and payload
        30     n  payload: lengths of stream, of the sender's incarnation and of the order (2 each), the sender's sequence (8), then stream,
                  incarnation, order and command
"""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Checksum: TypeAlias = Callable[[bytes], bytes]
"""8 bytes of whatever it is given."""

_MAGIC = b"AYSP"
_VERSION = 1
_HEADER = struct.Struct(">4sHI8s")
_MARKER = b"\xe5\x0a"
_HEAD = struct.Struct(">2sIQQ8s")
_SUMMED = struct.Struct(">IQQ")
_PAYLOAD = struct.Struct(">HHHQ")


class SpoolOfAnotherVersion(Exception):
    """Another version of the program wrote it. It is left as it is; the text says what to do."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the spool was written by another version of the program ({why}); start that version, or a newer one, on this machine once: "
            "it brings what the spool holds onto the log. Or move the spool's folder away, which gives these facts up"
        )


class Entry(NamedTuple):
    """A command that waits for the log. `incarnation` and `sequence` are its sender's; order and command as `CommandWire` writes them."""

    stream: str
    incarnation: str
    sequence: int
    order: bytes
    command: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What was read of a segment: entries by their number, up to the first that is not whole.

    `first` is 0 where the header itself is not whole. `torn_bytes`: so many follow that no sync had promised to keep. `damaged_at`: the
    offset of an entry that was promised, and is broken.
    """

    first: int
    entries: Mapping[int, Entry]
    schemas: Sequence[Any]
    torn_bytes: int = 0
    damaged_at: int | None = None

    @property
    def next(self) -> int:
        """The number that follows the last whole entry's."""
        return max(self.entries, default=self.first - 1) + 1


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]


def segment_header(incarnation: str, first: int, marks: Mapping[str, bytes], schemas: Sequence[Any], checksum: Checksum = sha) -> bytes:
    told = {"incarnation": incarnation, "first": first, "marks": {name: mark.hex() for name, mark in marks.items()}, "schemas": schemas}
    rest = json.dumps(told, separators=(",", ":")).encode()
    return _HEADER.pack(_MAGIC, _VERSION, len(rest), checksum(rest)) + rest


def payload_of(entry: Entry) -> bytes:
    """Raises struct.error for names over 65,535 bytes."""
    stream, incarnation = entry.stream.encode(), entry.incarnation.encode()
    lengths = _PAYLOAD.pack(len(stream), len(incarnation), len(entry.order), entry.sequence)
    return b"".join((lengths, stream, incarnation, entry.order, entry.command))


def framed(payload: bytes, number: int, synced: int, incarnation: bytes, checksum: Checksum = sha) -> bytes:
    """The payload as an entry of an incarnation's spool."""
    summed = checksum(incarnation + _SUMMED.pack(len(payload), number, synced) + payload)
    return _HEAD.pack(_MARKER, len(payload), number, synced, summed) + payload


def framed_bytes(payload: bytes) -> int:
    return _HEAD.size + len(payload)


def read_segment(data: bytes, incarnation: str, checksum: Checksum = sha) -> Segment:
    """Raises SpoolOfAnotherVersion."""
    raw = incarnation.encode()
    header = _read_header(data, checksum)
    if header is None or header["incarnation"] != incarnation:
        # A header is synced before the first entry follows it.
        damaged = _promised_after(data, 0, 0, raw, checksum)
        return Segment(first=0, entries={}, schemas=(), torn_bytes=len(data), damaged_at=0 if damaged else None)
    entries: dict[int, Entry] = {}
    at, expected = _HEADER.size + header["length"], header["first"]
    damaged_at = None
    while at < len(data):
        found = _entry_at(data, at, raw, checksum)
        if found is None or found[0] != expected:
            damaged_at = at if found or _promised_after(data, at, expected, raw, checksum) else None
            break
        _, _, payload, after = found
        entries[expected] = _entry_of(payload)
        at, expected = after, expected + 1
    return Segment(first=header["first"], entries=entries, schemas=header["schemas"], torn_bytes=len(data) - at, damaged_at=damaged_at)


def _read_header(data: bytes, checksum: Checksum) -> dict[str, Any] | None:
    if len(data) < _HEADER.size:
        return None
    magic, version, length, summed = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        return None
    if version != _VERSION:
        raise SpoolOfAnotherVersion(f"its format is version {version}, this program writes {_VERSION}")
    rest = data[_HEADER.size : _HEADER.size + length]
    if len(rest) != length or checksum(rest) != summed:
        return None
    try:
        told = json.loads(rest)
        return {"length": length, "incarnation": told["incarnation"], "first": told["first"], "schemas": told["schemas"]}
    except (ValueError, KeyError, TypeError):
        # Only without a checksum can it come to this.
        return None


def _entry_at(data: bytes, at: int, incarnation: bytes, checksum: Checksum) -> tuple[int, int, bytes, int] | None:
    """Number, synced, payload and the offset after it; None where no whole entry begins."""
    if at + _HEAD.size > len(data):
        return None
    marker, length, number, synced, summed = _HEAD.unpack_from(data, at)
    after = at + _HEAD.size + length
    if marker != _MARKER or after > len(data):
        return None
    payload = data[at + _HEAD.size : after]
    if checksum(incarnation + _SUMMED.pack(length, number, synced) + payload) != summed:
        return None
    return number, synced, payload, after


def _promised_after(data: bytes, at: int, number: int, incarnation: bytes, checksum: Checksum) -> bool:
    """Whether a later entry shows that entry `number` had been synced."""
    while (at := data.find(_MARKER, at + 1)) >= 0:
        found = _entry_at(data, at, incarnation, checksum)
        if found is not None and found[1] >= number:
            return True
    return False


def _entry_of(payload: bytes) -> Entry:
    stream, incarnation, order, sequence = _PAYLOAD.unpack_from(payload)
    parts = []
    at = _PAYLOAD.size
    for length in (stream, incarnation, order):
        parts.append(payload[at : at + length])
        at += length
    return Entry(parts[0].decode("ascii", "replace"), parts[1].decode("utf-8", "replace"), sequence, parts[2], payload[at:])
