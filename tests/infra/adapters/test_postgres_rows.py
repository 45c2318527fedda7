"""What readers are answered from the database."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import asyncpg
import pytest

from events.flags import FlagRemoved, FlagSet
from events.positions import Position, Reach
from events.registry import Fact, type_of
from events.rooms import ROOMS
from events.streams import StreamId, topic_of
from infra.adapters.postgres.connections import PostgresUnreachable, connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import following
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.store import PostgresStore
from projections.calls import CALL_TIMELINE, CALLS, CallStatus
from projections.flags import FLAGS
from projections.queries import InvalidCursor, RowsUnavailable, Seen, cursor_of, seen
from projections.registry import STORED
from projections.runner import Runner
from tests.projections.facts import CALL, NUMBER_REF, received, whole_call
from tests.projections.paper import FENCE, PaperReader
from tests.projections.told import AYB

ON, OFF = FlagSet(enabled=True, variant="v"), FlagSet(enabled=False, variant="v")
OTHER = "AYB-2"
T = TypeVar("T")


def flag(name: str, tenant: str = AYB) -> StreamId:
    return StreamId(tenant, "flags", name)


class Desk:
    """A reader of rows beside the runner that writes them."""

    def __init__(self, rows: PostgresRows, journal: PostgresJournal, log: PaperReader, store: PostgresStore) -> None:
        self.rows, self.journal, self.log = rows, journal, log
        self._store = store

    async def know(self, stream: StreamId, *facts: Fact) -> Position:
        """Append and project; returns the last fact's position."""
        raw = self.log.append(stream, *facts)
        await Runner(self.log, self._store, STORED, journal_rooms=ROOMS).run(stop_at_end=True)
        return Position(raw.topic, raw.partition, raw.offset, FENCE)

    async def flags(self, **asked: object) -> list[str]:
        return [row.id for row in await self.rows.find(FLAGS, **({"organisation": AYB} | asked))]  # type: ignore[arg-type]


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    async with connected(database, purpose="test", durable=False) as pool, following(pool, STORED) as progress:
        log = PaperReader()
        yield Desk(PostgresRows(pool, STORED, progress), PostgresJournal(pool, log.codec), log, PostgresStore(pool))


class TestNames:
    async def test_that_others_have_for_a_call_lead_to_it_by_an_index_which_an_older_table_is_given(self, database: str) -> None:
        log = PaperReader()
        log.append(CALL, *whole_call())
        asked: list[tuple[str, tuple[object, ...]]] = []
        async with connected(database, purpose="test", durable=False) as pool, following(pool, STORED) as progress:

            class Heard:
                async def fetch(self, query: str, *values: object) -> object:
                    asked.append((query, values))
                    return await pool.fetch(query, *values)

            rows = PostgresRows(pool, STORED, progress, Heard())  # type: ignore[arg-type]
            for name in ("call_sid", "stream_sid"):
                await Runner(log, PostgresStore(pool), STORED, journal_rooms=ROOMS).run(stop_at_end=True)
                (call,) = await rows.find(CALLS, organisation=AYB)
                sid = getattr(call, name)
                assert [each.id for each in await rows.find(CALLS, organisation=AYB, where={name: sid})] == [CALL.id]
                assert not await rows.find(CALLS, organisation=OTHER, where={name: sid})
                assert not await rows.find(CALLS, organisation=AYB, where={name: None})
                query, values = asked[-3]
                for there in (True, False):
                    async with pool.acquire() as connection, connection.transaction():
                        # One row is quicker read than looked up.
                        await connection.execute("SET LOCAL enable_seqscan = off")
                        plan = await connection.fetch(f"EXPLAIN {query}", *values)
                        assert (f"calls_by_{name}" in " ".join(line[0] for line in plan)) is there
                    await pool.execute(f"DROP INDEX p_calls_v3.calls_by_{name}" if there else "SELECT 1")
                await Runner(log, PostgresStore(pool), STORED, journal_rooms=ROOMS).run(stop_at_end=True)
                assert await pool.fetchval("SELECT to_regclass($1)", f"p_calls_v3.calls_by_{name}") is not None


