"""A stream's name, and the partition on which every client finds it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_PART = re.compile(r"[A-Za-z0-9_.:-]{1,120}\Z")
PLATFORM = "platform"
"""The tenant of streams that belong to no organisation (reservations, the carrier's numbers)."""


class InvalidStreamName(ValueError):
    """A part of a stream's name is empty, too long, or has a character outside letters, digits and `_ . : -`."""


@dataclass(frozen=True, slots=True)
class StreamId:
    """`tenant/category/id`: the key of every record of the stream, on the topic of its category's room."""

    tenant: str
    category: str
    id: str

    def __post_init__(self) -> None:
        for part in (self.tenant, self.category, self.id):
            if not _PART.match(part):
                raise InvalidStreamName(f"{part!r} cannot be part of a stream's name")

    @property
    def key(self) -> bytes:
        return f"{self.tenant}/{self.category}/{self.id}".encode()

    def __str__(self) -> str:
        return f"{self.tenant}/{self.category}/{self.id}"

    @classmethod
    def parse(cls, key: bytes | str) -> "StreamId":
        """Read a record's key. Raises InvalidStreamName."""
        return _parsed(key)


# A stream has many records, and checking its name costs more than all else that is read of one.
@lru_cache(maxsize=1 << 16)
def _parsed(key: bytes | str) -> StreamId:
    text = key.decode("ascii", "replace") if isinstance(key, bytes) else key
    parts = text.split("/")
    if len(parts) != 3:
        raise InvalidStreamName(f"{text!r} is not tenant/category/id")
    return StreamId(*parts)


GENERATIONS: Mapping[str, int] = {}
"""Rooms whose topic was grown, with its present generation, as its manifest says; all others are at their first."""


def topic_of(room: str) -> str:
    """The topic of a room, in its present generation."""
    return f"aybiza.{room}.v{GENERATIONS.get(room, 1)}"


def room_of(topic: str) -> str:
    """The room of an event topic."""
    return topic.split(".")[1]


def murmur2(data: bytes) -> int:
    """The 32-bit hash by which Kafka's Java client spreads keys (org.apache.kafka.common.utils.Utils.murmur2)."""
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    hashed = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * mix & mask
        word = (word ^ (word >> 24)) * mix & mask
        hashed = (hashed * mix & mask) ^ word
    if tail := data[whole:]:
        hashed = (hashed ^ int.from_bytes(tail, "little")) * mix & mask
    hashed = (hashed ^ (hashed >> 13)) * mix & mask
    return hashed ^ (hashed >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's default partitioner puts a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
