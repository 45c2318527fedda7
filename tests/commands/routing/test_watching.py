"""Watchers hear of every fact once and in order, whoever owns the partition meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from commands.ports import LogAway, Place
from commands.routing.watching import Beginning, Watching
from events.admission import UNCLAIMED, Fence
from events.recorded import Recorded
from events.records import AdmittedBatch, RawRecord, recorded
from events.registry import Fact
from tests.commands.ownership.desk import CODEC, OFF, ON, PLACE, Desk, stream
from tests.paper_log import PaperLog


class PaperTails:
    """`commands.routing.ports.Tails` of one partition: hands out what a test lets through."""

    def __init__(self, records: list[RawRecord]) -> None:
        self.begun: list[int] = []
        self.away = 0
        self._records = records
        self._let: asyncio.Queue[int] = asyncio.Queue()

    def reach(self, offset: int) -> None:
        """Let the readings read up to an offset."""
        self._let.put_nowait(offset)

    async def follow(self, place: Place, start: tuple[int, Fence]) -> AsyncGenerator[AdmittedBatch, None]:
        offset, fence = start
        self.begun.append(offset)
        if self.away:
            self.away -= 1
            raise LogAway("paper is away")
        while True:
            reached = await self._let.get()
            yield AdmittedBatch(*place, [raw for raw in self._records if offset <= raw.offset < reached], reached, fence)
            offset = max(offset, reached)


class Scene:
    """Ten facts of one stream on a partition, from offset 1 on; `owned_to` is what a test says."""

    def __init__(self) -> None:
        desk = Desk(PaperLog(PLACE))
        desk.claim()
        for number in range(10):
            desk.ask(f"c{number}", (ON, OFF)[number % 2])
            desk.work()
        self.records = desk.log.admitted()
        self.facts = [recorded(raw, CODEC) for raw in self.records]
        self.tails = PaperTails(self.records)
        self.owned_to: int | None = None
        self.end = 4
        self.told: list[Recorded[Fact]] = []
        self.watching = Watching(CODEC, self.tails, begin=self._begin, owned_to=lambda _: self.owned_to)

    async def _begin(self, _: Place) -> Beginning:
        return Beginning(0, UNCLAIMED, self.end)

    def versions(self) -> list[int]:
        return [fact.version for fact in self.told]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    here = Scene()
    async with asyncio.TaskGroup() as tasks:
        here.watching.open(tasks)
        yield here
        here.watching.close()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class TestWatch:
    async def test_of_another_processs_partition_begins_at_its_end(self, scene: Scene) -> None:
        scene.watching.watch(stream(), PLACE, scene.told.append)
        scene.watching.watch(stream("another"), PLACE, scene.told.append)
        scene.tails.reach(7)
        await turns()
        assert scene.versions() == [4, 5, 6]
        assert scene.tails.begun == [0]

    async def test_of_an_own_partition_is_told_by_its_owner(self, scene: Scene) -> None:
        scene.owned_to = 11
        end = scene.watching.watch(stream(), PLACE, scene.told.append)
        scene.watching.tell(scene.facts[:3])
        end()
        end()
        scene.watching.tell(scene.facts[3:])
        assert scene.versions() == [1, 2, 3]
        assert scene.tails.begun == []

    async def test_goes_on_where_the_owner_lost_it(self, scene: Scene) -> None:
        scene.owned_to = 4
        scene.watching.watch(stream(), PLACE, scene.told.append)
        scene.watching.tell(scene.facts[:3])
        scene.owned_to = None
        scene.watching.lost(PLACE, (4, Fence(1, b"x" * 16)))
        scene.tails.reach(11)
        await turns()
        assert scene.versions() == list(range(1, 11))
        assert scene.tails.begun == [4]

    async def test_is_told_by_the_reading_until_that_has_reached_the_owner(self, scene: Scene) -> None:
        scene.watching.watch(stream(), PLACE, scene.told.append)
        scene.tails.reach(6)
        await turns()
        # We claim: the owner has read on from further ahead, and tells of it; the reading is not there yet.
        scene.owned_to = 9
        scene.watching.tell(scene.facts[6:8])
        assert scene.versions() == [4, 5]
        scene.tails.reach(9)
        await turns()
        assert scene.versions() == [4, 5, 6, 7, 8]
        scene.owned_to = 11
        scene.watching.tell(scene.facts[8:])
        assert scene.versions() == list(range(4, 11))

    async def test_survives_a_log_that_is_away(self, scene: Scene) -> None:
        scene.tails.away = 1
        scene.watching.watch(stream(), PLACE, scene.told.append)
        scene.tails.reach(6)
        async with asyncio.timeout(120):
            while scene.versions() != [4, 5]:
                await asyncio.sleep(0.01)
        assert scene.tails.begun == [0, 0]

    async def test_that_ends_ends_the_reading_and_another_begins_one(self, scene: Scene) -> None:
        end = scene.watching.watch(stream(), PLACE, scene.told.append)
        await turns()
        end()
        scene.end = 8
        scene.watching.watch(stream(), PLACE, scene.told.append)
        await turns()
        scene.tails.reach(11)
        await turns()
        assert scene.versions() == [8, 9, 10]