class TestFind:
    async def test_gives_an_organisations_rows_and_nobody_elses(self, desk: Desk) -> None:
        await desk.know(flag("a"), ON)
        await desk.know(flag("b", OTHER), ON)
        assert await desk.flags() == ["a"]
        assert await desk.flags(organisation=None) == ["b", "a"]

    async def test_gives_pages_that_stay_when_rows_come_in(self, desk: Desk) -> None:
        for name in ("b", "d", "f"):
            await desk.know(flag(name), ON)
        first = await desk.rows.find(FLAGS, organisation=AYB, limit=2)
        assert [row.id for row in first] == ["f", "d"]
        await desk.know(flag("e"), ON)
        await desk.know(flag("c"), ON)
        assert await desk.flags(after=cursor_of(first[-1]), limit=2) == ["c", "b"]
        assert await desk.flags(newest_first=False, after=cursor_of(first[-1])) == ["e", "f"]

    async def test_looks_for_values(self, desk: Desk) -> None:
        await desk.know(flag("a"), ON)
        await desk.know(flag("b"), OFF)
        assert await desk.flags(where={"enabled": False}) == ["b"]
        await desk.know(CALL, received())
        assert len(await desk.rows.find(CALLS, organisation=AYB, where={"status": CallStatus.RINGING, "ended_at": None})) == 1
        assert await desk.rows.find(CALLS, organisation=AYB, where={"number_ref": "x"}) == []

    async def test_refuses_what_is_no_column_and_what_is_no_cursor(self, desk: Desk) -> None:
        await desk.know(flag("a"), ON)
        with pytest.raises(ValueError, match="cannot be searched by nonsense"):
            await desk.flags(where={"nonsense": 1})
        with pytest.raises(ValueError, match="cannot be searched by flags"):
            await desk.rows.find(CALLS, organisation=AYB, where={"flags": "{}"})
        with pytest.raises(InvalidCursor):
            await desk.flags(after="; DROP TABLE flags")


class TestGet:
    async def test_gives_the_row_as_it_was_folded(self, desk: Desk) -> None:
        await desk.know(CALL, *whole_call())
        row = await desk.rows.get(CALLS, AYB, CALL.id)
        assert row is not None
        assert (row.version, row.number_ref, row.flags) == (len(whole_call()), NUMBER_REF, {"greeting": "short"})
        assert await desk.rows.get(CALLS, OTHER, CALL.id) is None

    async def test_gives_nothing_for_a_row_that_is_gone(self, desk: Desk) -> None:
        await desk.know(flag("a"), ON)
        await desk.know(flag("a"), FlagRemoved())
        assert await desk.rows.get(FLAGS, AYB, "a") is None

    async def test_says_that_it_cannot_where_there_is_nothing_yet(self, desk: Desk) -> None:
        with pytest.raises(RowsUnavailable, match="is being built"):
            await desk.rows.get(FLAGS, AYB, "a")


class TestEntries:
    async def test_come_in_order_and_in_parts(self, desk: Desk) -> None:
        await desk.know(CALL, *whole_call())
        first = await desk.rows.entries(CALL_TIMELINE, AYB, CALL.id, limit=7)
        then = await desk.rows.entries(CALL_TIMELINE, AYB, CALL.id, after_version=first[-1].version)
        assert [entry.version for entry in (*first, *then)] == list(range(1, len(whole_call()) + 1))
        assert then[-1].kind == type_of(whole_call()[-1]).name


class TestWaitFor:
    async def test_returns_when_the_write_can_be_seen(self, desk: Desk) -> None:
        await desk.know(flag("a"), ON)
        raw = desk.log.append(flag("a"), OFF)
        position = Position(raw.topic, raw.partition, raw.offset, FENCE)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(desk.rows.wait_for([position], 120))
            await desk.know(flag("b"), ON)
        assert waiting.result()
        row = await desk.rows.get(FLAGS, AYB, "a")
        assert row is not None
        assert not row.enabled

    async def test_is_bounded(self, desk: Desk) -> None:
        position = await desk.know(flag("a"), ON)
        assert await desk.rows.wait_for([position], 120)
        assert not await desk.rows.wait_for([Position(topic_of("flags"), 0, 10**6, FENCE)], 0.05)
        assert not await desk.rows.wait_for([Position(topic_of("flags"), 10**30, 0, FENCE)], 0.05)
        # Whoever looks for those who wait has survived what was no partition.
        assert await desk.rows.wait_for([await desk.know(flag("a"), OFF)], 120)

    async def test_waits_for_nothing_when_nothing_is_asked(self, desk: Desk) -> None:
        assert await desk.rows.wait_for([], 0.05)


