"""Eight write at once and one reads along: what was acknowledged is read, all of it, once, in the order of its stream."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing

import asyncpg

from events.flags import FlagSet
from events.headers import Kind
from events.positions import Position
from events.records import recorded
from events.streams import StreamId
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.store import PostgresStore
from projections.journal import JOURNAL
from projections.runner import Runner
from tests.projections.log import PARTITIONS, TestLog, open_log
from tests.projections.told import AYB

WRITERS, COMMITS = 8, 40
_SECONDS = 120.0


async def write(log: TestLog, writer: int) -> list[Position]:
    """Commits of one, two or three facts, each after the one before it was acknowledged."""
    stream = StreamId(AYB, "flags", f"writer-{writer}")
    positions: list[Position] = []
    for number in range(COMMITS):
        facts = [FlagSet(enabled=True, variant=f"v{number}-{index}") for index in range(1 + number % 3)]
        positions += [fact.position for fact in (await log.append(stream, *facts)).facts]
    return positions


async def all_write(log: TestLog) -> list[Position]:
    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(write(log, writer)) for writer in range(WRITERS)]
    return [position for writer in writers for position in writer.result()]


async def read_along(log: TestLog, tail: Callable[[TestLog], AsyncGenerator[Position, None]]) -> tuple[list[Position], list[Position]]:
    """What was acknowledged, and what a reader saw that began first and stops behind the last of it."""
    seen: list[Position] = []
    moved = asyncio.Event()

    async def reads() -> None:
        async with aclosing(tail(log)) as positions:
            async for position in positions:
                seen.append(position)
                moved.set()

    async with asyncio.timeout(_SECONDS), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(reads())
        written = await all_write(log)
        last = {position.partition: position for position in sorted(written)}
        while not set(last.values()) <= set(seen):
            moved.clear()
            await moved.wait()
        reading.cancel()
    return written, seen


def skipped(written: Iterable[object], seen: Collection[object]) -> set[object]:
    return set(written) - set(seen)


async def by_the_sdk(log: TestLog) -> AsyncGenerator[Position, None]:
    async with aclosing(log.reader.batches([log.topic_of("flags")], {})) as batches:
        async for batch in batches:
            for raw in batch.records:
                if raw.kind is Kind.EVENT:
                    yield recorded(raw, log.codec).position


def of_the_journal(pool: Pool) -> Callable[[TestLog], AsyncGenerator[Position, None]]:
    async def tail(log: TestLog) -> AsyncGenerator[Position, None]:
        journal, topic = PostgresJournal(pool, log.codec), log.topic_of("flags")
        reached = dict.fromkeys(range(PARTITIONS), -1)
        while True:
            for partition, offset in reached.items():
                for fact in await journal.events_after(topic, partition, offset):
                    reached[partition] = fact.position.offset
                    yield fact.position

    return tail


class TestATailingReader:
    async def test_of_the_log_skips_nothing(self, kafka: str, unique: str) -> None:
        async with open_log(kafka, unique) as log:
            written, seen = await read_along(log, by_the_sdk)
        assert len(written) >= WRITERS * COMMITS
        assert skipped(written, seen) == set()
        assert len(seen) == len(set(seen))
        assert_in_order(seen)

    async def test_of_the_journal_skips_nothing(self, kafka: str, database: str, unique: str) -> None:
        async with open_log(kafka, unique) as log, connected(database, purpose="test", durable=False) as pool:
            runner = Runner(log.reader, PostgresStore(pool), [JOURNAL], topic_of=log.topic_of, journal_rooms=["flags"])
            await runner.run(stop_at_end=True)
            running = asyncio.create_task(runner.run())
            try:
                written, seen = await read_along(log, of_the_journal(pool))
            finally:
                running.cancel()
                await asyncio.wait([running])
        assert skipped(written, seen) == set()
        assert len(seen) == len(set(seen))
        assert_in_order(seen)


def assert_in_order(seen: Sequence[Position]) -> None:
    for partition in range(PARTITIONS):
        offsets = [position.offset for position in seen if position.partition == partition]
        assert offsets == sorted(offsets)


class TestTheCheck:
    async def test_finds_what_a_table_hides_that_numbers_before_it_commits(self, database: str) -> None:
        """As an event store on a database does that takes its numbers from a sequence: who commits late is behind the reader."""
        reader = await asyncpg.connect(database)
        writers = [await asyncpg.connect(database) for _ in range(WRITERS)]
        try:
            await reader.execute("CREATE TABLE events (id bigserial PRIMARY KEY, writer integer)")
            written, seen, last = [], [], 0
            under_way = []
            for number, writer in enumerate(writers):
                transaction = writer.transaction()
                await transaction.start()
                written.append(await writer.fetchval("INSERT INTO events (writer) VALUES ($1) RETURNING id", number))
                under_way.append(transaction)
            for transaction in reversed(under_way):
                await transaction.commit()
                found = [record["id"] for record in await reader.fetch("SELECT id FROM events WHERE id > $1 ORDER BY id", last)]
                seen += found
                last = max([last, *found])
            assert len(await reader.fetch("SELECT id FROM events")) == WRITERS
            assert len(skipped(written, seen)) == WRITERS - 1
        finally:
            for connection in (reader, *writers):
                await connection.close()
