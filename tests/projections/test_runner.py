"""The runner on the real database: exactly once, whatever dies; poison set aside; another runner's word respected."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from events.calls.talking import CallerTurn
from events.flags import FlagSet
from events.organisations import OrganisationCreated, OrganisationRenamed
from events.rooms import ROOMS
from events.sealing import Sealed
from events.streams import StreamId
from infra.adapters.postgres import stepping
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.rebuilding import picture
from infra.adapters.postgres.store import PostgresStore, ShapeChanged
from projections.calls import CALL_TIMELINE, CALLS
from projections.flags import FLAGS
from projections.journal import JOURNAL
from projections.organisations import ORGANISATIONS
from projections.ports import LogReader, Place, Projection, Superseded, Writes, named
from projections.registry import STORED
from projections.runner import Runner
from projections.table import Key, Table
from tests.projections.facts import CALL, caller_turn, received, whole_call
from tests.projections.histories import history
from tests.projections.log import open_log
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

FLAG = StreamId(AYB, "flags", "greeting")
ORGANISATION = StreamId(AYB, "organisations", AYB)
CREATED = OrganisationCreated(name="Bella Vista", region="ca")


def runner(reader: LogReader, store: PostgresStore, projections: Sequence[Projection] = STORED) -> Runner:
    return Runner(reader, store, projections, journal_rooms=ROOMS)


def written(seed: int) -> PaperReader:
    reader = PaperReader(seed=seed, largest_batch=5)
    for stream, facts in history(seed):
        reader.append(stream, *facts)
    return reader


async def pictures(pool: Pool, projections: Sequence[Projection] = STORED) -> Mapping[str, object]:
    async with pool.acquire() as connection:
        return (await picture(connection, projections)).pictures


@asynccontextmanager
async def replayed(dsn: str, reader: PaperReader, unique: str) -> AsyncIterator[Mapping[str, object]]:
    """What one undisturbed run gives, in a database of its own."""
    connection = await asyncpg.connect(dsn)
    name = f"{unique}_replay"
    await connection.execute(f'CREATE DATABASE "{name}"')
    try:
        async with connected(dsn.replace(unique, name), purpose="replay") as pool:
            await runner(reader, PostgresStore(pool)).run(stop_at_end=True)
            yield await pictures(pool)
    finally:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()


class Gated(PostgresStore):
    """A store whose runner is stopped just before a write, as by SIGSTOP, and let go later."""

    def __init__(self, pool: Pool, before_write: int) -> None:
        super().__init__(pool)
        self.reached, self.let_go = asyncio.Event(), asyncio.Event()
        self._left = before_write

    async def write(self, writes: Writes) -> None:
        if self._left == 0:
            self.reached.set()
            await self.let_go.wait()
        self._left -= 1
        await super().write(writes)


class FoldedAhead(Gated):
    """A store whose first write waits until rows for the second group were read: what is folded upon them is folded ahead."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, 0)
        self._reads = 0

    async def rows(self, table: Table[Any], keys: Collection[Key]) -> Mapping[Key, Any]:
        found = await super().rows(table, keys)
        self._reads += 1
        if self._reads == 2:
            self.let_go.set()
        return found