class TestJournal:
    async def test_has_every_fact_of_a_stream_again(self, desk: Desk) -> None:
        await desk.know(CALL, *whole_call())
        events = await desk.journal.stream_events(CALL, after_version=1, limit=3)
        assert [event.version for event in events] == [2, 3, 4]
        assert tuple(event.fact for event in await desk.journal.stream_events(CALL)) == whole_call()
        assert await desk.journal.stream_events(StreamId(OTHER, "calls", CALL.id)) == []

    async def test_goes_on_behind_a_position(self, desk: Desk) -> None:
        position = await desk.know(CALL, received())
        await desk.know(CALL, *whole_call()[1:3])
        after = await desk.journal.events_after(position.topic, position.partition, position.offset)
        assert [event.version for event in after] == [2, 3]
        assert after[0].position.fence == FENCE

    async def test_knows_what_was_appended_last_over_all_topics(self, desk: Desk) -> None:
        await desk.know(flag("a"), ON)
        await desk.know(CALL, received())
        await desk.know(flag("b"), ON)
        assert [str(event.stream) for event in await desk.journal.latest(limit=2)] == [str(CALL), str(flag("b"))]


class TestDigest:
    async def test_changes_with_any_byte_of_any_row(self, desk: Desk, database: str) -> None:
        await desk.know(flag("a"), ON)
        before = await desk.rows.digest()
        assert await desk.rows.digest() == before
        connection = await asyncpg.connect(database)
        await connection.execute("UPDATE p_flags_v1.flags SET variant = 'w'")
        await connection.close()
        after = await desk.rows.digest()
        assert {name for name in before if before[name] != after[name]} == {"flags.v1"}


class TestConnected:
    async def test_says_what_to_do_when_nobody_answers(self) -> None:
        with pytest.raises(PostgresUnreachable, match="aybiza up"):
            async with connected("postgresql://postgres@/x?host=/nowhere", purpose="test"):
                raise AssertionError("nobody can be there")


class TestSeen:
    async def test_is_never_ahead_of_the_rows_nor_behind_them(self, database: str) -> None:
        """While a runner writes: what an answer says of itself is what its rows were made of, to the fact."""
        ahead = 0
        async with connected(database, purpose="test", durable=False) as pool, following(pool, STORED) as progress:
            log, rows = PaperReader(partitions=1, largest_batch=2), PostgresRows(pool, STORED, progress)
            store = PostgresStore(pool)
            # A claim stands at the beginning, so that what comes next is one more than the row's version.
            log.append(flag("lamp"), ON)
            await Runner(log, store, [FLAGS]).run(stop_at_end=True)
            enough = asyncio.Event()
            writer = asyncio.create_task(write_on(log, store, enough), name="writer")
            for number in itertools.count():
                if (number > 20 and ahead) or writer.done():
                    break
                one, told = await asked_with_seen(rows.get(FLAGS, AYB, "lamp"))
                assert one is not None
                assert told == {PLACE: one.version + 1}
                listed, told = await asked_with_seen(rows.find(FLAGS, organisation=AYB))
                assert told == {PLACE: listed[0].version + 1}
                # What is asked for afterwards may be ahead; were the two always the same, nothing would be shown by this test.
                late = await rows.get(FLAGS, AYB, "lamp")
                reached = await progress.read()
                ahead += late is not None and reached[PLACE][0] > late.version + 1
            enough.set()
            await writer
        assert ahead

    async def test_is_told_where_there_is_nothing_and_of_the_streams_own_partition(self, desk: Desk) -> None:
        await desk.know(flag("lamp"), ON)
        nothing, told = await asked_with_seen(desk.rows.get(FLAGS, OTHER, "lamp"))
        assert (nothing, len(told)) == (None, 1)
        empty, told = await asked_with_seen(desk.rows.find(FLAGS, organisation=OTHER))
        assert (list(empty), {topic for topic, _ in told}, len(told)) == ([], {topic_of("flags")}, 2)
        assert list(told.values()) == [1, 2] or list(told.values()) == [2, 1]

    async def test_is_the_least_of_all_that_were_read(self) -> None:
        noted = Seen()
        for told in ("t:0/7,1/9", "t:0/8,1/3;u:0/1", "t:0/7,1/9"):
            noted.note(told)
        assert str(noted) == "t:0/7,1/3;u:0/1"


PLACE = (topic_of("flags"), 0)


async def write_on(log: PaperReader, store: PostgresStore, enough: asyncio.Event) -> None:
    for number in itertools.count():
        if enough.is_set():
            break
        log.append(flag("lamp"), OFF if number % 2 else ON)
        await Runner(log, store, [FLAGS]).run(stop_at_end=True)


async def asked_with_seen(question: Awaitable[T]) -> tuple[T, Reach]:
    noted = Seen()
    seen.set(noted)
    try:
        return await question, noted.reach()
    finally:
        seen.set(None)
