"""Records of one partition copied to another, whole commits, by whoever claimed it; a copy that was cut short goes on where it ends."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from commands.ports import AppendInDoubt, Log, LogAway, NewRecord, Place
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.codec import Codec
from events.headers import HEADER, Kind, RecordHeader
from events.ownership import PartitionClaimed, PartitionReleased
from events.recorded import EventId
from events.records import RawRecord, position_of, write_headers
from events.registry import type_of
from events.streams import room_of
from infra.adapters.kafka.origins import ORIGIN

BATCH_BYTES = 1_040_000
"""What a log must take as one batch for a copy: the largest commit there is, and its origin."""
_PORTION_BYTES = 500_000
_AROUND_BYTES = 600


class CannotGrow(Exception):
    """The topic cannot be grown as it is, or another growth is at work; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a copy needs of the world. `now_ms` counts from 1970; `draw` gives so many random bytes."""

    kafka: Log
    codec: Codec
    now_ms: Callable[[], int]
    draw: Callable[[int], bytes]

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        """Raises LogAway also where it is in doubt: whoever repeats the whole finds what arrived."""
        try:
            return await self.kafka.append(place, records)
        except AppendInDoubt as error:
            await self.kafka.sever(place)
            raise LogAway(f"nobody knows whether {len(records)} records reached {place}") from error

    def word(self, place: Place, kind: Kind, fence: Fence, fact: PartitionClaimed | PartitionReleased, at_ms: int) -> NewRecord:
        """A claim or a release."""
        commit_id = fence.claim_id if kind is Kind.CLAIM else self.draw(16)
        packed = RecordHeader(kind=kind, term=fence.term, claim_id=fence.claim_id, commit_id=commit_id).pack()
        headers = write_headers(room_of(place.topic), type_of(fact).ce_type, str(EventId(commit_id, 0)), packed)
        return NewRecord(b"", self.codec.encode(fact), at_ms, headers)


class Copy:
    """The copy on one partition. `copied` counts, by kind, what this run appended.

    It is compared with its original as far as it goes, so that what somebody else wrote there is not taken for a copy.
    """

    def __init__(self, place: Place, hands: Hands) -> None:
        self.place = place
        self.copied: Counter[str] = Counter()
        self._hands = hands
        self._fence = UNCLAIMED
        self._next = 0
        self._last_ms = 0
        self._there = 0
        self._there_digest = b""
        self._seen = 0
        self._original = hashlib.sha256()

    async def claim(self, first_ms: int) -> None:
        """Become the only one who writes here, and see how far the copy is. `first_ms`: when the first record was appended.

        Raises LogAway or CannotGrow.
        """
        fence, there, digest = UNCLAIMED, 0, hashlib.sha256()
        mine = UNCLAIMED
        stop, read = await self._hands.kafka.end_offset(self.place), 0
        self._last_ms = first_ms
        while mine == UNCLAIMED or read < stop:
            async for part in self._hands.kafka.read(self.place, read, stop):
                for raw in part:
                    fence, verdict = admit(fence, raw.header)
                    if verdict is Verdict.ADMITTED and is_copied(raw):
                        there += 1
                        digest.update(_told(raw))
                        self._last_ms = raw.timestamp_ms
            read = stop
            if mine == UNCLAIMED:
                mine = Fence(fence.term + 1, self._hands.draw(16))
                # Not the present time: what is copied behind it was appended long ago.
                word = self._hands.word(self.place, Kind.CLAIM, mine, PartitionClaimed(address="growing"), self._last_ms)
                stop = await self._hands.append(self.place, [word]) + 1
        if fence != mine:
            raise CannotGrow(f"{self.place} was claimed by another meanwhile; wait until that one has ended, and type it again")
        self._fence, self._next, self._there, self._there_digest = mine, stop, there, digest.digest()

    async def take(self, raws: Iterable[RawRecord]) -> None:
        """Append what is not there yet, of the next records of the original: whole commits. Raises LogAway or CannotGrow."""
        for portion in _portions(self._missing(raws)):
            await self._append([self._copied(raw) for raw in portion])
            self._last_ms = portion[-1].timestamp_ms
            self.copied.update(raw.header.kind.name.lower() for raw in portion if raw.header is not None)

    async def release(self) -> None:
        """Say that anyone may claim it. Raises CannotGrow where the copy holds more than the original."""
        if self._seen < self._there:
            raise CannotGrow(f"{self.place} holds {self._there} records, and only {self._seen} were to be copied: it is no copy")
        await self._append([self._hands.word(self.place, Kind.RELEASE, self._fence, PartitionReleased(successor=""), self._last_ms)])

    async def _append(self, records: Sequence[NewRecord]) -> None:
        base = await self._hands.append(self.place, records)
        if base != self._next:
            raise CannotGrow(f"somebody else wrote to {self.place}: offset {self._next} was expected, and {base} came; type it again")
        self._next = base + len(records)

    def _missing(self, raws: Iterable[RawRecord]) -> Iterator[RawRecord]:
        for raw in raws:
            self._seen += 1
            if self._seen <= self._there:
                self._original.update(_told(raw))
                if self._seen == self._there and self._original.digest() != self._there_digest:
                    raise CannotGrow(
                        f"{self.place} holds something else than a copy of {raw.topic}; take it away before you grow the topic"
                    )
            else:
                yield raw

    def _copied(self, raw: RawRecord) -> NewRecord:
        header = raw.header
        if header is None:
            raise ValueError(f"{raw.topic}/{raw.partition}/{raw.offset} was not admitted")
        packed = header._replace(term=self._fence.term, claim_id=self._fence.claim_id).pack()
        headers: list[Any] = write_headers(room_of(self.place.topic), raw.ce_type, str(EventId(header.commit_id, header.index)), packed)
        if header.index == 0:
            headers[-1:] = [(ORIGIN, str(position_of(raw, header)).encode()), (HEADER, packed)]
        return NewRecord(raw.key, raw.value, raw.timestamp_ms, headers)


def is_copied(raw: RawRecord) -> bool:
    """Whether an admitted record is a stream's: claims, releases and barriers belong to their partition."""
    return raw.header is not None and raw.header.kind in {Kind.EVENT, Kind.RECEIPT}


def _told(raw: RawRecord) -> bytes:
    """What a copy has in common with its original."""
    header = raw.header
    told = b"" if header is None else header._replace(term=0, claim_id=UNCLAIMED.claim_id).pack()
    return b"".join(len(part).to_bytes(4, "big") + part for part in (raw.key, raw.value, told, raw.timestamp_ms.to_bytes(8, "big")))


def _portions(raws: Iterable[RawRecord]) -> Iterator[Sequence[RawRecord]]:
    """Cut behind commits, so that each is whole in one batch."""
    portion: list[RawRecord] = []
    size = 0
    for raw in raws:
        if raw.header is not None and raw.header.index == 0 and size > _PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(raw)
        size += len(raw.key) + len(raw.value) + _AROUND_BYTES
    if portion:
        yield portion
