"""Calls in progress, from the runner into Redis and out again."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from events.streams import StreamId
from infra.adapters.redis import RedisLiveRows, RedisStore, RedisUnreachable, connected
from projections.calls import LIVE_CALLS, CallStatus
from projections.live import Live
from projections.queries import RowsUnavailable
from projections.registry import LIVE
from projections.runner import Runner
from tests.projections.facts import answered, caller_turn, ended, received
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

# The facts on paper have a fixed day, so that rows must live longer than from then to any test's day.
LASTING = Live(table=LIVE_CALLS.table, lifetime_seconds=100 * 365 * 86_400)


def call(name: str, tenant: str = AYB) -> StreamId:
    return StreamId(tenant, "calls", name)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator["Redis"]:
    async with connected(redis_url) as redis:
        yield redis


async def projected(client: "Redis", prefix: str, log: PaperReader, live: Live[object] = LASTING) -> RedisLiveRows:  # type: ignore[type-var,assignment]
    await Runner(log, RedisStore(client, [live], prefix=prefix), [live.table]).run(stop_at_end=True)
    return RedisLiveRows(client, prefix=prefix)


class TestLiveRows:
    async def test_show_calls_until_they_end(self, client: "Redis", redis_prefix: str) -> None:
        log = PaperReader()
        for name in ("call_1", "call_2", "call_3"):
            log.append(call(name), received())
        log.append(call("call_2"), answered(), caller_turn(1))
        log.append(call("call_3", "AYB-2"), received())
        log.append(call("call_1"), answered(), ended())
        rows = await projected(client, redis_prefix, log)
        found = await rows.find(LASTING, organisation=AYB)
        assert [(row.id, row.status) for row in found] == [("call_3", CallStatus.RINGING), ("call_2", CallStatus.IN_PROGRESS)]
        assert (found[1].turn, found[1].speaking, found[1].version, found[1].worker) == (1, "caller", 3, "w1")
        assert await rows.get(LASTING, AYB, "call_1") is None
        assert await rows.get(LASTING, AYB, "call_2") == found[1]

    async def test_forget_a_call_that_never_ended(self, client: "Redis", redis_prefix: str) -> None:
        log = PaperReader()
        log.append(call("call_1"), received())
        rows = await projected(client, redis_prefix, log, Live(table=LIVE_CALLS.table, lifetime_seconds=1))  # type: ignore[arg-type]
        assert await rows.find(LASTING, organisation=AYB) == []

    async def test_come_back_when_redis_came_back_empty(self, client: "Redis", redis_prefix: str) -> None:
        log = PaperReader()
        log.append(call("call_1"), received())
        store = RedisStore(client, [LASTING], prefix=redis_prefix)
        rows = RedisLiveRows(client, prefix=redis_prefix)
        running = asyncio.create_task(Runner(log, store, [LASTING.table]).run())
        try:
            await self.shown(rows, ["call_1"])
            await store.drop()
            log.append(call("call_2"), received())
            await self.shown(rows, ["call_2", "call_1"])
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def shown(self, rows: RedisLiveRows, names: list[str]) -> None:
        async with asyncio.timeout(120):
            while [row.id for row in await rows.find(LASTING, organisation=AYB)] != names:
                await asyncio.sleep(0)

    async def test_are_said_to_be_away_where_redis_is(self) -> None:
        with pytest.raises(RowsUnavailable, match="Redis is away"):
            await RedisLiveRows(Redis(unix_socket_path="/nowhere/redis.sock")).find(LASTING, organisation=AYB)


class TestConnected:
    async def test_says_what_to_do_when_nobody_answers(self) -> None:
        with pytest.raises(RedisUnreachable, match="aybiza up"):
            async with connected("unix:///nowhere/redis.sock"):
                raise AssertionError("nobody can be there")


def test_every_live_row_has_a_lifetime() -> None:
    assert all(live.lifetime_seconds > 0 for live in LIVE)
