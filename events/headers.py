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
from typing import NamedTuple

HEADER = "aybiza"
_LAYOUT = struct.Struct(">BBQ16sQ16sHH16s16sq16sH16s16s8sBB")
_VERSION = 1
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
        try:
            fields = _LAYOUT.unpack_from(packed)
            actor = packed[_LAYOUT.size :].decode()
        # TypeError: Kafka lets a header be null.
        except (struct.error, TypeError, UnicodeDecodeError) as cause:
            raise BrokenHeader(str(cause)) from cause
        if fields[0] != _VERSION or fields[1] not in _KINDS or len(packed) != _LAYOUT.size + fields[-1]:
            raise BrokenHeader(f"layout {fields[0]}, kind {fields[1]}, {len(packed)} bytes")
        return tuple.__new__(cls, (_KINDS[fields[1]], *fields[2:-1], actor))


def pack(  # noqa: PLR0913, PLR0917 - the layout has as many fields
    kind: int, term: int, claim_id: bytes, version: int, commit_id: bytes, index: int, count: int, command_id: bytes, digest: bytes,
    occurred_at_us: int, causation_id: bytes, causation_index: int, correlation_id: bytes, trace_id: bytes, span_id: bytes, depth: int,
    actor: bytes,
) -> bytes:  # fmt: skip
    """The header's bytes from its fields in the order of the layout, for the writer's hot path. Raises ValueError for a long actor."""
    if len(actor) > 255:
        raise ValueError("an actor's name may have 255 bytes")
    packed = _LAYOUT.pack(
        _VERSION, kind, term, claim_id, version, commit_id, index, count, command_id, digest, occurred_at_us, causation_id,
        causation_index, correlation_id, trace_id, span_id, depth, len(actor),
    )  # fmt: skip
    return packed + actor
