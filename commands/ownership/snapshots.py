"""Snapshots of long streams: a confirmed state beside the record that it holds for, and everything that is checked before it is used.

A snapshot is magic, SHA-256 of the rest (16 bytes of it), then compressed: the length of a JSON document (4 bytes, big-endian), the
document, the remembered commands (id, digest, offset, version, term, claim id: 72 bytes each), the tags of older ones (8 bytes each).
"""

import hashlib
import json
import struct
import sys
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from commands.decider import Decider
from commands.ownership.remembering import Answered, Tags
from commands.ownership.shapes import fold_version, state_shape
from commands.ownership.streams import Stream, category_of
from commands.ports import Place
from events.admission import Fence
from events.leaves import leaf_hash
from events.records import RawRecord

_MAGIC = b"AYS1"
_LENGTH = struct.Struct(">I")
_COMMAND = struct.Struct("16s56s")
_QUICKLY = 1


class SnapshotIgnored(Exception):
    """It cannot be gone on from; the text says why. The stream is folded from its beginning instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stream as it was confirmed after its record at `offset`. `leaf`: that record's leaf hash."""

    key: bytes
    place: Place
    offset: int
    fence: Fence
    leaf: bytes
    version: int
    state: Any
    answered: Mapping[bytes, bytes]
    tags: "array[int]"

    def stream(self) -> Stream:
        """The stream again, to be folded on."""
        stream = Stream(self.state)
        stream.version = stream.snapped = self.version
        stream.last_offset = self.offset
        stream.answered = dict(self.answered)
        stream.older = Tags([self.tags]) if self.tags else None
        return stream


def leaf_of(raw: RawRecord) -> bytes:
    """The leaf hash of a record as it was read. Raises SnapshotIgnored for one that is not ours."""
    if raw.header is None:
        raise SnapshotIgnored("there is a stranger's record in its place")
    packed = raw.header.pack()
    return leaf_hash(key=raw.key, timestamp_ms=raw.timestamp_ms, ce_type=raw.ce_type, packed_header=packed, value=raw.value)


def taken(key: bytes, place: Place, stream: Stream) -> Snapshot | None:
    """A picture of a stream as it is confirmed now, but for the leaf; None for one that remembers no command with its last record."""
    last = next((each for each in map(Answered.unpack, reversed(stream.answered.values())) if each.offset == stream.last_offset), None)
    if last is None:
        return None
    runs = [] if stream.older is None else stream.older.runs
    return Snapshot(
        key=key, place=place, offset=stream.last_offset, fence=last.fence, leaf=b"", version=stream.version, state=stream.state,
        answered=dict(stream.answered), tags=array("Q", sorted(tag for run in runs for tag in run)),
    )  # fmt: skip


def pack(snapshot: Snapshot, decider: Decider[Any, Any, Any]) -> bytes:
    """Raises NotSnapshotable."""
    document = {
        "stream": snapshot.key.decode(),
        "topic": snapshot.place.topic,
        "partition": snapshot.place.partition,
        "offset": snapshot.offset,
        "term": snapshot.fence.term,
        "claim": snapshot.fence.claim_id.hex(),
        "leaf": snapshot.leaf.hex(),
        "version": snapshot.version,
        "fold": fold_version(decider).hex(),
        "commands": len(snapshot.answered),
        "state": state_shape(decider).lower(snapshot.state),
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    commands = b"".join(name + packed for name, packed in snapshot.answered.items())
    body = zlib.compress(b"".join((_LENGTH.pack(len(text)), text, commands, _big_endian(snapshot.tags).tobytes())), _QUICKLY)
    return _MAGIC + hashlib.sha256(body).digest()[:16] + body


def unpack(packed: bytes, key: bytes, place: Place, deciders: Mapping[str, Decider[Any, Any, Any]]) -> Snapshot:
    """The snapshot of this very stream, folded as this program folds. Raises SnapshotIgnored."""
    if packed[:4] != _MAGIC or hashlib.sha256(packed[20:]).digest()[:16] != packed[4:20]:
        raise SnapshotIgnored("its checksum is wrong, or it is of another layout")
    decider = deciders.get(category_of(key))
    if decider is None:
        raise SnapshotIgnored("nobody decides about such a stream")
    try:
        return _unpacked(zlib.decompress(packed[20:]), key, place, decider)
    except (KeyError, TypeError, ValueError, struct.error, zlib.error) as cause:
        raise SnapshotIgnored(f"it cannot be read: {type(cause).__name__}: {cause}") from cause


def _unpacked(body: bytes, key: bytes, place: Place, decider: Decider[Any, Any, Any]) -> Snapshot:
    (length,) = _LENGTH.unpack_from(body)
    document = json.loads(body[4 : 4 + length])
    if (document["stream"].encode(), document["topic"], document["partition"]) != (key, *place):
        raise SnapshotIgnored("it is of another stream")
    if document["fold"] != fold_version(decider).hex():
        raise SnapshotIgnored("it was folded by another program")
    commands_end = 4 + length + document["commands"] * _COMMAND.size
    answered = dict(_COMMAND.iter_unpack(body[4 + length : commands_end]))
    tags = array("Q")
    tags.frombytes(body[commands_end:])
    return Snapshot(
        key=key, place=place, offset=document["offset"], fence=Fence(document["term"], bytes.fromhex(document["claim"])),
        leaf=bytes.fromhex(document["leaf"]), version=document["version"], state=state_shape(decider).build(document["state"]),
        answered=answered, tags=_big_endian(tags),
    )  # fmt: skip


def _big_endian(tags: "array[int]") -> "array[int]":
    """To the order on the wire, or from it."""
    swapped = array("Q", tags)
    if sys.byteorder == "little":
        swapped.byteswap()
    return swapped
