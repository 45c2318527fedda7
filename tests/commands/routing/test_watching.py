"""Who watches a stream hears each of its facts once, whoever tells: the owner in this process, or a reading of the partition."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from commands.routing.watching import Beginning, Watching
from events.admission import UNCLAIMED, Fence
from events.recorded import Recorded
from events.records import AdmittedBatch, recorded
from events.registry import Fact
from tests.commands.ownership.desk import CODEC, OFF, ON, PLACE, Desk, stream
from tests.paper_log import PaperLog


class Reading:
    """`Tails` that hand out what they are given, when they are given it."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[AdmittedBatch] = asyncio.Queue()

    async def follow(self, place: object, start: tuple[int, Fence]) -> AsyncGenerator[AdmittedBatch, None]:
        while True:
            yield await self.batches.get()


class Watcher:
    """A desk's partition, watched. `owned_to`: up to where the owner beside it has read; None while it does not own."""

    def __init__(self) -> None:
        self.log = PaperLog(PLACE)
        desk = Desk(self.log)
        desk.claim()
        desk.ask("first", ON)
        desk.work()
        desk.ask("second", OFF)
        desk.work()
        self.reading = Reading()
        self.owned_to: int | None = None
        self.heard: list[int] = []
        self.watching = Watching(CODEC, self.reading, begin=self._begin, owned_to=lambda _: self.owned_to)

    def facts(self, *offsets: int) -> list[Recorded[Fact]]:
        return [recorded(self.log.records[offset], CODEC) for offset in offsets]

    async def read(self, start: int, stop: int) -> None:
        """The reading hands these out, and they are dealt with."""
        self.reading.batches.put_nowait(AdmittedBatch(*PLACE, self.log.admitted()[start - 1 : stop - 1], stop, UNCLAIMED))
        for _ in range(5):
            await asyncio.sleep(0)

    async def _begin(self, place: object) -> Beginning:
        return Beginning(0, UNCLAIMED, 0)


@asynccontextmanager
async def watched() -> AsyncIterator[Watcher]:
    watcher = Watcher()
    async with asyncio.TaskGroup() as tasks:
        watcher.watching.open(tasks)
        watcher.watching.watch(stream(), PLACE, lambda fact: watcher.heard.append(fact.position.offset))
        yield watcher
        watcher.watching.close()


class TestWatching:
    async def test_does_not_tell_again_what_the_reading_told_before_the_owner_heard_of_it(self) -> None:
        async with watched() as watcher:
            # It is claimed here meanwhile, and a batch of ours has landed whose acknowledgement is on its way.
            watcher.owned_to = 2
            await watcher.read(1, 3)
            watcher.watching.tell(watcher.facts(2))
            assert watcher.heard == [1, 2]

    async def test_nor_once_the_owner_has_lost_the_partition(self) -> None:
        async with watched() as watcher:
            watcher.owned_to = 2
            await watcher.read(1, 3)
            watcher.owned_to = None
            watcher.watching.lost(PLACE, (2, UNCLAIMED))
            await watcher.read(2, 3)
            assert watcher.heard == [1, 2]

    async def test_leaves_it_to_the_owner_once_it_has_reached_it(self) -> None:
        async with watched() as watcher:
            watcher.owned_to = 2
            await watcher.read(1, 2)
            watcher.watching.tell(watcher.facts(2))
            assert watcher.heard == [1, 2]
