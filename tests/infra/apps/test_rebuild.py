"""Rebuilding on the real log, database and Redis, while the read side runs."""

import asyncio
import json
import subprocess

import asyncpg
import pytest

from events.consents import ConsentGranted, ConsentRevoked, Purpose
from events.rooms import ROOMS
from events.streams import StreamId
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.shapes import relation_of
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.redis import connected as redis_connected
from infra.apps.read_side import running_read_side
from infra.apps.rebuild import ReadStores, rebuild_and_compare
from infra.settings import Settings
from projections.calls import CALLS
from projections.ports import named
from projections.registry import LIVE, STORED
from projections.runner import Runner
from tests.infra.apps.command import aybiza
from tests.projections.facts import CALL, CALLER_REF, sealed, whole_call
from tests.projections.log import TestLog, open_log
from tests.projections.told import AYB

CALLER = StreamId(AYB, "consents", CALLER_REF)


async def written(log: TestLog) -> None:
    """A history with more than one room in it."""
    for fact in whole_call():
        await log.append(CALL, fact)
    await log.append(CALLER, ConsentGranted(subject=sealed("+14165550100"), purpose=Purpose.RECORDING, evidence="turn 1"))
    last = await log.append(CALLER, ConsentRevoked(purpose=Purpose.RECORDING, evidence="turn 3"))
    assert last.version == 2


@pytest.fixture
async def topics(kafka: str) -> None:
    """The product's own, as a process makes them before anything is read."""
    await ensure_topics(kafka, manifests(), "local")


@pytest.mark.usefixtures("topics")
class TestVerb:
    async def asked(self, settings: Settings, database: str, *words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(aybiza, "rebuild", *words, state_dir=settings.state_dir, DATABASE_URL=database)

    async def test_says_what_it_built_and_that_it_is_the_same_the_second_time(self, settings: Settings, database: str) -> None:
        first = json.loads((await self.asked(settings, database, "--json")).stdout)
        assert {each["before"] for each in first["projections"]} == {None}
        again = json.loads((await self.asked(settings, database, "--all", "--json")).stdout)
        assert again["same"]
        assert [each["before"] for each in again["projections"]] == [each["after"] for each in again["projections"]]

    async def test_builds_one_that_is_named(self, settings: Settings, database: str) -> None:
        answer = await self.asked(settings, database, "flags")
        assert answer.returncode == 0, answer.stderr
        assert "flags.v1" in answer.stdout
        assert "calls.v1" not in answer.stdout

    async def test_names_what_there_is_when_it_is_asked_for_what_is_not(self, settings: Settings, database: str) -> None:
        answer = await self.asked(settings, database, "flage")
        assert answer.returncode == 1
        assert "There is no projection flage. There are: agent_versions, agents, call" in answer.stderr


class TestRebuild:
    async def test_gives_the_same_bytes_while_the_read_side_runs(
        self, kafka: str, database: str, redis_url: str, redis_prefix: str, unique: str
    ) -> None:
        async with open_log(kafka, unique) as log:
            await written(log)
            async with running_read_side(
                log.reader, log.dispatch, postgres=database, redis=redis_url, rates=(), topic_of=log.topic_of, prefix=redis_prefix
            ) as side:
                last = await log.append(StreamId(AYB, "calls", "call_2"), *whole_call()[:2])
                assert await side.rows.wait_for([last.position], 120)
                report = await rebuild_and_compare(log.reader, side.stores, topic_of=log.topic_of)
                assert report.same
                assert {each.name for each in report.projections} == {f"{each.name}.v{each.version}" for each in STORED}
                assert all(each.before == each.after for each in report.projections)
                after = await log.append(StreamId(AYB, "calls", "call_3"), *whole_call()[:2])
                assert await side.rows.wait_for([after.position], 120)
                assert {row.id for row in await side.rows.find(CALLS, organisation=AYB)} == {CALL.id, "call_2", "call_3"}

    async def test_notices_a_row_that_the_log_does_not_say(
        self, kafka: str, database: str, redis_url: str, redis_prefix: str, unique: str
    ) -> None:
        async with open_log(kafka, unique) as log, connected(database, purpose="test") as pool, redis_connected(redis_url) as redis:
            await written(log)
            await Runner(log.reader, PostgresStore(pool), STORED, topic_of=log.topic_of, journal_rooms=ROOMS).run(stop_at_end=True)
            connection = await asyncpg.connect(database)
            await connection.execute(f"UPDATE {relation_of(CALLS)} SET turns = turns + 1")
            await connection.close()
            stores = ReadStores(pool=pool, redis=redis, prefix=redis_prefix)
            report = await rebuild_and_compare(log.reader, stores, STORED, LIVE, topic_of=log.topic_of)
            assert [each.name for each in report.projections if not each.same] == [named(CALLS)]
