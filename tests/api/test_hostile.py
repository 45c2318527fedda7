"""Requests that mean harm, or that break off: they are answered, nothing of theirs is obeyed, and nobody else waits for them."""

import asyncio
import dataclasses
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request, WebSocket
from websockets.asyncio.client import connect

from api import positions, writing
from api.app import create_app
from commands.dispatch import Committed
from infra.apps.listening import listen
from infra.apps.web import Impatient, serving
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, served

pytestmark = pytest.mark.asyncio(loop_scope="package")
# Two by default; `API_EXAMPLES=6` and more: all of them.
TEXTS = int(os.environ.get("API_EXAMPLES", "2"))
INJECTIONS = (
    "' OR '1'='1",
    "x'; DROP TABLE pg_class; --",
    "\\'; SELECT pg_sleep(60)--",
    "$1",
    "{{7*7}}",
    "../../etc/passwd",
)


def filled(path: str, operation: Mapping[str, Any], text: str) -> tuple[str, dict[str, str]]:
    """The address and the query of an operation with the text in each of its parameters."""
    query = {}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", quote(text, safe=""))
        elif parameter["in"] == "query":
            query[parameter["name"]] = text
    return path, query


class TestInjection:
    async def test_is_text_in_every_parameter_of_every_operation(self, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        kept = await tenant.api.post("/v1/agents", json={"name": "Ann"})
        document = (await anonymous.get("/openapi.json")).json()
        asked = 0
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if not path.startswith("/v1/") or not operation.get("parameters"):
                    continue
                for number, text in enumerate(INJECTIONS[:TEXTS]):
                    address, query = filled(path, operation, text)
                    # All at once, and for one text each alone: the first one that is refused must not hide the others.
                    alone = [{name: value} for name, value in query.items()] if number == 0 else []
                    for params in (query, *alone):
                        if "wait_seconds" in query:
                            params["wait_seconds"] = "0"
                        body = {"name": text, "label": text} if method in {"post", "put", "patch"} else None
                        answer = await tenant.api.request(method, address, params=params, json=body)
                        assert answer.status_code < 500, (method, address, params, answer.text)
                        if answer.is_error:
                            refusal(answer)
                        asked += 1
        assert asked > 200
        assert (await tenant.api.get(kept.headers["Location"], params=seen(kept))).json()["name"] == "Ann"

    async def test_is_text_in_headers(self, tenant: Tenant) -> None:
        for header in ("If-Match", "Aybiza-Version", "Idempotency-Key", "traceparent", "Aybiza-Organisation"):
            for text in INJECTIONS:
                answer = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"}, headers={header: text})
                assert answer.status_code < 500, (header, text)


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'"text"',
            b"{",
            b"\xff\xfe",
            b'{"a":' * 100_000,
            b'{"name": 1e999999}',
            b'{"name": "\\ud800"}',
        ],
    )
    async def test_that_are_no_requests_are_refused(self, tenant: Tenant, body: bytes) -> None:
        for path in ("/v1/agents", "/v1/exports", "/v1/numbers"):
            answer = await tenant.api.post(path, content=body, headers={"Content-Type": "application/json"})
            assert refusal(answer)[0] in {413, 422}, (path, body[:20])

    async def test_that_are_too_large_are_refused_before_they_are_read(self, tenant: Tenant) -> None:
        answer = await tenant.api.post("/v1/agents", content=b" " * 300_000, headers={"Content-Type": "application/json"})
        assert refusal(answer) == (413, "body-too-large")


class Quick(Impatient):
    head_seconds = 0.2


