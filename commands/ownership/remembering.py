"""Which commands a stream has taken: the last ones with their answers, older ones as tags that say "ask the journal"."""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import chain, islice
from typing import NamedTuple

from events.admission import Fence

WINDOW = 256
"""So many of a stream's last commands are answered from memory, at least; up to twice as many are kept."""
_HALVES = struct.Struct(">QQ")


_ANSWERED = struct.Struct(">16sQQQ16s")


class Answered(NamedTuple):
    """The first answer to a command: where its last record lies, and the stream's version after it.

    Kept as bytes: so it takes less room, and Python's collector of garbage has nothing to look through.
    """

    digest: bytes
    offset: int
    version: int
    fence: Fence

    @classmethod
    def unpack(cls, packed: bytes) -> "Answered":
        """As it was packed."""
        digest, offset, version, term, claim_id = _ANSWERED.unpack(packed)
        return cls(digest, offset, version, Fence(term, claim_id))


def pack_answered(digest: bytes, offset: int, version: int, fence: Fence) -> bytes:
    """56 bytes, big-endian: the digest, the offset, the version, the fence."""
    return _ANSWERED.pack(digest, offset, version, fence[0], fence[1])


class Tags:
    """Eight bytes of each command id, in sorted runs that double in length: little memory, and a cost that grows by the logarithm."""

    __slots__ = ("runs",)

    def __init__(self, runs: "Iterable[array[int]]" = ()) -> None:
        self.runs = list(runs)

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    def add(self, command_ids: Iterable[bytes]) -> None:
        run = array("Q", sorted(map(tag_of, command_ids)))
        while self.runs and len(self.runs[-1]) < 2 * len(run):
            run = array("Q", sorted(chain(self.runs.pop(), run)))
        self.runs.append(run)

    def may_hold(self, command_id: bytes) -> bool:
        """False: it is certain that this command was not added. True: it almost certainly was."""
        tag = tag_of(command_id)
        for run in self.runs:
            at = bisect_left(run, tag)
            if at < len(run) and run[at] == tag:
                return True
        return False


def tag_of(command_id: bytes) -> int:
    """Eight bytes of a command id's sixteen, mixed: an id may be a time or a name in its first or in its last half."""
    high: int
    low: int
    high, low = _HALVES.unpack(command_id)
    return (high * 0x9E3779B97F4A7C15 ^ low * 0xC2B2AE3D27D4EB4F) & 0xFFFFFFFFFFFFFFFF


def shortened(answered: dict[bytes, bytes], older: Tags | None) -> tuple[dict[bytes, bytes], Tags]:
    """The last WINDOW answers, and tags of all before them."""
    many = len(answered) - WINDOW
    tags = older or Tags()
    tags.add(islice(answered, many))
    return dict(islice(answered.items(), many, None)), tags
