"""Dispatch and Watch within one process, which owns every partition of the topics it is given."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import structlog

from commands.decider import Decider
from commands.dispatch import Committed, Order, Watcher
from commands.ownership.appending import Ticket, World
from commands.ownership.groups import DEFAULT_LIMITS, Limits, Submission
from commands.ownership.owner import Owner
from commands.ownership.partition import OwnedPartition, Patience
from commands.ownership.streams import Streams
from commands.ports import Place
from events.admission import Verdict
from events.codec import Codec
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId, partition_of

log = structlog.get_logger()

_SWEEP_SECONDS = 0.1


class UnknownCategory(LookupError):
    """No decider is registered for this kind of stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """One partition as its owner sees it now. `counts` says what was dropped on the way, and why."""

    place: Place
    owned: bool
    term: int
    next_offset: int
    streams: int
    superseded_at: int | None
    counts: Mapping[Verdict, int]


class LocalOwners:
    """`commands.dispatch.Dispatch` (call it) and `Watch` (`watch`). An async context manager: it claims everything, and releases it.

    `topics` are the rooms' topics with their partition counts, by room. All its methods belong to one event loop.
    """

    def __init__(
        self,
        topics: Mapping[str, tuple[str, int]],
        deciders: Mapping[str, Decider[Any, Any, Any]],
        codec: Codec,
        world: World,
        *,
        address: str,
        patience: Patience | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._deciders = deciders
        self._patience = patience or Patience()
        self._watchers: dict[StreamId, list[Watcher]] = {}
        self._tasks = asyncio.TaskGroup()
        self._sweeping: asyncio.Task[None] | None = None
        self._by_room = {
            room: [
                OwnedPartition(Owner(Place(topic, number), Streams(deciders, codec), address, limits), world, self._patience, self._tell)
                for number in range(count)
            ]
            for room, (topic, count) in topics.items()
        }

    async def __aenter__(self) -> Self:
        """Returns when every partition was claimed. Raises CannotOwn or HistoryLost for one that must not be."""
        await self._tasks.__aenter__()
        self._sweeping = self._tasks.create_task(self._sweep(), name="sweep commands that waited too long")
        for partition in self._partitions():
            partition.assign()
            self._tasks.create_task(partition.run(), name=f"own {partition.owner.place}")
        try:
            for partition in self._partitions():
                await partition.started
        except BaseException as error:
            await self._leave(error)
            raise
        log.info("partitions-claimed", count=len(self._partitions()))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        for partition in self._partitions():
            partition.stop()
        if self._sweeping is not None:
            self._sweeping.cancel()
        # Our caller's own error passes by as it is; a cancellation may be the group's, which knows its cause.
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        await self._tasks.__aexit__(None if cancelled is None else type(cancelled), cancelled, None)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        """As `commands.dispatch.Dispatch` says. Raises UnknownCategory for a stream that nobody decides about."""
        if stream.category != decider.category or self._deciders.get(decider.category) is not decider:
            raise UnknownCategory(f"{stream} is no stream of a registered decider")
        loop = asyncio.get_running_loop()
        ticket = Ticket(loop.create_future(), loop.time() + self._patience.answer_seconds)
        partitions = self._by_room[decider.room]
        submission = Submission(decider, stream, command, order, expected_version, ticket)
        partition = partitions[_partition_of(submission.key, len(partitions))]
        if not partition.takes:
            partition.need(partition.owner.fence.term)
        partition.submit(submission)
        return await ticket.answer

    def watch(self, stream: StreamId, watcher: Watcher) -> Callable[[], None]:
        """As `commands.dispatch.Watch` says."""
        watchers = self._watchers.setdefault(stream, [])
        watchers.append(watcher)

        def end() -> None:
            if watcher in watchers:
                watchers.remove(watcher)
            if not watchers and self._watchers.get(stream) is watchers:
                del self._watchers[stream]

        return end

    def ownerships(self) -> Sequence[Ownership]:
        """How every partition stands, for people and metrics."""
        return [
            Ownership(
                place=owner.place,
                owned=owner.owns,
                term=owner.fence.term,
                next_offset=owner.next_offset,
                streams=len(owner.streams),
                superseded_at=owner.superseded_at,
                counts=Counter(owner.counts),
            )
            for owner in (partition.owner for partition in self._partitions())
        ]

    def _partitions(self) -> list[OwnedPartition]:
        return [partition for partitions in self._by_room.values() for partition in partitions]

    def _tell(self, facts: Sequence[Recorded[Fact]]) -> None:
        if not self._watchers:
            return
        for fact in facts:
            for watcher in tuple(self._watchers.get(fact.stream, ())):
                watcher(fact)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for partition in self._partitions():
                partition.sweep(loop.time())


@lru_cache(maxsize=1 << 16)
def _partition_of(key: bytes, partitions: int) -> int:
    return partition_of(key, partitions)
