"""What one owner does on the log: claim, commit a group, read what others wrote, release. Each settles what it left in doubt."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import structlog

from commands.dispatch import Committed, LogUnavailable
from commands.ownership.groups import Answer, Submission
from commands.ownership.owner import Owner
from commands.ports import AppendInDoubt, Claim, Histories, Log, LogAway, Place, SchemaRegister, Snapshots
from events.admission import Fence
from events.codec import BrokenBody, UnknownSchema, mark_of
from events.headers import Kind
from events.ownership import PartitionClaimed, PartitionReleased
from events.recorded import Recorded
from events.records import RawRecord
from events.registry import Fact, UnknownEvent, type_of

log = structlog.get_logger()

_OWNERSHIP = (type_of(PartitionClaimed(address="")), type_of(PartitionReleased(successor="")))
_WORDS = frozenset({Kind.CLAIM, Kind.RELEASE})
Tell = Callable[[Sequence[Recorded[Fact]]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the loop is given of the world. `now_ms` counts from 1970; `draw` gives so many random bytes."""

    log: Log
    schemas: SchemaRegister
    now_ms: Callable[[], int]
    draw: Callable[[int], bytes]
    histories: Histories | None = None
    """The journal: whoever has one reads a partition from where the journal stands, and streams as they are needed."""
    snapshots: Snapshots | None = None


class Superseded(LogUnavailable):
    """Another process claimed the partition, so nothing of the command counts. It can be sent there, or again."""

    def __init__(self, retry_after_ms: int = 500) -> None:
        super().__init__("another owner has claimed the partition; try again", retry_after_ms)


class Witness(Protocol):
    """Who is told how a partition changes hands, as it is read on the log. Its methods return at once and do not raise."""

    def heard(self, place: Place, claim: Claim) -> None:
        """A valid claim was read, or a release: `address` is then the successor's, empty for anyone."""

    def owned(self, place: Place, claim: Claim) -> None:
        """Our claim was read back: the partition is ours from here on."""

    def lost(self, place: Place) -> None:
        """The partition is no longer ours."""


class Claimed(Enum):
    """What became of an attempt to claim."""

    OURS = "ours"
    LOST = "lost"
    """Another claim came first, or after."""
    HELD = "held"
    """Somebody had claimed it meanwhile, so that we did not."""


class Ticket:
    """Whom to answer, and until when (loop time)."""

    __slots__ = ("answer", "deadline")

    def __init__(self, answer: asyncio.Future[Committed], deadline: float) -> None:
        self.answer = answer
        self.deadline = deadline


