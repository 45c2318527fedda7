"""What every request meets, and the pages beside the rooms."""

import asyncio
import dataclasses
import os
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from api import front, positions
from api.gate import DEEPEST_BODY, LARGEST_BODY_BYTES
from api.problems import KINDS
from commands.ownership.appending import World
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from events.rooms import prepared_codec
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres import progress as progressing
from infra.adapters.postgres import walls
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import Progress, following
from infra.adapters.postgres.rows import PostgresRows
from infra.local.stack import Addresses
from projections.registry import STORED
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, served
from tests.silence import door_to

pytestmark = pytest.mark.asyncio(loop_scope="package")
JSON = {"Content-Type": "application/json"}


class TestGate:
    async def test_knows_nobody_behind_a_foreign_scheme(self, anonymous: httpx.AsyncClient) -> None:
        for scheme in ("Basic YTpi", "Bearer", "bearer x", "Bearer aybiza_key_0000000000000000_" + "x" * 40):
            answer = await anonymous.get("/v1/agents", headers={"Authorization": scheme})
            assert refusal(answer) == (401, "unauthenticated")

    async def test_asks_for_a_key_where_there_is_nothing(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/v1/nothing")) == (401, "unauthenticated")

    async def test_finds_nothing_where_there_is_nothing(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.get("/v1/nothing")) == (404, "not-found")

    async def test_names_the_methods_that_there_are(self, tenant: Tenant) -> None:
        answer = await tenant.api.put("/v1/agents")
        assert refusal(answer) == (405, "method-not-allowed")
        assert answer.headers["Allow"] == "GET, HEAD, POST"

    async def test_takes_no_body_that_is_too_large(self, tenant: Tenant) -> None:
        body = b'{"name": "' + b"x" * LARGEST_BODY_BYTES + b'"}'
        assert refusal(await tenant.api.post("/v1/agents", content=body, headers=JSON)) == (413, "body-too-large")

    async def test_takes_no_body_that_grows_too_large_without_saying_so(self, tenant: Tenant) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(LARGEST_BODY_BYTES // 1024 + 1):
                yield b"[" * 1024

        assert refusal(await tenant.api.post("/v1/agents", content=parts(), headers=JSON)) == (413, "body-too-large")

    async def test_takes_no_body_that_is_too_deep(self, tenant: Tenant) -> None:
        body = b'{"name": ' + b"[" * DEEPEST_BODY + b"]" * DEEPEST_BODY + b"}"
        assert refusal(await tenant.api.post("/v1/agents", content=body, headers=JSON)) == (422, "body-too-deep")

    async def test_counts_no_brackets_in_texts(self, tenant: Tenant) -> None:
        assert (await tenant.api.post("/v1/agents", json={"name": '[[{"\\' * 40})).status_code == 201

    async def test_goes_on_with_the_callers_trace(self, tenant: Tenant) -> None:
        trace = "0af7651916cd43dd8448eb211c80319c"
        made = await tenant.api.post("/v1/agents", json={"name": "Ann"}, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        assert made.headers["Aybiza-Trace-Id"] == trace

    @pytest.mark.parametrize("traceparent", ["x", f"00-{'0' * 32}-{'0' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"])
    async def test_begins_a_trace_where_the_callers_is_broken(self, tenant: Tenant, traceparent: str) -> None:
        answer = await tenant.api.get("/v1/agents", headers={"traceparent": traceparent})
        assert answer.headers["Aybiza-Trace-Id"] not in traceparent

    async def test_outlives_a_client_that_goes_away_in_its_body(self, running: Platform, tenant: Tenant) -> None:
        host, port = running.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/agents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b"{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await tenant.api.get("/v1/agents")).status_code == 200


class TestIfMatch:
    async def test_is_refused_when_it_is_no_tag(self, tenant: Tenant) -> None:
        answer = await tenant.api.put("/v1/flags/a", json={"enabled": True, "variant": "on"}, headers={"If-Match": "seven"})
        assert refusal(answer) == (400, "bad-precondition")

    async def test_matches_nothing_when_it_is_weak_or_not_ours(self, tenant: Tenant) -> None:
        for tag in ('W/"1"', '"abc"'):
            answer = await tenant.api.put("/v1/flags/a", json={"enabled": True, "variant": "on"}, headers={"If-Match": tag})
            assert refusal(answer) == (412, "precondition-failed")

    async def test_of_what_was_never_there_makes_it_once(self, tenant: Tenant) -> None:
        for status in (200, 412):
            answer = await tenant.api.put("/v1/flags/a", json={"enabled": True, "variant": "on"}, headers={"If-Match": '"0"'})
            assert answer.status_code == status

    @pytest.mark.parametrize("condition", [{"If-None-Match": "*"}, {"If-None-Match": '"1"'}, {"If-Match": "*"}])
    async def test_is_not_passed_over_where_it_says_what_is_not_looked_at(self, tenant: Tenant, condition: dict[str, str]) -> None:
        answer = await tenant.api.put("/v1/flags/a", json={"enabled": True, "variant": "on"}, headers=condition)
        assert refusal(answer) == (400, "bad-precondition")

    async def test_of_anything_is_for_what_is_there(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.delete("/v1/flags/a", headers={"If-Match": "*"})) == (404, "not-found")
        await tenant.api.put("/v1/flags/a", json={"enabled": True, "variant": "on"})
        assert (await tenant.api.delete("/v1/flags/a", headers={"If-Match": "*"})).status_code == 202

    async def test_lets_pass_who_has_seen_the_present_version(self, tenant: Tenant) -> None:
        first = await tenant.api.put("/v1/flags/a", json={"enabled": True, "variant": "on"})
        tag = {"If-Match": first.headers["ETag"]}
        assert (await tenant.api.put("/v1/flags/a", json={"enabled": False, "variant": "on"}, headers=tag)).status_code == 200


class TestHealth:
    async def test_says_what_is_not_as_it_should_be(self, anonymous: httpx.AsyncClient) -> None:
        answer = await anonymous.get("/health")
        assert (answer.status_code, answer.json()["live"], answer.json()["ready"]) == (200, True, True)
        assert {check["name"]: check["why"] for check in answer.json()["checks"]} == {"log": "", "live calls": "Redis is away"}


class TestPages:
    async def test_explain_every_kind_of_problem(self, anonymous: httpx.AsyncClient) -> None:
        listed = (await anonymous.get("/problems")).text
        for code in KINDS:
            page = await anonymous.get(f"/problems/{code}")
            assert page.status_code == 200
            assert f"/problems/{code}" in listed

    async def test_that_take_long_are_made_once_beside_the_loop(self, running: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []

        def long(*_: Any) -> str:
            made.append(threading.get_ident())
            return "long"

        monkeypatch.setattr(front, "document", long)
        async with served(running.ports) as url, httpx.AsyncClient(base_url=url, timeout=120) as client:
            answers = [(await client.get("/asyncapi.json")).json() for _ in range(2)]
        assert (answers, len(made)) == (["long"] * 2, 1)
        assert threading.get_ident() not in made

    async def test_for_people_hold_nothing_from_elsewhere_and_stand_in_no_frame(self, anonymous: httpx.AsyncClient) -> None:
        for path in ("/docs", "/problems", "/problems/not-found"):
            page = await anonymous.get(path)
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]

    async def test_explain_no_problem_that_there_is_not(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/problems/none")) == (404, "not-found")

    async def test_begin_with_what_is_here(self, anonymous: httpx.AsyncClient) -> None:
        assert "/docs" in (await anonymous.get("/")).text
        assert "<a href" in (await anonymous.get("/", headers={"Accept": "text/html"})).text
        assert (await anonymous.get("/docs")).status_code == 200


class TestOutage:
    async def test_of_the_read_models_leaves_writing_alone(self, running: Platform, stack: Addresses, tenant: Tenant) -> None:
        pool = await asyncpg.create_pool(stack.postgres, min_size=1, max_size=1)
        await pool.close()
        rows = PostgresRows(pool, STORED, Progress(pool, STORED))
        away = dataclasses.replace(running.ports, rows=rows, journal=PostgresJournal(pool, prepared_codec()))
        async with served(away) as url, httpx.AsyncClient(base_url=url, headers=tenant.api.headers) as client:
            for path in ("/v1/agents", "/v1/calls/call_1/events", "/v1/calls/call_1"):
                answer = await client.get(path)
                assert refusal(answer) == (503, "reads-unavailable")
                assert (answer.headers["Retry-After"], answer.json()["retryable"]) == ("1", True)
            made = await client.post("/v1/agents", json={"name": "Ann"})
            assert made.status_code == 201
        assert (await tenant.api.get(made.headers["Location"], params=seen(made))).status_code == 200

    async def test_of_the_read_models_is_said_at_once_to_who_waits_for_a_write(
        self, running: Platform, stack: Addresses, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(positions, "_WAIT_SECONDS", 3600)
        written = await tenant.api.put("/v1/flags/greeting", json={"enabled": True, "variant": "v", "description": ""})
        pool = await asyncpg.create_pool(stack.postgres, min_size=1, max_size=1)
        pool.terminate()
        async with following(pool, STORED) as progress:
            away = dataclasses.replace(running.ports, rows=PostgresRows(pool, STORED, progress))
            async with served(away) as url, httpx.AsyncClient(base_url=url, headers=tenant.api.headers, timeout=120) as client:
                for _ in range(2):
                    answer = await client.get("/v1/flags", params=seen(written))
                    assert refusal(answer) == (503, "reads-unavailable")
                    assert (answer.headers["Retry-After"], answer.headers["Aybiza-Position"]) == ("1", written.headers["Aybiza-Position"])

    async def test_of_a_database_that_is_silent_is_said_in_time_and_leaves_writing_alone(
        self, running: Platform, stack: Addresses, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module, name in ((walls, "_WORD_SECONDS"), (walls, "_PLACE_SECONDS"), (progressing, "_PLACE_SECONDS")):
            monkeypatch.setattr(module, name, 0.5)
        dsn = urlsplit(stack.postgres)._replace(path=f"/{running.prefix}").geturl()
        written = await tenant.api.put("/v1/flags/greeting", json={"enabled": True, "variant": "v", "description": ""})
        async with AsyncExitStack() as clean_up:
            door = await clean_up.enter_async_context(door_to(dsn))
            pool = await clean_up.enter_async_context(connected(door.dsn, purpose="silent", most=2))
            wall = await clean_up.enter_async_context(walls.behind_the_wall(door.dsn, most=2))
            progress = await clean_up.enter_async_context(following(pool, STORED))
            rows = PostgresRows(pool, STORED, progress, wall)
            silent = dataclasses.replace(running.ports, rows=rows, journal=PostgresJournal(wall, prepared_codec()))
            url = await clean_up.enter_async_context(served(silent))
            client = await clean_up.enter_async_context(httpx.AsyncClient(base_url=url, headers=tenant.api.headers, timeout=30))
            assert (await client.get("/v1/flags", params=seen(written))).json()["data"]
            monkeypatch.setattr(positions, "_WAIT_SECONDS", 0.3)
            door.silent.set()
            for path in ("/v1/flags", "/v1/flags/greeting", "/v1/calls/call_1/events"):
                answer = await client.get(path, params=seen(written))
                assert refusal(answer) == (503, "reads-unavailable")
                assert (answer.headers["Retry-After"], answer.headers["Aybiza-Position"]) == ("1", written.headers["Aybiza-Position"])
            made = await client.post("/v1/agents", json={"name": "Ann"})
            assert made.status_code == 201
            late = await client.get("/v1/agents", params=seen(made))
            assert (late.status_code, late.headers["Aybiza-Position"]) == (503, made.headers["Aybiza-Position"])

    async def test_of_the_log_is_said_and_changes_nothing(self, running: Platform, stack: Addresses, tenant: Tenant, unique: str) -> None:
        codec = prepared_codec()
        wanted = [manifest for manifest in manifests() if manifest.room in ("agents", "schemas")]
        counts = await ensure_topics(stack.kafka, wanted, "local", prefix=unique)
        topic = f"{unique}.agents.v1"
        async with KafkaLog(stack.kafka) as kafka:
            world = World(log=kafka, schemas=SchemaTopic(kafka, codec, f"{unique}.schemas"), now_ms=lambda: 1, draw=os.urandom)
            async with Owners({"agents": (topic, counts[topic])}, DECIDERS, codec, world, address="gone") as gone:
                pass
        async with AsyncExitStack() as clean_up:
            url = await clean_up.enter_async_context(served(dataclasses.replace(running.ports, dispatch=gone)))
            client = await clean_up.enter_async_context(httpx.AsyncClient(base_url=url, headers=tenant.api.headers))
            answer = await client.post("/v1/agents", json={"name": "Ann"})
            assert refusal(answer) == (503, "log-unavailable")
            assert (answer.headers["Retry-After"], answer.json()["retryable"]) == ("1", True)
            assert (await client.get("/v1/agents")).json()["data"] == []
