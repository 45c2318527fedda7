"""Several processes that follow one log: each does its part, and all of it is done when one of them goes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import asyncpg

from commands.ports import Place
from commands.routing.ports import Assignment
from events.flags import FlagSet
from events.streams import StreamId
from infra.adapters.kafka.membership import GroupAssignments
from infra.apps.alongside import alongside
from infra.apps.owning import Together
from infra.apps.read_side import Projecting, opened_read_models, running_projections
from infra.apps.sharing import share
from projections.flags import FLAGS
from tests.projections.log import TestLog, open_log

_PARTITIONS = 4
_SOON_SECONDS = 120.0


class Told:
    """`commands.routing.ports.Assignments` by a test's word."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[Collection[int]] = asyncio.Queue()

    async def changes(self) -> AsyncGenerator[Assignment, None]:
        generation = 0
        while True:
            numbers = await self.says.get()
            generation += 1
            yield Assignment(generation=generation, places=frozenset(Place("t", number) for number in numbers))


class TestShare:
    async def test_has_ended_the_work_on_the_old_places_when_that_on_the_new_begins(self) -> None:
        told, happened, begun = Told(), list[str](), asyncio.Queue[None]()

        async def work(places: frozenset[Place] | None) -> None:
            name = ",".join(str(place.partition) for place in sorted(places or ()))
            happened.append(f"begin {name}")
            begun.put_nowait(None)
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                happened.append(f"end {name}")

        async with alongside({"share": lambda: share(told, work)}):
            for numbers in ((0, 1), (1,)):
                told.says.put_nowait(numbers)
                await begun.get()
            # The same again is no change, so that the next is.
            told.says.put_nowait((1,))
            told.says.put_nowait(())
            await begun.get()
        assert happened == ["begin 0,1", "end 0,1", "begin 1", "end 1", "begin ", "end "]

    async def test_does_all_of_it_where_there_are_no_others(self) -> None:
        given = list[frozenset[Place] | None]()

        async def work(places: frozenset[Place] | None) -> None:
            given.append(places)

        await share(None, work)
        assert given == [None]


@asynccontextmanager
async def runners(log: TestLog, database: str, redis_url: str, prefix: str) -> AsyncIterator[Projecting]:
    """The projections of one process."""

    def shared(work: str, topics: Collection[str]) -> GroupAssignments:
        return GroupAssignments(log.kafka, f"{log.prefix}.{work}", topics, session_seconds=1.0)

    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(opened_read_models(log.reader, postgres=database, redis=redis_url, prefix=prefix))
        yield await stack.enter_async_context(running_projections(log.reader, models.stores, topic_of=log.topic_of, shared=shared))


async def _places(process: Projecting, count: int) -> int:
    """How many partitions of the projections a process does, once they are so many or fewer."""
    async with asyncio.timeout(_SOON_SECONDS):
        while len(process.places) > count or not process.places:
            await asyncio.sleep(0)
    return len(process.places)


class TestProjections:
    async def test_are_done_by_two_processes_and_by_the_one_that_is_left(
        self, kafka: str, database: str, redis_url: str, redis_prefix: str, unique: str
    ) -> None:
        streams = [StreamId("AYB-TEST-TEST-TEST", "flags", f"flag{number}") for number in range(40)]
        async with open_log(kafka, unique, partitions=_PARTITIONS) as log, AsyncExitStack() as outer:
            reading = await outer.enter_async_context(opened_read_models(log.reader, postgres=database, redis=redis_url))
            first = await outer.enter_async_context(runners(log, database, redis_url, redis_prefix))
            every = await _places(first, 1000)
            async with runners(log, database, redis_url, redis_prefix) as second:
                half = await _places(first, every // 2)
                assert half + await _places(second, every // 2) == every
                assert not first.places & second.places
                at = [(await log.append(each, FlagSet(enabled=True, variant="one"))).position for each in streams]
                assert await reading.rows.wait_for(at, _SOON_SECONDS)
            at = [(await log.append(each, FlagSet(enabled=True, variant="two"))).position for each in streams]
            assert await reading.rows.wait_for(at, _SOON_SECONDS)
            rows = await reading.rows.find(FLAGS, organisation="AYB-TEST-TEST-TEST", limit=100)
            assert sorted(row.id for row in rows) == sorted(each.id for each in streams)
            assert {(row.variant, row.version) for row in rows} == {("two", 2)}
        # Nobody took a partition from another: each was opened once for each time that it was given.
        connection = await asyncpg.connect(database)
        try:
            assert await connection.fetchval("SELECT max(epoch) FROM read_side.checkpoints") <= 3
        finally:
            await connection.close()


class TestGroupsTogether:
    async def test_assign_once_all_have_spoken_and_at_each_word_of_one(self) -> None:
        first, second = Told(), Told()
        async with aclosing(Together([first, second]).changes()) as changes:
            first.says.put_nowait((0,))
            second.says.put_nowait((1,))
            assert numbers(await anext(changes)) == (1, [0, 1])
            second.says.put_nowait((1, 2))
            assert numbers(await anext(changes)) == (2, [0, 1, 2])
            first.says.put_nowait(())
            assert numbers(await anext(changes)) == (3, [1, 2])


def numbers(assignment: Assignment) -> tuple[int, list[int]]:
    return assignment.generation, sorted(place.partition for place in assignment.places)