ASKED = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def quick(app: FastAPI) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the app, served with little patience."""
    listening = listen("127.0.0.1", None)
    async with serving(app, listening, Quick):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
        try:
            yield reader, writer
        finally:
            writer.close()


async def until_hung_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes) -> None:
    """Send this now and then, until the other side has enough."""
    ended = asyncio.ensure_future(reader.read())
    while not ended.done():
        writer.write(drip)
        await asyncio.wait([ended], timeout=0.02)
    with suppress(OSError):
        await ended


def told() -> FastAPI:
    """Answers with what it was asked: method, `Authorization`, body."""
    app = FastAPI()

    @app.post("/")
    async def tell(request: Request) -> list[str | None]:
        return [request.method, request.headers.get("authorization"), (await request.body()).decode()]

    return app


class TestSlowClients:
    @pytest.mark.parametrize("drip", [b"", b"GET / HTTP/1.1\r\n", b"GET /x"])
    async def test_that_never_finish_their_headers_are_hung_up_on(self, drip: bytes) -> None:
        listening = listen("127.0.0.1", None)
        async with serving(FastAPI(), listening, Quick):
            async with asyncio.timeout(120):
                reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
                try:
                    writer.write(drip)
                    while not reader.at_eof():
                        # A byte now and then must not keep it open.
                        writer.write(b"x" if drip else b"")
                        await asyncio.wait([asyncio.ensure_future(reader.read(100))], timeout=0.02)
                except OSError:
                    pass
                finally:
                    writer.close()

    async def test_that_send_nothing_but_empty_lines_are_hung_up_on(self) -> None:
        async with quick(FastAPI()) as (reader, writer), asyncio.timeout(20):
            writer.write(ASKED)
            assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
            await until_hung_up(reader, writer, b"\r\n")

    async def test_that_drip_a_body_which_nobody_wants_are_hung_up_on(self, running: Platform) -> None:
        async with quick(create_app(running.ports)) as (reader, writer), asyncio.timeout(20):
            writer.write(b"POST /v1/agents HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{")
            assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 401 Unauthorized\r\n"
            await until_hung_up(reader, writer, b"x")

    async def test_that_ask_again_on_a_connection_are_answered(self) -> None:
        listening = listen("127.0.0.1", None)
        async with serving(FastAPI(), listening, Quick):
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/openapi.json"
            async with httpx.AsyncClient() as client:
                for _ in range(3):
                    assert (await client.get(url)).status_code == 200

    async def test_whose_body_never_comes_keep_nobody_waiting(self, running: Platform, tenant: Tenant) -> None:
        port = urlsplit(running.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/agents HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {tenant.key}\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
        await writer.drain()
        assert (await tenant.api.get("/v1/agents")).status_code == 200
        writer.close()
        del reader


class TestFraming:
    """What a request is, and where it ends, is said once, and nobody between a client and us could have read it otherwise."""

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /openapi.json HTTP/1.1\r\n\r\n",
            b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000,
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 20_000 + b"\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 600_000,
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 100,
        ],
    )
    async def test_that_is_in_doubt_ends_the_connection(self, head: bytes) -> None:
        app, never = FastAPI(), asyncio.Event()

        @app.get("/slow")
        async def slow() -> None:
            await never.wait()

        async with quick(app) as (reader, writer), asyncio.timeout(20):
            writer.write(head)
            # Who still sends when it is over may not come to read why.
            with suppress(ConnectionResetError) if len(head) > 50_000 else nullcontext():
                answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer[:200]
            never.set()

    async def test_takes_nothing_behind_a_body_for_a_header(self) -> None:
        async with quick(told()) as (reader, writer), asyncio.timeout(20):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: b\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(17) == b'["POST",null,"x"]'

    async def test_of_a_client_that_would_rather_speak_another_protocol_is_answered_in_this_one(self) -> None:
        asked = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nAuthorization: b\r\nContent-Length: 3\r\n\r\nabc"
        async with quick(told()) as (reader, writer), asyncio.timeout(20):
            writer.write(asked + asked[:40])
            for rest in (asked[40:], b""):
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(18) == b'["POST","b","abc"]'
                writer.write(rest)

    async def test_of_a_websocket_is_its_own(self) -> None:
        app, later = FastAPI(), asyncio.Event()

        @app.websocket("/")
        async def echo(socket: WebSocket) -> None:
            await socket.accept()
            while True:
                await socket.send_text(await socket.receive_text())

        listening = listen("127.0.0.1", None)
        async with serving(app, listening, Quick), connect(f"ws://127.0.0.1:{listening.getsockname()[1]}/") as socket:
            # Longer than a head may take.
            asyncio.get_running_loop().call_later(2 * Quick.head_seconds, later.set)
            await later.wait()
            await socket.send("still there")
            assert await socket.recv() == "still there"


class TestRepeats:
    async def test_of_a_request_that_takes_its_time_are_told_so_and_have_its_answer_later(
        self, running: Platform, tenant: Tenant, unique: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writing, "_AGAIN_SECONDS", 0.05)
        come, go = asyncio.Event(), asyncio.Event()

        async def slow(*command: Any, **more: Any) -> Committed:
            come.set()
            await go.wait()
            return await running.ports.dispatch(*command, **more)

        headers = {"Idempotency-Key": unique, "Authorization": f"Bearer {tenant.key}"}
        async with served(dataclasses.replace(running.ports, dispatch=slow)) as url:
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client, asyncio.TaskGroup() as tasks:
                first = tasks.create_task(client.post("/v1/agents", json={"name": "Ann"}))
                await come.wait()
                again = await client.post("/v1/agents", json={"name": "Ann"})
                assert refusal(again) == (409, "request-in-flight")
                assert again.headers["Retry-After"] == "1"
                go.set()
                made = await first
            late = await tenant.api.post("/v1/agents", json={"name": "Ann"}, headers={"Idempotency-Key": unique})
        assert (made.status_code, late.json()["id"]) == (201, made.json()["id"])

    async def test_have_the_first_answer_whole(self, tenant: Tenant, unique: str) -> None:
        agent = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        number = f"+1303555{int(unique[-6:], 16) % 9_000 + 1000:04d}"
        version = {"name": "Ann", "version": "1", "system_prompt": "You are Ann.", "greeting": "Hello."}
        for method, path, body in (
            ("POST", "/v1/agents", {"name": "Bea"}),
            ("POST", f"/v1/agents/{agent}/versions", version),
            ("PUT", "/v1/flags/lamp", {"enabled": True, "variant": "on"}),
            ("POST", "/v1/numbers", {"number": number, "agent_id": agent}),
            ("POST", "/v1/webhooks", {"url": "https://example.com/"}),
            ("POST", "/v1/exports", {"types": ["flag-set"]}),
        ):
            headers = {"Idempotency-Key": f"{unique}{path}"}
            first = await tenant.api.request(method, path, json=body, headers=headers)
            assert first.is_success, first.text
            again = await tenant.api.request(method, path, json=body, headers=headers)
            assert (again.status_code, again.json()) == (first.status_code, first.json()), path
            for header in ("Location", "ETag", "Aybiza-Position"):
                assert again.headers.get(header) == first.headers.get(header), (path, header)

    async def test_of_what_changes_nothing_say_since_when_it_is_so(self, tenant: Tenant) -> None:
        first = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        again = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        assert again.json() == first.json()


class TestPositions:
    async def test_that_never_come_are_answered_in_time_with_a_warning(self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(positions, "_WAIT_SECONDS", 0.05)
        written = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        topic, partition, offset, *fence = written.headers["Aybiza-Position"].split("/")
        beyond = "/".join([topic, partition, str(int(offset) + 1_000_000), *fence])
        answer = await tenant.api.get("/v1/flags", params={"min-position": beyond})
        assert answer.status_code == 200
        assert "older than min-position" in answer.headers["Warning"]
        nothing = await tenant.api.get("/v1/flags/later", params={"min-position": beyond})
        assert refusal(nothing) == (404, "not-found")
        assert "older than min-position" in nothing.headers["Warning"]

    async def test_of_another_topic_are_refused(self, tenant: Tenant) -> None:
        written = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        foreign = "elsewhere" + written.headers["Aybiza-Position"]
        assert refusal(await tenant.api.get("/v1/flags", params={"min-position": foreign})) == (400, "bad-position")
        assert refusal(await tenant.api.get("/v1/flags", params={"as-of": foreign})) == (400, "bad-as-of")


class TestProblems:
    async def test_have_all_that_their_reader_needs(self, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        answers = [
            await tenant.api.get("/v1/agents", params={"fields": "x"}),
            await tenant.api.get("/v1/calls/x", headers={"Aybiza-Version": "x"}),
            await tenant.api.post("/v1/exports", json={"since": "x"}),
            await tenant.api.post("/v1/agents/agt_x/branches", json={"name": "main"}),
        ]
        for answer in answers:
            refusal(answer)
            document = json.loads(answer.content)
            assert len(document["trace_id"]) == 32
            assert document["instance"].startswith("/v1/")
            assert (await anonymous.get(document["type"])).status_code == 200
