"""Watchers of streams: told by the owner where it is this process, and else by a reading of the partition, one for all its watchers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import structlog

from commands.dispatch import Watcher
from commands.ports import HistoryLost, LogAway, Place
from commands.routing.ports import Tails
from events.admission import Fence
from events.codec import Codec
from events.headers import Kind
from events.recorded import Recorded
from events.records import AdmittedBatch, recorded
from events.registry import Fact
from events.streams import StreamId

log = structlog.get_logger()

_AGAIN_SECONDS = 0.5


class Beginning(NamedTuple):
    """From where a partition is read, and the first offset whose facts are told."""

    offset: int
    fence: Fence
    told_from: int


class Watching:
    """`owned_to` says up to where this process, as owner, has read and told of a partition; None where it does not own it.

    `begin` finds the present end of a partition that others own, or raises LogAway; what is confirmed until it is found is not told.
    While a partition is read, what its owner tells is passed over: the reading tells it, and ends when it has reached the owner. So
    nobody hears a fact twice, or too early, or not.
    """

    def __init__(
        self,
        codec: Codec,
        tails: Tails | None,
        *,
        begin: Callable[[Place], Awaitable[Beginning]],
        owned_to: Callable[[Place], int | None],
    ) -> None:
        self.begin = begin
        self.owned_to = owned_to
        self._codec = codec
        self._tails = tails
        self._watchers: dict[StreamId, list[Watcher]] = {}
        self._keys: dict[Place, dict[bytes, int]] = {}
        self._reading: dict[Place, asyncio.Task[None]] = {}
        self._told_to: dict[Place, int] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """From here on readings run, in this group."""
        self._tasks = tasks
        for place in self._keys:
            self._read(place, None)

    def close(self) -> None:
        """End all readings."""
        self._tasks = None
        for task in self._reading.values():
            task.cancel()

    def watch(self, stream: StreamId, place: Place, watcher: Watcher) -> Callable[[], None]:
        """As `commands.dispatch.Watch` says; `place` is the stream's."""
        key = stream.key
        watchers, keys = self._watchers.setdefault(stream, []), self._keys.setdefault(place, {})
        watchers.append(watcher)
        keys[key] = keys.get(key, 0) + 1
        self._read(place, None)
        ended = False

        def end() -> None:
            nonlocal ended
            if ended:
                return
            ended = True
            watchers.remove(watcher)
            keys[key] -= 1
            if keys[key] == 0:
                del keys[key], self._watchers[stream]
            if not keys and self._keys.get(place) is keys:
                del self._keys[place]
                if place in self._reading:
                    self._reading[place].cancel()

        return end

    def tell(self, facts: Sequence[Recorded[Fact]]) -> None:
        """What the owner in this process has confirmed, in order."""
        if not self._watchers or not facts:
            return
        place = Place(*facts[0].position[:2])
        if place not in self._reading:
            self._tell(place, facts)

    def lost(self, place: Place, reached: tuple[int, Fence]) -> None:
        """The owner in this process has told everything before a position, and tells nothing after it."""
        if place in self._keys:
            self._read(place, reached)

    def _tell(self, place: Place, facts: Sequence[Recorded[Fact]]) -> None:
        told_to = self._told_to.get(place, 0)
        for fact in facts:
            # The reading may have been ahead of the owner, whose acknowledgement was still on its way.
            if fact.position.offset < told_to:
                continue
            for watcher in tuple(self._watchers.get(fact.stream, ())):
                watcher(fact)
        self._told_to[place] = max(told_to, facts[-1].position.offset + 1)

    def _read(self, place: Place, reached: tuple[int, Fence] | None) -> None:
        """Begin the reading of a partition that we do not own and that is not read yet."""
        if self._tails is None or self._tasks is None or place in self._reading or self.owned_to(place) is not None:
            return
        task = self._reading[place] = self._tasks.create_task(self._follow(self._tails, place, reached), name=f"follow {place}")
        task.add_done_callback(lambda ended: self._ended(place, ended))

    def _ended(self, place: Place, task: asyncio.Task[None]) -> None:
        # Once closed, the owner does not tell in its place: what lies between the two would be missed.
        if self._tasks is not None and self._reading.get(place) is task:
            del self._reading[place]
        if task.cancelled() and place in self._keys:
            # Somebody began to watch while the last reading was being ended.
            self._read(place, None)

    async def _follow(self, tails: Tails, place: Place, reached: tuple[int, Fence] | None) -> None:
        beginning = None if reached is None else Beginning(*reached, reached[0])
        offset, fence, told_from = beginning or (0, Fence(), 0)
        while True:
            try:
                if beginning is None:
                    offset, fence, told_from = beginning = await self.begin(place)
                async with aclosing(tails.follow(place, (offset, fence))) as batches:
                    async for batch in batches:
                        self._take(place, batch, told_from)
                        offset, fence = batch.next_offset, batch.fence
                        owned_to = self.owned_to(place)
                        if owned_to is not None and offset >= owned_to:
                            # In the same turn of the loop: from here on the owner tells.
                            del self._reading[place]
                            return
            except LogAway as error:
                log.warning("watch-away", topic=place.topic, partition=place.partition, reason=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
            except HistoryLost:
                log.exception("watch-ended", topic=place.topic, partition=place.partition)
                return

    def _take(self, place: Place, batch: AdmittedBatch, told_from: int) -> None:
        keys = self._keys.get(place, {})
        for raw in batch.records:
            if raw.key in keys and raw.offset >= told_from and raw.header is not None and raw.header.kind is Kind.EVENT:
                self._tell(place, (recorded(raw, self._codec),))
