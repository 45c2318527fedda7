"""What one owner does on the log: claim, commit a group, read what others wrote, release. Each settles what it left in doubt."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from commands.dispatch import Committed
from commands.ownership.groups import Answer, Submission
from commands.ownership.owner import Owner
from commands.ports import AppendInDoubt, Log, LogAway, SchemaRegister
from events.codec import mark_of
from events.headers import Kind
from events.ownership import PartitionClaimed, PartitionReleased
from events.recorded import Recorded
from events.registry import Fact, type_of

log = structlog.get_logger()

_OWNERSHIP = (type_of(PartitionClaimed(address="")), type_of(PartitionReleased(successor="")))
Tell = Callable[[Sequence[Recorded[Fact]]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the loop is given of the world. `now_ms` counts from 1970; `draw` gives so many random bytes."""

    log: Log
    schemas: SchemaRegister
    now_ms: Callable[[], int]
    draw: Callable[[int], bytes]


class Ticket:
    """Whom to answer, and until when (loop time)."""

    __slots__ = ("answer", "deadline")

    def __init__(self, answer: asyncio.Future[Committed], deadline: float) -> None:
        self.answer = answer
        self.deadline = deadline


class Appending:
    """One owner and the log. `away_ms` is what callers are told to wait when the log took nothing."""

    def __init__(self, owner: Owner, world: World, tell: Tell, away_ms: int) -> None:
        self.owner = owner
        self._world = world
        self._tell = tell
        self._away_ms = away_ms

    async def claim(self, waiting: deque[Submission]) -> bool:
        """Whether the partition is ours from here on. What was in doubt is settled: answered, or put back before what waits.

        Raises LogAway, HistoryLost or CannotOwn.
        """
        owner, world = self.owner, self._world
        await self.read(await world.log.end_offset(owner.place))
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
        answers, certainly_absent = owner.resolve()
        answer_all(answers)
        waiting.extendleft(reversed(certainly_absent))
        log.debug("partition-claimed", topic=owner.place.topic, partition=owner.place.partition, term=owner.fence.term, owned=owned)
        return owned

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
        answer_all(answers)

    async def read(self, stop: int) -> None:
        """Fold what lies on the log up to `stop`. Raises LogAway, HistoryLost or CannotOwn."""
        owner, codec = self.owner, self.owner.streams.codec
        if stop <= owner.next_offset:
            return
        async for records in self._world.log.read(owner.place, owner.next_offset, stop):
            marks = {mark_of(raw.value) for raw in records if raw.header is not None and raw.header.kind is Kind.EVENT}
            unknown = [mark for mark in marks if mark is not None and not codec.knows(mark)]
            if unknown:
                await self._world.schemas.learn(unknown)
            if records:
                self._tell(owner.judge(records, records[-1].offset + 1))
        self._tell(owner.judge((), stop))

    async def release(self) -> None:
        """Say on the log that the owner writes no more; whether that was heard changes nothing."""
        owner, world = self.owner, self._world
        try:
            await world.log.append(owner.place, [owner.release("", world.now_ms())])
        except (LogAway, AppendInDoubt) as error:
            log.warning("release-not-written", topic=owner.place.topic, partition=owner.place.partition, reason=str(error))


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
