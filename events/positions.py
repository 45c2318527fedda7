"""Places on the log that any reader can go on from: offset and fence together, of one record or of many partitions."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

from events.admission import NO_CLAIM, UNCLAIMED, Fence

if TYPE_CHECKING:
    from events.records import AdmittedBatch


Reach: TypeAlias = Mapping[tuple[str, int], int]
"""How far partitions were seen: for each the offset that comes next. Without fences: to wait for or look back to, not to go on from."""
_MOST = 1 << 62


class InvalidPosition(ValueError):
    """The text is no position of ours."""


class Position(NamedTuple):
    """A record's place. Ordered within its partition; positions of other partitions cannot be compared."""

    topic: str
    partition: int
    offset: int
    fence: Fence

    def __str__(self) -> str:
        """Opaque to clients, readable for us: `aybiza.calls.v1/3/1042/7/0af3…`."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.fence.term}/{self.fence.claim_id.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Raises InvalidPosition."""
        try:
            topic, partition, offset, term, claim_id = text.split("/")
            fence = Fence(int(term), bytes.fromhex(claim_id))
            position = cls(topic, int(partition), int(offset), fence)
        except ValueError as cause:
            raise InvalidPosition(f"{text!r} is not topic/partition/offset/term/claim") from cause
        if len(fence.claim_id) != 16 or position.partition < 0 or position.offset < 0:
            raise InvalidPosition(f"{text!r} is not topic/partition/offset/term/claim")
        return position


class Cursor(Mapping[tuple[str, int], tuple[int, Fence]]):
    """How far a consumer of many partitions has read: for each the offset that comes next, and the fence before it.

    A value: every step makes a new one. Kept as one text, it is all that a consumer needs to go on. Cursors are ordered partition by
    partition, so of two neither may be the further one; a partition that is not named stands at its beginning.
    """

    __slots__ = ("_next",)

    def __init__(self, reached: Mapping[tuple[str, int], tuple[int, Fence]] | None = None) -> None:
        self._next = dict(sorted((reached or {}).items()))

    def __getitem__(self, place: tuple[str, int]) -> tuple[int, Fence]:
        return self._next[place]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._next)

    def __len__(self) -> int:
        return len(self._next)

    def __hash__(self) -> int:
        return hash(tuple(self._next.items()))

    def __repr__(self) -> str:
        return f"Cursor.parse({str(self)!r})"

    def __str__(self) -> str:
        """Opaque to clients, readable for us: `aybiza.calls.v1:0/1042/7/0af3…,1/0/0/;aybiza.flags.v1:…`. A missing claim is left out."""
        by_topic: dict[str, list[str]] = {}
        for (topic, partition), (offset, (term, claim_id)) in self._next.items():
            claim = "" if claim_id == NO_CLAIM else claim_id.hex()
            by_topic.setdefault(topic, []).append(f"{partition}/{offset}/{term}/{claim}")
        return ";".join(f"{topic}:{','.join(entries)}" for topic, entries in by_topic.items())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidPosition. The empty text is the beginning of everything."""
        reached: dict[tuple[str, int], tuple[int, Fence]] = {}
        for part in filter(None, text.split(";")):
            topic, _, entries = part.partition(":")
            for entry in entries.split(","):
                try:
                    partition, offset, term, claim = entry.split("/")
                    place, fence = (topic, int(partition)), Fence(int(term), bytes.fromhex(claim) or NO_CLAIM)
                    reached_here = int(offset)
                except ValueError as cause:
                    raise InvalidPosition(f"{entry!r} is not partition/offset/term/claim") from cause
                if not topic or place in reached or min(*place[1:], reached_here, fence.term) < 0 or len(fence.claim_id) != 16:
                    raise InvalidPosition(f"{part[:200]!r} is no part of a cursor")
                reached[place] = (reached_here, fence)
        return cls(reached)

    def after(self, batch: "AdmittedBatch") -> Self:
        """Past everything that a batch holds."""
        return type(self)({**self._next, (batch.topic, batch.partition): (batch.next_offset, batch.fence)})

    def has_passed(self, position: Position) -> bool:
        """Whether the record at `position` lies behind."""
        return self.get((position.topic, position.partition), (0, UNCLAIMED))[0] > position.offset

    def merged(self, other: "Cursor") -> Self:
        """The further one in each partition. Raises InvalidPosition where the two know different writers at the same offset."""
        merged = dict(self._next)
        for place, theirs in other.items():
            ours = merged.setdefault(place, theirs)
            if ours[0] == theirs[0] and ours != theirs:
                terms = f"one cursor knows term {ours[1].term}, the other {theirs[1].term}"
                raise InvalidPosition(f"{place[0]}/{place[1]}: at offset {theirs[0]} {terms}")
            merged[place] = ours if ours[0] >= theirs[0] else theirs
        return type(self)(merged)

    def __le__(self, other: "Cursor") -> bool:
        """Whether the other one is at least as far everywhere."""
        return all(offset <= other.get(place, (0, UNCLAIMED))[0] for place, (offset, _) in self.items())


def write_reach(reach: Reach) -> str:
    """Opaque to clients, readable for us: `aybiza.calls.v1:0/1042,1/0;aybiza.flags.v1:3/7`."""
    by_topic: dict[str, list[str]] = {}
    for (topic, partition), offset in sorted(reach.items()):
        by_topic.setdefault(topic, []).append(f"{partition}/{offset}")
    return ";".join(f"{topic}:{','.join(entries)}" for topic, entries in by_topic.items())


def read_reach(text: str) -> dict[tuple[str, int], int]:
    """Raises InvalidPosition."""
    reach: dict[tuple[str, int], int] = {}
    for part in text.split(";"):
        topic, _, entries = part.partition(":")
        for entry in entries.split(","):
            partition, _, offset = entry.partition("/")
            if not (topic and len(entry) < 30 and entry.isascii() and partition.isdecimal() and offset.isdecimal()):
                raise InvalidPosition(f"{entry[:80]!r} is not partition/offset")
            place = topic, int(partition)
            if place in reach or max(int(partition), int(offset)) > _MOST:
                raise InvalidPosition(f"{part[:200]!r} says no place, or one twice")
            reach[place] = int(offset)
    return reach