class TestRunner:
    async def test_writes_what_the_folds_give_from_the_real_log(self, kafka: str, database: str, unique: str) -> None:
        async with open_log(kafka, unique) as log, connected(database, purpose="test") as pool:
            committed = [await log.append(CALL, fact) for fact in whole_call()]
            under_test = Runner(log.reader, PostgresStore(pool), STORED, topic_of=log.topic_of, journal_rooms=ROOMS)
            await under_test.run(stop_at_end=True)
            facts = [fact for each in committed for fact in each.facts]
            assert await PostgresStore(pool).rows(CALLS, [(AYB, CALL.id)]) == {(AYB, CALL.id): CALLS.fold(facts)}
            last = committed[-1].position
            assert under_test.checkpoints[named(JOURNAL), Place(last.topic, last.partition)].next_offset == last.offset + 1

    async def test_gives_the_same_bytes_however_often_it_is_stopped(self, database: str, unique: str) -> None:
        reader = written(11)
        async with connected(database, purpose="test", durable=False) as pool:
            for stop_before in range(12):
                gated = Gated(pool, stop_before % 3)
                async with asyncio.TaskGroup() as tasks:
                    running = tasks.create_task(runner(reader, gated).run(stop_at_end=True))
                    await _either(running, gated.reached)
                    running.cancel()
            await runner(reader, PostgresStore(pool)).run(stop_at_end=True)
            async with replayed(database, reader, unique) as expected:
                assert await pictures(pool) == expected

    async def test_catches_up_with_a_projection_that_came_later(self, database: str, unique: str) -> None:
        reader = written(12)
        async with connected(database, purpose="test", durable=False) as pool:
            await runner(reader, PostgresStore(pool), [JOURNAL, CALLS]).run(stop_at_end=True)
            await runner(reader, PostgresStore(pool)).run(stop_at_end=True)
            async with replayed(database, reader, unique) as expected:
                assert await pictures(pool) == expected

    async def test_goes_on_when_the_database_was_away(self, database: str, unique: str) -> None:
        reader = written(13)
        async with connected(database, purpose="test", durable=False) as pool:
            gated = Gated(pool, 1)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(runner(reader, gated).run(stop_at_end=True))
                await gated.reached.wait()
                connection = await asyncpg.connect(database)
                await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aybiza test'")
                await connection.close()
                gated.let_go.set()
                await running
            async with replayed(database, reader, unique) as expected:
                assert await pictures(pool) == expected


