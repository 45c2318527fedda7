"""Cold parts of the journal are packed by the processes that project: by one of them, when nothing has been appended for long enough."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.adapters.postgres import packing
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.packing import next_cold
from infra.apps import cold_parts
from infra.apps.cold_parts import Cold, Pace, keep_packed, packed_after
from infra.apps.health import of_lag
from infra.apps.lag import Lag, SeenLag
from infra.settings import Settings
from projections.journal import JOURNAL
from tests.infra.adapters.test_postgres_packing import FIRST, SECOND, TOPIC, Desk, desk

__all__ = ["desk"]
QUICK = Pace(look_seconds=0.01, rest=0, held_seconds=0.01)
FOR_EVER = timedelta(days=36_500)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(120):
        while not await true():
            await asyncio.sleep(0.01)


class TestKeepPacked:
    async def test_packs_all_that_is_cold_and_lets_readers_read(self, desk: Desk) -> None:
        before = await desk.answers()
        keeping = asyncio.create_task(keep_packed(desk.pool, timedelta(0), QUICK))

        async def packed() -> bool:
            return await cold_parts.cold_parts(desk.pool) == Cold()

        await until(packed)
        keeping.cancel()
        await asyncio.wait([keeping])
        assert await desk.answers() == before
        there = [(each.name, each.packed) for each in await packing.parts(desk.pool, JOURNAL) if each.topic == TOPIC]
        assert there == [(FIRST, True), (SECOND, True), (f"{TOPIC}/2", False)]

    async def test_leaves_it_to_one_process_until_that_is_gone(self, desk: Desk, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packing, "PIECES_OF_A_STEP", 1)
        resting = asyncio.create_task(keep_packed(desk.pool, timedelta(0), Pace(look_seconds=0.01, rest=1e9)))

        async def under_way() -> bool:
            return (await cold_parts.cold_parts(desk.pool)).packing == FIRST

        await until(under_way)
        begun = await cold_parts.cold_parts(desk.pool)
        assert (begun.parts, begun.records) == (2, 16)
        looked: list[None] = []
        live = vars(cold_parts)["_live"]

        async def counted(pool: Any) -> Any:
            looked.append(None)
            return await live(pool)

        async with connected(database, purpose="test", most=1) as pool:
            with monkeypatch.context() as watched:
                watched.setattr(cold_parts, "_live", counted)
                keeping = asyncio.create_task(keep_packed(pool, timedelta(0), QUICK))
                while len(looked) < 5:
                    await asyncio.sleep(0.01)
            assert await cold_parts.cold_parts(desk.pool) == begun
            resting.cancel()
            await asyncio.wait([resting])

            async def packed() -> bool:
                return await cold_parts.cold_parts(desk.pool) == Cold()

            await until(packed)
            keeping.cancel()
            await asyncio.wait([keeping])

    async def test_leaves_what_was_appended_to_of_late(self, desk: Desk) -> None:
        newest = max(raw.timestamp_ms for raw in desk.log.all_records() if raw.offset < 64)
        async with desk.pool.acquire() as connection:
            assert await next_cold(connection, JOURNAL, newest) is None
            assert await next_cold(connection, JOURNAL, newest + 1) == FIRST
        asked: list[None] = []

        def now() -> datetime:
            asked.append(None)
            return datetime.fromtimestamp(newest / 1000, UTC)

        keeping = asyncio.create_task(keep_packed(desk.pool, timedelta(hours=1), QUICK, now))
        while len(asked) < 3:
            await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.wait([keeping])
        assert await cold_parts.cold_parts(desk.pool) == Cold(parts=2)

    async def test_outlives_a_journal_that_is_thrown_away(self, desk: Desk) -> None:
        keeping = asyncio.create_task(keep_packed(desk.pool, FOR_EVER, QUICK))
        await desk.pool.execute("DROP SCHEMA p_journal_v1 CASCADE")
        assert await cold_parts.cold_parts(desk.pool) == Cold()
        assert not keeping.done()
        keeping.cancel()
        await asyncio.wait([keeping])
        assert keeping.cancelled()


def test_a_setting_says_when_and_whether(settings: Settings) -> None:
    assert packed_after(settings) == timedelta(hours=24)
    assert packed_after(settings.model_copy(update={"pack_journal_after_hours": 2})) == timedelta(hours=2)
    assert packed_after(settings.model_copy(update={"pack_journal": False})) is None


async def test_health_says_what_is_being_packed() -> None:
    seen = SeenLag()
    seen.last = Lag(journal=0, slowest=0, cold=2, packing=FIRST)
    (check,) = await of_lag(seen)()
    assert (check.ready, check.why, seen.cold()) == (True, f"{FIRST} of the journal is being packed", 2)
