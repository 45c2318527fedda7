"""The packed header `aybiza`: all that routing, admission and tracing need, without the body.

Layout, big-endian, 154 bytes and the actor:

    offset  size  field
         0     1  layout (1)
         1     1  kind: 0 event, 1 claim, 2 release, 3 barrier, 4 receipt
         2     8  term of the writer's claim
        10    16  claim id
        26     8  stream version after this record (events from 1; a receipt carries the version it was given at)
        34    16  commit id
        50     2  index in the commit
        52     2  records in the commit
        54    16  command id
        70    16  command digest (first 16 bytes of SHA-256 over what the caller sent)
        86     8  when it happened, microseconds since 1970 UTC
        94    16  causation: commit id of the causing record (zero: none)
       110     2  causation: its index
       112    16  correlation id
       128    16  trace id (W3C)
       144     8  span id (W3C)
       152     1  depth of causation
       153     1  length of the actor
       154     n  actor, UTF-8
"""

import struct
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

HEADER = "aybiza"
LAYOUT = struct.Struct(">BBQ16sQ16sHH16s16sq16sH16s16s8sBB")
VERSION = 1
ZERO_16 = bytes(16)
ZERO_8 = bytes(8)


class Kind(IntEnum):
    """What a record is: a fact, or a word among owners."""

    EVENT = 0
    CLAIM = 1
    RELEASE = 2
    BARRIER = 3
    RECEIPT = 4


_KINDS = {int(kind): kind for kind in Kind}
_HEAD = struct.Struct(">BBQ16s")
_FIRST = bytes([VERSION])
# The actors that were seen, by their length and name as they lie at the header's end.
_ACTOR_AT = LAYOUT.size - 1
_VERSION = slice(26, 34)
_ACTORS: dict[bytes, str] = {}
_MANY_ACTORS = 10_000


class BrokenHeader(ValueError):
    """The packed header is missing, cut, or of an unknown layout."""


class RecordHeader(NamedTuple):
    """The packed header's fields, in their order. Ids are 16 raw bytes; `occurred_at_us` counts from 1970 UTC.

    A tuple, as whatever is made once per record: reading and writing make hundreds of thousands a second, and a frozen dataclass
    takes five times as long to make.
    """

    kind: Kind
    term: int
    claim_id: bytes
    version: int = 0
    commit_id: bytes = ZERO_16
    index: int = 0  # type: ignore[assignment]  # a field, where tuple has a method that nobody needs here
    count: int = 1  # type: ignore[assignment]
    command_id: bytes = ZERO_16
    digest: bytes = ZERO_16
    occurred_at_us: int = 0
    causation_id: bytes = ZERO_16
    causation_index: int = 0
    correlation_id: bytes = ZERO_16
    trace_id: bytes = ZERO_16
    span_id: bytes = ZERO_8
    depth: int = 0
    actor: str = ""

    def pack(self) -> bytes:
        """Raises ValueError for an actor over 255 bytes."""
        return pack(*self[:-1], self.actor.encode())

    @classmethod
    def unpack(cls, packed: bytes) -> "RecordHeader":
        """Raises BrokenHeader."""
        fields, actor = fields_of(packed)
        return tuple.__new__(cls, (_KINDS[fields[1]], *fields[2:-1], actor))


def fields_of(packed: bytes) -> tuple[tuple[Any, ...], str]:
    """All fields in the order of the layout, the kind as a number, and the actor; for the reader's hot path. Raises BrokenHeader."""
    try:
        fields = LAYOUT.unpack_from(packed)
        actor = _ACTORS.get(packed[_ACTOR_AT:])
        if actor is None:
            actor = _actor_of(packed)
    # TypeError: Kafka lets a header be null.
    except (struct.error, TypeError, UnicodeDecodeError) as cause:
        raise BrokenHeader(str(cause)) from cause
    if fields[0] != VERSION or fields[1] not in _KINDS:
        raise BrokenHeader(f"layout {fields[0]}, kind {fields[1]}, {len(packed)} bytes")
    return fields, actor


def _actor_of(packed: bytes) -> str:
    tail = packed[_ACTOR_AT:]
    if len(tail) != 1 + tail[0]:
        raise BrokenHeader(f"an actor of {tail[0]} bytes in {len(packed)} bytes")
    # Actors are few; whoever invents them without end costs us time, but no memory.
    if len(_ACTORS) >= _MANY_ACTORS:
        _ACTORS.clear()
    actor = _ACTORS[tail] = tail[1:].decode()
    return actor


def kind_of(packed: bytes | None) -> Kind | None:
    """The kind that a whole header of ours names; None for any other bytes. Most often told without unpacking them."""
    if packed is None:
        return None
    if packed[0:1] == _FIRST and packed[_ACTOR_AT:] in _ACTORS:
        return _KINDS.get(packed[1])
    try:
        return _KINDS[fields_of(packed)[0][1]]
    except BrokenHeader:
        return None


def version_in(packed: bytes) -> int:
    """The stream's version in a whole header of ours."""
    return int.from_bytes(packed[_VERSION], "big")


@lru_cache(maxsize=1024)
def heads_of(term: int, claim_id: bytes) -> frozenset[bytes]:
    """How the headers begin that a claim's holder writes after it, up to where their claim ends."""
    if not 0 <= term < 2**64 or len(claim_id) != 16:
        return frozenset()
    return frozenset(_HEAD.pack(VERSION, kind, term, claim_id) for kind in Kind if kind is not Kind.CLAIM)


def begins_with(packed: bytes | None, heads: frozenset[bytes]) -> bool:
    """Whether these are a whole header with one of these heads. Most often told without unpacking it."""
    if packed is None or packed[: _HEAD.size] not in heads:
        return False
    return packed[_ACTOR_AT:] in _ACTORS or kind_of(packed) is not None


def pack(  # noqa: PLR0913, PLR0917 - the layout has as many fields
    kind: int, term: int, claim_id: bytes, version: int, commit_id: bytes, index: int, count: int, command_id: bytes, digest: bytes,
    occurred_at_us: int, causation_id: bytes, causation_index: int, correlation_id: bytes, trace_id: bytes, span_id: bytes, depth: int,
    actor: bytes,
) -> bytes:  # fmt: skip
    """The header's bytes from its fields in the order of the layout, for the writer's hot path. Raises ValueError for a long actor."""
    if len(actor) > 255:
        raise ValueError("an actor's name may have 255 bytes")
    packed = LAYOUT.pack(
        VERSION, kind, term, claim_id, version, commit_id, index, count, command_id, digest, occurred_at_us, causation_id,
        causation_index, correlation_id, trace_id, span_id, depth, len(actor),
    )  # fmt: skip
    return packed + actor