class TestZombie:
    async def overtaken(self, pool: Pool, reader: PaperReader) -> Exception | None:
        """A runner is frozen in mid-batch, another takes over and finishes, the first wakes up. What becomes of it."""
        gated = Gated(pool, 1)
        zombie = asyncio.create_task(runner(reader, gated).run(stop_at_end=True))
        await gated.reached.wait()
        await runner(reader, PostgresStore(pool)).run(stop_at_end=True)
        gated.let_go.set()
        try:
            await zombie
        except Exception as error:  # noqa: BLE001 - whatever becomes of it is the answer
            return error
        return None

    async def test_cannot_write(self, database: str, unique: str) -> None:
        reader = written(14)
        async with connected(database, purpose="test", durable=False) as pool:
            assert isinstance(await self.overtaken(pool, reader), Superseded)
            async with replayed(database, reader, unique) as expected:
                assert await pictures(pool) == expected

    async def test_would_do_harm_without_the_checkpoints_predicate(
        self, database: str, unique: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unguarded = stepping.STEP.replace("AND c.epoch = s.epoch AND c.next_offset = s.seen_offset", "AND true").replace(
            "AND c.term = s.seen_term AND c.claim_id = s.seen_claim", ""
        )  # fmt: skip
        assert unguarded.count("AND") < stepping.STEP.count("AND")
        monkeypatch.setattr(stepping, "STEP", unguarded)
        reader = written(14)
        async with connected(database, purpose="test", durable=False) as pool:
            broke = await self.overtaken(pool, reader)
            async with replayed(database, reader, unique) as expected:
                assert broke is not None or await pictures(pool) != expected


class TestPoison:
    async def test_is_parked_and_the_rest_goes_on(self, database: str) -> None:
        projections = (JOURNAL, CALLS, CALL_TIMELINE, FLAGS)
        reader = PaperReader()
        reader.append(CALL, received())
        reader.put(CALL, b"\0 no body of ours", "caller-turn.v1", "calls")
        reader.append(FLAG, FlagSet(enabled=True, variant="v"))
        async with connected(database, purpose="test") as pool:
            first = runner(reader, PostgresStore(pool), projections)
            await first.run(stop_at_end=True)
            assert first.parked_streams == 2
            reader.append(CALL, caller_turn(1))
            # Another runner knows from the database what waits.
            await runner(reader, PostgresStore(pool), projections).run(stop_at_end=True)
            parked = await pool.fetch('SELECT projection, version, behind FROM read_side.parked ORDER BY projection, "offset"')
            assert [tuple(each) for each in parked] == [
                (named(CALL_TIMELINE), 2, False), (named(CALL_TIMELINE), 3, True), (named(CALLS), 2, False), (named(CALLS), 3, True),
            ]  # fmt: skip
            assert (await PostgresStore(pool).rows(CALLS, [(AYB, CALL.id)]))[AYB, CALL.id].version == 1
            assert (AYB, FLAG.id) in await PostgresStore(pool).rows(FLAGS, [(AYB, FLAG.id)])
            assert await pool.fetchval("SELECT count(*) FROM p_journal_v1.journal") == 4

    async def test_that_only_the_database_refuses_is_parked_too(self, database: str) -> None:
        reader = PaperReader()
        reader.append(ORGANISATION, CREATED)
        reader.append(StreamId("AYB-2", "organisations", "AYB-2"), OrganisationCreated(name="a zero \0 byte", region="ca"))
        reader.append(CALL, received())
        reader.append(CALL, CallerTurn(turn=1, words=Sealed(AYB, b"w"), started_ms=2**62, ended_ms=1, recognised_ms=1, confidence=1.0))
        async with connected(database, purpose="test") as pool:
            await runner(reader, PostgresStore(pool)).run(stop_at_end=True)
            parked = await pool.fetch("SELECT projection, stream, reason FROM read_side.parked")
            assert [(each["projection"], each["stream"]) for each in parked] == [(named(ORGANISATIONS), "AYB-2/organisations/AYB-2")]
            assert "0x00" in parked[0]["reason"]
            assert (await PostgresStore(pool).rows(ORGANISATIONS, [(AYB, AYB)]))[AYB, AYB].name == "Bella Vista"

    async def test_that_only_the_database_refuses_is_parked_with_what_was_folded_ahead_upon_it(self, database: str) -> None:
        refused = StreamId("AYB-2", "organisations", "AYB-2")
        reader = PaperReader(partitions=1, largest_batch=2)
        reader.append(refused, OrganisationCreated(name="a zero \0 byte", region="ca"))
        reader.append(ORGANISATION, CREATED)
        reader.append(refused, OrganisationRenamed(name="as if nothing had happened"))
        reader.append(ORGANISATION, OrganisationRenamed(name="Bella Vista Two"))
        reader.append(StreamId("AYB-3", "organisations", "AYB-3"), CREATED)
        async with connected(database, purpose="test") as pool:
            store = FoldedAhead(pool)
            await runner(reader, store, [ORGANISATIONS]).run(stop_at_end=True)
            assert store.let_go.is_set()
            parked = await pool.fetch('SELECT stream, behind FROM read_side.parked ORDER BY "offset"')
            assert [tuple(each) for each in parked] == [(str(refused), False), (str(refused), True)]
            rows = await PostgresStore(pool).rows(ORGANISATIONS, [(AYB, AYB), ("AYB-2", "AYB-2"), ("AYB-3", "AYB-3")])
            assert {key: row.name for key, row in rows.items()} == {(AYB, AYB): "Bella Vista Two", ("AYB-3", "AYB-3"): "Bella Vista"}

    async def test_stays_parked_for_one_projection_only(self, database: str) -> None:
        reader = PaperReader()
        reader.append(ORGANISATION, OrganisationRenamed(name="before it was created"))
        async with connected(database, purpose="test") as pool:
            await runner(reader, PostgresStore(pool)).run(stop_at_end=True)
            assert [tuple(each) for each in await pool.fetch("SELECT projection, behind FROM read_side.parked")] == [
                (named(ORGANISATIONS), False)
            ]  # fmt: skip


class TestShapes:
    async def test_that_changed_without_a_new_version_are_refused(self, database: str) -> None:
        reader = PaperReader()
        async with connected(database, purpose="test") as pool:
            await runner(reader, PostgresStore(pool), [FLAGS]).run(stop_at_end=True)
            changed = Table(
                name="flags", version=1, room="organisations", category="organisations", row=ORGANISATIONS.row, evolve=ORGANISATIONS.evolve
            )  # fmt: skip
            with pytest.raises(ShapeChanged, match="aybiza rebuild flags"):
                await runner(reader, PostgresStore(pool), [changed]).run(stop_at_end=True)


async def _either(task: asyncio.Task[None], event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