class Appending:
    """One owner and the log. `away_ms` is what callers are told to wait when the log took nothing.

    `holder` is the last valid claim that was read; None before the first.
    """

    def __init__(self, owner: Owner, world: World, tell: Tell, away_ms: int, *, address: str = "", witness: Witness | None = None) -> None:
        self.owner = owner
        self.holder: Claim | None = None
        self._address = address
        self._witness = witness
        self._world = world
        self._tell = tell
        self._away_ms = away_ms

    async def claim(self, waiting: deque[Submission], beyond: int | None = None) -> Claimed:
        """Claim the partition. What was in doubt is settled: answered, or put back before what waits.

        `beyond`: the term of the claim that is to be superseded; another process's later one is left in peace.
        Raises LogAway, HistoryLost or CannotOwn.
        """
        owner, world = self.owner, self._world
        await self.read(await world.log.end_offset(owner.place))
        if beyond is not None and self._held_beyond(beyond):
            self._resolve(waiting)
            return Claimed.HELD
        await world.schemas.register(_OWNERSHIP)
        try:
            offset = await world.log.append(owner.place, [owner.claim(world.draw(16), world.now_ms())])
        except AppendInDoubt as error:
            await world.log.sever(owner.place)
            raise LogAway(f"nobody knows whether our claim is on {owner.place}; another one follows") from error
        if offset < 0:
            raise LogAway(f"nobody knows where our claim lies on {owner.place}; another one follows")
        await self.read(offset)
        owned = owner.settle(offset)
        self._resolve(waiting)
        log.debug("partition-claimed", topic=owner.place.topic, partition=owner.place.partition, term=owner.fence.term, owned=owned)
        if not owned:
            return Claimed.LOST
        self.holder = Claim(*owner.fence, self._address, offset)
        if self._witness is not None:
            self._witness.owned(owner.place, self.holder)
        return Claimed.OURS

    async def commit(self, waiting: deque[Submission]) -> None:
        """Append one group of what waits and answer it. Raises LogAway, HistoryLost or CannotOwn."""
        owner, world = self.owner, self._world
        group = owner.group(waiting, world.now_ms())
        answer_all(group.answers)
        if not group.records:
            return
        try:
            await world.schemas.register(group.kinds)
            base = await world.log.append(owner.place, group.records)
        except LogAway as error:
            answer_all(owner.abandon(str(error), self._away_ms))
            raise
        except AppendInDoubt as error:
            log.warning("commit-in-doubt", topic=owner.place.topic, partition=owner.place.partition, reason=str(error))
            await world.log.sever(owner.place)
            base = -1
        if base < 0:
            owner.doubt()
            return
        if base > owner.next_offset:
            try:
                await self.read(base)
            except LogAway:
                owner.doubt()
                raise
        answers, facts = owner.confirm(base)
        self._tell(facts)
        answer_all(answers if owner.owns else [Answer(submission, Superseded()) for submission, _ in answers])

    async def read(self, stop: int) -> None:
        """Fold what lies on the log up to `stop`. Raises LogAway, HistoryLost or CannotOwn."""
        owner, codec = self.owner, self.owner.streams.codec
        if stop <= owner.next_offset:
            return
        async for records in self._world.log.read(owner.place, owner.next_offset, stop):
            # A stranger's record may name a schema that nobody ever writes.
            admitted = owner.admissible(records)
            marks = {mark_of(raw.value) for raw in admitted if raw.header is not None and raw.header.kind is Kind.EVENT}
            unknown = [mark for mark in marks if mark is not None and not codec.knows(mark)]
            if unknown:
                await self._world.schemas.learn(unknown)
            if records:
                self._tell(owner.judge(records, records[-1].offset + 1))
                self._note(records)
        self._tell(owner.judge((), stop))

    async def release(self, successor: str = "") -> Claim:
        """Say on the log that the owner writes no more, and who may go on; whether that was heard changes nothing."""
        owner, world = self.owner, self._world
        released = Claim(*owner.fence, successor, owner.next_offset if self.holder is None else self.holder.offset)
        try:
            await world.log.append(owner.place, [owner.release(successor, world.now_ms())])
        except (LogAway, AppendInDoubt) as error:
            log.warning("release-not-written", topic=owner.place.topic, partition=owner.place.partition, reason=str(error))
        return released

    def _held_beyond(self, term: int) -> bool:
        """Whether another process holds a claim that is newer than this."""
        holder = self.holder
        return holder is not None and holder.term > term and holder.address not in {"", self._address}

    def _resolve(self, waiting: deque[Submission]) -> None:
        answers, certainly_absent = self.owner.resolve()
        answer_all(answers)
        waiting.extendleft(reversed(certainly_absent))

    def _note(self, records: Sequence[RawRecord]) -> None:
        """Remember the last valid claim's holder, or whom it named when it released the partition."""
        for raw in reversed(records):
            header = raw.header
            if header is None or header.kind not in _WORDS or Fence(header.term, header.claim_id) != self.owner.fence:
                continue
            try:
                word = self.owner.streams.codec.decode(raw.value)
            except (BrokenBody, UnknownEvent, UnknownSchema):
                # A newer program's word: it may be asked nothing, so it counts as unknown.
                word = None
            address = getattr(word, "address" if header.kind is Kind.CLAIM else "successor", "")
            # A release says who comes next; the claim lies where it lay.
            before = self.holder if self.holder is not None and self.holder.claim_id == header.claim_id else None
            self.holder = Claim(header.term, header.claim_id, address, raw.offset if before is None else before.offset)
            if self._witness is not None:
                self._witness.heard(self.owner.place, self.holder)
            return


def answer_all(answers: Iterable[Answer]) -> None:
    """Tell each bearer once; who gave up is passed over."""
    for submission, outcome in answers:
        waiting: asyncio.Future[Committed] = submission.ticket.answer
        if waiting.done():
            continue
        if isinstance(outcome, Committed):
            waiting.set_result(outcome)
        else:
            waiting.set_exception(outcome)
