"""What every way of keeping a series over time keeps to: ranges and counts of our own, and TimescaleDB, by the same questions."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from events.calls.ending import CallEnded, EndedBy, Stage
from events.calls.talking import AgentTurn, Latency
from events.rooms import ROOMS
from events.streams import StreamId
from events.usage import Meter, RatedLine, UsageLine, UsageRated, UsageRecorded
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import build_of
from infra.adapters.postgres.comparing import compare
from infra.adapters.postgres.connections import Connection, Pool, connected
from infra.adapters.postgres.counts import LEVELS
from infra.adapters.postgres.over_time import expire, is_native, refresh
from infra.adapters.postgres.rows import digest_of
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.postgres.walls import Wall, behind_the_wall
from infra.apps.beside import build_beside
from infra.apps.doctor import the_series
from infra.local.stack import Addresses
from infra.settings import Settings
from projections.measures import CALL_MEASURES, TURN_MEASURES, USAGE_MEASURES
from projections.ports import Place, StoreUnavailable, named
from projections.queries import EVERYBODY, asked_for
from projections.runner import Runner
from projections.series import OverTime
from tests.projections.facts import agent_turn
from tests.projections.paper import PaperReader
from tests.projections.told import AYB, DAY

OVER = OverTime(by=("model", "band_ms"), sums=("response_ms",)) if TURN_MEASURES.over_time is None else TURN_MEASURES.over_time
MEASURES = (TURN_MEASURES, CALL_MEASURES, USAGE_MEASURES)
OTHER = "AYB-other"
_IMAGE = "timescale/timescaledb:2.29.2-pg18"
_TURNS = """
SELECT bucket, band_ms, entries, response_ms_sum, response_ms_max FROM v_turn_measures_v1.turn_measures_{} WHERE tenant = $1 ORDER BY 1, 2
"""
# Whatever of these we made or had made, and whether who may only look may look there.
_WITH_ORGANISATIONS = """
SELECT n.nspname || '.' || c.relname AS name, has_any_column_privilege(c.oid, 'SELECT') AS open
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_temp'
    AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped)
"""
_NO_EXTENSION = """
CREATE FUNCTION no_extension() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE insufficient_privilege; END $$;
CREATE EVENT TRIGGER no_extension ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION no_extension()
"""
_LEFT_BEHIND = """
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 1000000, 'timescaledb', 10, oid, false, '2.29.2' FROM pg_namespace WHERE nspname = 'public'
"""
_MANY = """
INSERT INTO p_turn_measures_v1.turn_measures SELECT tenant, id, version + 100 * many, n, occurred_at, model, band_ms, response_ms,
    endpointing_ms, thinking_ms, voice_ms, interrupted, input_tokens, output_tokens, characters
