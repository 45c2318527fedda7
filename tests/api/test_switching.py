"""Readers are shown another build of a projection while they read and write: nobody notices."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
import pytest

from events.rooms import prepared_codec
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import Build, BuildState, build_of
from infra.adapters.postgres.comparing import compare
from infra.adapters.postgres.connections import Pool, connected
from infra.apps.beside import build_beside
from infra.local.stack import Addresses
from projections.flags import FLAGS
from projections.ports import Projection, named
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
SECOND = build_of(FLAGS, 2)
_ROUNDS = 12


class TestOrders:
    async def test_are_the_operators_alone(self, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        order = {"projection": "flags", "build": "flags.v1.b2", "act": "switch", "because": "a test"}
        assert refusal(await anonymous.post("/v1/upkeep/builds", json=order)) == (401, "unauthenticated")
        assert refusal(await tenant.api.post("/v1/upkeep/builds", json=order))[0] == 403

    async def test_say_why(self, operator: httpx.AsyncClient) -> None:
        order = {"projection": "flags", "build": "flags.v1.b2", "act": "switch", "because": ""}
        assert (await operator.post("/v1/upkeep/builds", json=order)).status_code == 422


class TestSwitch:
    async def test_fails_no_request_and_loses_no_write_from_sight(
        self, running: Platform, stack: Addresses, operator: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        dsn = urlsplit(stack.postgres)._replace(path=f"/{running.prefix}").geturl()
        async with connected(dsn, purpose="test", durable=False) as pool:
            stop, asked = asyncio.Event(), [0]
            async with asyncio.TaskGroup() as tasks:
                hammers = [tasks.create_task(hammer(tenant.api, f"flag-{number}", stop, asked)) for number in range(3)]
                await rounds(asked)
                await beside(stack.kafka, running.prefix, pool, SECOND)
                first = await the(pool, FLAGS)
                order = {"projection": "flags", "build": named(SECOND), "act": "switch", "because": "a test"}
                assert (await operator.post("/v1/upkeep/builds", json=order)).status_code == 202
                await builds.switch(pool, await the(pool, SECOND), [FLAGS], within_seconds=60)
                await rounds(asked)
                await builds.switch(pool, first, [FLAGS], within_seconds=60)
                await rounds(asked)
                report = await compare(pool, FLAGS, SECOND)
                await builds.forget(pool, await the(pool, SECOND))
                await rounds(asked)
                stop.set()
            assert all(hammer.result() for hammer in hammers)
            assert report.differing == ()
            ordered = await pool.fetch("SELECT kind, stream, because FROM p_upkeep_orders_v1.upkeep_orders WHERE projection = 'flags'")
            assert [tuple(each) for each in ordered] == [("build-switch-ordered", "flags.v1.b2", "a test")]


async def the(pool: Pool, projection: Projection) -> Build:
    (found,) = [each for each in await builds.standing(pool, projection.name) if each.projection == named(projection)]
    return found


async def beside(kafka: str, prefix: str, pool: Pool, projection: Projection) -> None:
    """Build it from the platform's own log, as a process of its own does."""
    async with KafkaLog(kafka) as log:
        reader = KafkaLogReader(kafka, SchemaTopic(log, prepared_codec(), f"{prefix}.schemas"))
        assert await build_beside(reader, pool, projection, topic_of=lambda room: f"{prefix}.{room}.v1") is BuildState.WARM


async def hammer(api: httpx.AsyncClient, name: str, stop: asyncio.Event, asked: list[int]) -> int:
    """Writes a flag and reads it back, again and again. Returns how often; any other answer than the right one ends it."""
    number = 0
    while not stop.is_set():
        number += 1
        written = await api.put(f"/v1/flags/{name}", json={"enabled": True, "variant": f"v{number}"})
        assert written.is_success, written.text
        answer = await api.get(f"/v1/flags/{name}", params=seen(written))
        assert answer.status_code == 200, answer.text
        # A machine that is busy may not show it in time, and says so.
        assert answer.json()["variant"] == f"v{number}" or "Warning" in answer.headers
        listed = await api.get("/v1/flags")
        assert listed.status_code == 200, listed.text
        asked[0] += 1
    return number


async def rounds(asked: Sequence[int]) -> None:
    until = asked[0] + _ROUNDS
    async with asyncio.timeout(120):
        while asked[0] < until:
            await asyncio.sleep(0.01)
