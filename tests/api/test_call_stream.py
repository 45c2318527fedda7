"""A call over a WebSocket: its facts from the beginning or from behind one, live, until it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api import call_stream
from api.app import create_app
from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, EndCall, ReceiveCall, Witness
from events.calls.ending import EndedBy, Stage
from events.calls.talking import DisclosureSpoken, Evidence
from events.streams import StreamId
from tests.api.platform import Platform, Tenant, fresh_call_id

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def ringing(running: Platform, tenant: Tenant) -> StreamId:
    call_id, caller = fresh_call_id(), running.key_ring.seal(f"{tenant.id}/caller", "+14155550177")
    stream = StreamId(tenant.id, "calls", call_id)
    ring = ReceiveCall(
        call_sid=f"CA{call_id[-32:]}", caller=caller, caller_ref="ref", number=caller, number_ref="number", agent_id="agt_1",
        agent_version="1", agent_version_hash="0" * 64,
    )  # fmt: skip
    committed = await running.do(CALLS, stream, ring)
    assert await running.ports.rows.wait_for([committed.position], 120)
    return stream


async def answer(running: Platform, stream: StreamId) -> None:
    order = AnswerCall(stream_sid="MZ1", worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)
    await running.do(CALLS, stream, order)


async def end(running: Platform, stream: StreamId) -> None:
    order = EndCall(
        reason="caller-hung-up", ended_by=EndedBy.CALLER, stage=Stage.CONVERSATION, billable=True, duration_ms=10, recognition_ms=10
    )
    await running.do(CALLS, stream, order)


@asynccontextmanager
async def listening(running: Platform, key: str, call_id: str, **params: str) -> AsyncIterator[ClientConnection]:
    url = f"{running.url.replace('http', 'ws', 1)}/v1/calls/{call_id}/live?" + "&".join(f"{name}={value}" for name, value in params.items())
    async with asyncio.timeout(120), connect(url, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
        yield socket


async def told(socket: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(await socket.recv())
    return event


async def refused(running: Platform, key: str | None, call_id: str, **params: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as raised:
        async with listening(running, key or "none", call_id, **params):
            pass
    assert raised.value.response.headers["Content-Type"] == "application/problem+json"
    document = json.loads(raised.value.response.body or b"")
    return raised.value.response.status_code, document["code"]


class TestFollowCall:
    async def test_asks_strangers_for_a_key(self, running: Platform, tenant: Tenant) -> None:
        assert await refused(running, None, (await ringing(running, tenant)).id) == (401, "unauthenticated")

    async def test_is_nobody_elses_and_cannot_tell_that_it_is_there(self, running: Platform, tenant: Tenant, stranger: Tenant) -> None:
        stream = await ringing(running, tenant)
        assert await refused(running, stranger.key, stream.id) == (404, "not-found")
        assert await refused(running, stranger.key, fresh_call_id()) == (404, "not-found")

    async def test_needs_the_scope_of_calls(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = await tenant.api.post(path, json={"label": "flags", "scopes": ["flags:read"]})
        stream = await ringing(running, tenant)
        assert await refused(running, issued.json()["key"], stream.id) == (403, "scope-missing")

    @pytest.mark.parametrize(("after", "code"), [("x", "invalid-request"), ("a/b", "bad-position"), ("-1", "invalid-request")])
    async def test_refuses_a_place_that_is_none(self, running: Platform, tenant: Tenant, after: str, code: str) -> None:
        stream = await ringing(running, tenant)
        assert (await refused(running, tenant.key, stream.id, after=after))[1] == code

    async def test_refuses_a_position_of_something_else(self, running: Platform, tenant: Tenant) -> None:
        stream = await ringing(running, tenant)
        flag = await tenant.api.put("/v1/flags/often", json={"enabled": True, "variant": "on"})
        assert (await refused(running, tenant.key, stream.id, after=flag.headers["Aybiza-Position"]))[1] == "bad-position"

    async def test_tells_the_whole_call_and_closes_when_it_ends(self, running: Platform, tenant: Tenant) -> None:
        stream = await ringing(running, tenant)
        async with listening(running, tenant.key, stream.id) as socket:
            first = await told(socket)
            assert (first["type"], first["subject"], first["aybizaversion"]) == ("call-received.v1", f"calls/{stream.id}", 1)
            await answer(running, stream)
            await end(running, stream)
            later = [await told(socket), await told(socket)]
            assert [event["aybizaversion"] for event in later] == [2, 3]
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == call_stream.ENDED
        # On from behind any of them: by version, or by position.
        for after in ("2", later[0]["aybizaposition"]):
            async with listening(running, tenant.key, stream.id, after=after) as socket:
                found = [json.loads(message) async for message in socket]
            assert found == later[1:]

    async def test_is_open_to_a_browser_that_has_no_headers(self, running: Platform, tenant: Tenant) -> None:
        stream = await ringing(running, tenant)
        url = f"{running.url.replace('http', 'ws', 1)}/v1/calls/{stream.id}/live"
        async with asyncio.timeout(120), connect(url, subprotocols=["cloudevents.json", f"bearer.{tenant.key}"]) as socket:  # type: ignore[list-item]
            assert socket.subprotocol == "cloudevents.json"
            assert (await told(socket))["aybizaversion"] == 1

    async def test_closes_on_who_takes_what_comes_too_slowly(
        self, running: Platform, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(call_stream, "_MOST_WAITING", 2)
        stream = await ringing(running, tenant)
        said: list[Any] = []
        heard, read = asyncio.Event(), asyncio.Event()

        async def send(message: Any) -> None:
            # The line is full behind the first message; what closes it comes through once the client reads.
            if message["type"] == "websocket.send" and said[-1]["type"] == "websocket.send":
                await read.wait()
            said.append(message)
            heard.set()

        async def receive() -> Any:
            if not said:
                return {"type": "websocket.connect"}
            return await asyncio.Event().wait()

        scope = {
            "type": "websocket", "path": f"/v1/calls/{stream.id}/live", "raw_path": b"", "query_string": b"", "subprotocols": [],
            "headers": [(b"authorization", f"Bearer {tenant.key}".encode())], "extensions": {},
        }  # fmt: skip
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            tasks.create_task(create_app(running.ports)(scope, receive, send))
            while len(said) < 2:
                await heard.wait()
                heard.clear()
            await answer(running, stream)
            for at in range(3):
                await running.do(
                    CALLS, stream, Witness(fact=DisclosureSpoken(started_ms=0, heard_ms=at, evidence=Evidence.ESTIMATED, attempt=at + 1))
                )
        assert [message["type"] for message in said] == ["websocket.accept", "websocket.send", "websocket.close"]
        assert (said[-1]["code"], said[-1]["reason"]) == call_stream.TOO_SLOW