FROM p_turn_measures_v1.turn_measures, generate_series(1, 100) many
"""


@pytest.fixture(scope="module")
def timescale(settings: Settings) -> Iterator[str]:
    """The DSN of a PostgreSQL with TimescaleDB: one that is named, or one in a container."""
    if settings.timescale_dsn is not None:
        yield settings.timescale_dsn.get_secret_value()
        return
    # Asked for in vain, Docker's client leaves a socket open.
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        pytest.skip("there is no TimescaleDB to ask: AYBIZA_TIMESCALE_DSN names none, and there is no socket of Docker's")
    docker, containers = pytest.importorskip("docker"), pytest.importorskip("testcontainers.postgres")
    try:
        docker.from_env().ping()
    except docker.errors.DockerException as cause:
        pytest.skip(f"there is no TimescaleDB to ask: AYBIZA_TIMESCALE_DSN names none, and Docker does not answer ({type(cause).__name__})")
    with containers.PostgresContainer(_IMAGE, driver=None) as running:
        yield running.get_connection_url()


@pytest.fixture(params=["native", "timescale"])
async def dsn(request: pytest.FixtureRequest, stack: Addresses) -> AsyncIterator[str]:
    async with database(stack.postgres if request.param == "native" else request.getfixturevalue("timescale")) as dsn:
        yield dsn


@asynccontextmanager
async def database(server: str) -> AsyncIterator[str]:
    connection = await asyncpg.connect(server)
    name = f"series{uuid.uuid4().hex[:12]}"
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with connected(dsn, purpose="test", durable=False) as pool:
        yield pool


@pytest.fixture
async def wall(dsn: str) -> AsyncIterator[Wall]:
    async with behind_the_wall(dsn, most=1) as wall:
        yield wall


def answered_in(response_ms: int | None) -> AgentTurn:
    stages = Latency() if response_ms is None else Latency(speech_ended_ms=1_000, on_wire_ms=1_000 + response_ms)
    return replace(agent_turn(1, "yes", model="claude"), latency=stages)


def history(partitions: int = 1) -> PaperReader:
    """Answers one second apart over more than two hours, of two organisations, and what they used."""
    reader = PaperReader(partitions=partitions, largest_batch=500)
    for number in range(200):
        tenant = OTHER if number % 10 == 9 else AYB
        reader.append(StreamId(tenant, "calls", f"call_{number:04}"), answered_in(None if number % 50 == 0 else 100 + number))
    return reader


async def fold(reader: PaperReader, pool: Pool) -> None:
    await Runner(reader, PostgresStore(pool), MEASURES, journal_rooms=ROOMS).run(stop_at_end=True)


async def come_late(reader: PaperReader, pool: Pool, times: int = 1) -> None:
    """More answers of the calls that were there, at the times of theirs."""
    for _ in range(times):
        for number in range(20):
            reader.append(StreamId(AYB, "calls", f"call_{number:04}"), answered_in(100 * number))
        await fold(reader, pool)


async def refresh_until(pool: Pool, done: asyncio.Task[None]) -> None:
    while not done.done():
        await refresh(pool, TURN_MEASURES)
    await refresh(pool, TURN_MEASURES)


async def pack(pool: Pool) -> None:
    """Compress what can be compressed: ranges of our own cannot."""
    async with pool.acquire() as connection:
        if not await is_native(connection, TURN_MEASURES):
            packed = await connection.fetch("SELECT compress_chunk(c) FROM show_chunks('p_turn_measures_v1.turn_measures') c")
            assert len(packed) == 1


async def counted(pool: "Pool | Connection", level: str) -> list[tuple[Any, ...]]:
    return [tuple(each) for each in await pool.fetch(_TURNS.format(level), AYB)]


async def by_hand(pool: "Pool | Connection", level: str) -> list[tuple[Any, ...]]:
    found = await pool.fetch(
        f"SELECT date_trunc('{level}', occurred_at, 'UTC') AS bucket, band_ms, count(*), coalesce(sum(response_ms), 0), max(response_ms) "
        "FROM v_turn_measures_v1.turn_measures WHERE tenant = $1 GROUP BY 1, 2 ORDER BY 1, 2",
        AYB,
    )
    return [tuple(each) for each in found]


class TestCounts:
    @pytest.mark.parametrize("level", LEVELS)
    async def test_are_what_the_entries_are_before_and_after_they_are_kept(self, pool: Pool, level: str) -> None:
        await fold(history(), pool)
        expected = await by_hand(pool, level)
        assert len(expected) > 3
        assert await counted(pool, level) == expected
        for _ in range(2):
            await refresh(pool, TURN_MEASURES)
            assert await counted(pool, level) == expected

    async def test_take_in_at_once_what_comes_late(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        await refresh(pool, TURN_MEASURES)
        await come_late(reader, pool)
        for level in LEVELS:
            assert await counted(pool, level) == await by_hand(pool, level)
        await refresh(pool, TURN_MEASURES)
        for level in LEVELS:
            assert await counted(pool, level) == await by_hand(pool, level)

    async def test_are_what_the_entries_are_at_every_moment(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        looks = 0
        async with pool.acquire() as connection:
            appending = asyncio.create_task(come_late(reader, pool, 12), name="test: append")
            keeping = asyncio.create_task(refresh_until(pool, appending), name="test: keep counts")
            while not keeping.done():
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    for level in LEVELS:
                        assert await counted(connection, level) == await by_hand(connection, level)
                looks += 1
        await keeping
        await appending
        assert looks > 1
        assert await counted(pool, "hour") == await by_hand(pool, "hour")

    async def test_notice_what_they_were_not_told_of(self, pool: Pool) -> None:
        """The negative control: an entry that nobody noted is not in the counts that are kept."""
        await fold(history(), pool)
        await refresh(pool, TURN_MEASURES)
        await pool.execute(
            "INSERT INTO p_turn_measures_v1.turn_measures SELECT tenant, id, version + 100, n, occurred_at, model, band_ms, response_ms, "
            "endpointing_ms, thinking_ms, voice_ms, interrupted, input_tokens, output_tokens, characters "
            "FROM p_turn_measures_v1.turn_measures LIMIT 5"
        )
        await refresh(pool, TURN_MEASURES)
        assert await counted(pool, "hour") != await by_hand(pool, "hour")

    async def test_of_usage_have_quantities_and_prices(self, pool: Pool) -> None:
        reader = PaperReader(partitions=1)
        stream = StreamId(AYB, "usage", "call_1")
        line = UsageLine(
            turn=1, meter=Meter.SYNTHESIS_CHARACTERS, provider="deepgram", quantity=Decimal("12.5"), embedded=False, estimated=False
        )
        rated = RatedLine(
            turn=1, meter=line.meter, provider="deepgram", quantity=line.quantity, unit_price=Decimal("0.1"), amount=Decimal("1.25"),
            rate="r", embedded=False,
        )  # fmt: skip
        reader.append(stream, UsageRecorded(call_id="call_1", lines=(line, line)))
        reader.append(stream, UsageRated(call_id="call_1", currency="USD", rate_table="t", lines=(rated,), total=Decimal("1.25")))
        await fold(reader, pool)
        found = await pool.fetch(
            "SELECT meter, currency, entries, quantity_sum, amount_sum FROM v_usage_measures_v1.usage_measures_day ORDER BY currency"
        )
        assert [tuple(each) for each in found] == [
            ("synthesis-characters", "", 2, Decimal("25.0"), Decimal(0)),
            ("synthesis-characters", "USD", 1, Decimal(0), Decimal("1.25")),
        ]

    async def test_of_calls_say_how_they_ended(self, pool: Pool) -> None:
        reader = PaperReader(partitions=1)
        ended = CallEnded(
            reason="caller-hung-up", ended_by=EndedBy.CALLER, stage=Stage.CONVERSATION, duration_ms=5_000, billable=True, recognition_ms=0
        )
        reader.append(StreamId(AYB, "calls", "call_1"), ended)
        reader.append(StreamId(AYB, "calls", "call_2"), replace(ended, duration_ms=7_000))
        await fold(reader, pool)
        found = await pool.fetchrow("SELECT reason, entries, duration_ms_sum, duration_ms_max FROM v_call_measures_v1.call_measures_hour")
        assert found is not None
        assert tuple(found) == ("caller-hung-up", 2, Decimal(12_000), 7_000)


class TestWall:
    async def test_shows_each_organisation_its_own_entries_and_counts(self, pool: Pool, wall: Wall) -> None:
        await fold(history(), pool)
        for name in ("turn_measures", "turn_measures_minute", "turn_measures_hour", "turn_measures_day"):
            for asked, whose in ((AYB, {AYB}), (OTHER, {OTHER}), (EVERYBODY, {AYB, OTHER}), ("", set())):
                asked_for.set(asked)
                assert {each["tenant"] for each in await wall.fetch(f"SELECT tenant FROM v_turn_measures_v1.{name}")} == whose
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await wall.fetch("SELECT * FROM p_turn_measures_v1.turn_measures")

    async def test_is_the_only_way_to_what_is_an_organisations(self, pool: Pool, wall: Wall) -> None:
        """Neither ranges, nor chunks, packed or not, nor what counts are kept in."""
        await fold(history(), pool)
        await refresh(pool, TURN_MEASURES)
        await pack(pool)
        asked_for.set(AYB)
        open_to_readers: dict[bool, set[str]] = {True: set(), False: set()}
        for each in await wall.fetch(_WITH_ORGANISATIONS):
            open_to_readers[each["open"]].add(each["name"])
        assert len(open_to_readers[False]) > 8
        assert open_to_readers[True] == {
            f"v_{series.name}_v1.{series.name}{level}" for series in MEASURES for level in ("", "_minute", "_hour", "_day")
        }


class TestKeeping:
    async def test_lies_in_ranges_of_days(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        async with pool.acquire() as connection:
            native = await is_native(connection, TURN_MEASURES)
        catalogue = (
            "SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('p_turn_measures_v1.turn_measures')"
            if native
            else "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'turn_measures'"
        )
        assert await pool.fetchval(catalogue) == 1

    async def test_is_told_of_by_the_doctor(self, settings: Settings, dsn: str, pool: Pool) -> None:
        await fold(history(), pool)
        async with pool.acquire() as connection:
            words = "of our own" if await is_native(connection, TURN_MEASURES) else "hypertables"
        finding = await the_series(settings.model_copy(update={"database_url": SecretStr(dsn)}))
        assert (finding.state, finding.remedy) == ("well", None)
        assert words in finding.words

    async def test_goes_on_when_the_planner_knows_its_tables(self, pool: Pool) -> None:
        reader = history(partitions=32)
        await fold(reader, pool)
        await pool.execute("VACUUM (ANALYZE)")
        await come_late(reader, pool)
        assert await builds.extents(pool)
        assert await counted(pool, "hour") == await by_hand(pool, "hour")

    async def test_that_is_packed_is_what_it_was_and_takes_in_what_comes_late(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        await refresh(pool, TURN_MEASURES)
        async with pool.acquire() as connection:
            before = await digest_of(connection, TURN_MEASURES)
            await pack(pool)
            assert await digest_of(connection, TURN_MEASURES) == before
        await come_late(reader, pool)
        assert await pool.fetchval("SELECT count(*) FROM v_turn_measures_v1.turn_measures") == 220
        for _ in range(2):
            for level in LEVELS:
                assert await counted(pool, level) == await by_hand(pool, level)
            await refresh(pool, TURN_MEASURES)

    @pytest.mark.parametrize("kept", [True, False])
    async def test_that_is_old_goes_and_the_counts_stay_whatever_comes_late(self, pool: Pool, kept: bool) -> None:
        reader = history()
        await fold(reader, pool)
        if kept:
            await refresh(pool, TURN_MEASURES)
            await pack(pool)
        before = {level: await counted(pool, level) for level in LEVELS}
        short = replace(TURN_MEASURES, over_time=replace(OVER, kept_days=30))
        assert not await expire(pool, short, DAY + timedelta(days=30))
        for _ in range(2):
            assert len(await expire(pool, short, DAY + timedelta(days=33))) == 1
            assert await pool.fetchval("SELECT count(*) FROM v_turn_measures_v1.turn_measures") == 0
            assert {level: await counted(pool, level) for level in LEVELS} == before
            await come_late(reader, pool)
            assert await pool.fetchval("SELECT count(*) FROM v_turn_measures_v1.turn_measures") == 20
            await refresh(pool, TURN_MEASURES)
            assert {level: await counted(pool, level) for level in LEVELS} == before

    async def test_is_said_to_take_the_room_that_it_takes(self, pool: Pool) -> None:
        await fold(history(), pool)
        (build,) = [each for each in await builds.standing(pool) if each.projection == named(TURN_MEASURES)]
        before = (await builds.sizes(pool, [build]))[build.projection]
        await pool.execute(_MANY)
        assert (await builds.sizes(pool, [build]))[build.projection] > before + 20_000 * 100

    async def test_built_beside_has_the_same_bytes_and_the_same_counts(self, pool: Pool) -> None:
        reader = history()
        await fold(reader, pool)
        before = await counted(pool, "hour")
        second = build_of(TURN_MEASURES, 2)
        await build_beside(reader, pool, second)
        async with pool.acquire() as connection:
            assert await digest_of(connection, second) == await digest_of(connection, TURN_MEASURES)
        (build,) = [each for each in await builds.standing(pool) if each.projection == named(second)]
        await builds.switch(pool, build, [TURN_MEASURES])
        assert await counted(pool, "hour") == before
        await builds.forget(pool, next(each for each in await builds.standing(pool) if each.projection == named(TURN_MEASURES)))
        assert await counted(pool, "hour") == before


class TestTimescaleThatComesLater:
    """A database that kept ranges of its own, and has TimescaleDB since."""

    @pytest.fixture
    async def dsn(self, timescale: str) -> AsyncIterator[str]:
        async with database(timescale) as dsn:
            yield dsn

    async def test_is_used_by_what_is_built_beside(self, settings: Settings, dsn: str) -> None:
        reader = history()
        second = replace(TURN_MEASURES, build=2)
        async with connected(dsn, purpose="test", durable=False) as pool:
            await pool.execute(_NO_EXTENSION)
            await fold(reader, pool)
            await refresh(pool, TURN_MEASURES)
            await pool.execute("DROP FUNCTION no_extension CASCADE")
            before = {level: await counted(pool, level) for level in LEVELS}
            finding = await the_series(settings.model_copy(update={"database_url": SecretStr(dsn)}))
            assert finding.state == "doubtful"
            assert "turn_measures, call_measures, usage_measures in ranges of our own" in finding.words
            await come_late(reader, pool)
            await build_beside(reader, pool, second)
            async with pool.acquire() as connection:
                assert await is_native(connection, TURN_MEASURES)
                assert not await is_native(connection, second)
            compared = await compare(pool, TURN_MEASURES, second)
            assert compared.same
            assert compared.digests is not None
            assert compared.digests[0] == compared.digests[1]
            seen = {level: await counted(pool, level) for level in LEVELS}
            assert seen != before
            for chosen in (second, TURN_MEASURES, second):
                (build,) = [each for each in await builds.standing(pool) if each.projection == named(chosen)]
                await builds.switch(pool, build, [TURN_MEASURES])
                assert {level: await counted(pool, level) for level in LEVELS} == seen
                await refresh(pool, chosen)


class TestTimescaleThatIsGone:
    """A database of hypertables on a server that does not load TimescaleDB: each word about them would end the connection."""

    async def test_is_said_by_the_store_and_by_the_doctor(self, settings: Settings, stack: Addresses) -> None:
        async with database(stack.postgres) as dsn, connected(dsn, purpose="test", durable=False) as pool:
            await pool.execute(_LEFT_BEHIND)
            with pytest.raises(StoreUnavailable, match="shared_preload_libraries = 'timescaledb'"):
                await PostgresStore(pool).open([(TURN_MEASURES, Place("calls", 0))])
            finding = await the_series(settings.model_copy(update={"database_url": SecretStr(dsn)}))
            assert finding.state == "wrong"
            assert "shared_preload_libraries = 'timescaledb'" in finding.words
