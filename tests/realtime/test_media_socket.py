"""Media sockets over real connections: no token, no call; a wrong frame, no socket; and the process lives."""

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
from twilio.request_validator import RequestValidator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from events.calls.ending import CallEnded, EndedBy, Stage
from events.calls.ringing import CallAnswered
from realtime.worker import WorkerSettings
from tests.realtime.office import AUTH_TOKEN, CALLER, NUMBER, Office, open_office

SILENT_FRAME = base64.b64encode(b"\xff" * 160).decode()


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with open_office(lambda _: [], settings=WorkerSettings(name="w", start_within_seconds=0.3)) as office:
        yield office


@dataclass(slots=True)
class Caller:
    """The carrier's end of one call: rings, and opens a socket when told to."""

    office: Office
    call_sid: str = "CA" + "1" * 32
    stream_sid: str = "MZ" + "1" * 32
    token: str = ""
    frames: list[dict[str, Any]] = field(default_factory=list)

    async def rings(self) -> "Caller":
        form = {"CallSid": self.call_sid, "From": CALLER, "To": NUMBER}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(self.office.webhook, form)
        async with httpx.AsyncClient() as http:
            answer = await http.post(self.office.webhook, data=form, headers={"X-Twilio-Signature": signature})
        parameter = ET.fromstring(answer.text).find(".//Parameter")  # noqa: S314 - our own answer
        assert parameter is not None
        self.token = parameter.get("value") or ""
        return self

    @asynccontextmanager
    async def socket(self, *, signature: str | None = None, path: str = "") -> AsyncIterator[ClientConnection]:
        url = self.office.media_url + path
        signed = RequestValidator(AUTH_TOKEN).compute_signature(url, {}) if signature is None else signature
        headers = {"X-Twilio-Signature": signed} if signed else {}
        async with connect(url, additional_headers=headers, compression=None) as socket:
            yield socket

    async def starts(self, socket: ClientConnection, **changes: Any) -> None:
        await self.sends(socket, {"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "accountSid": "AC", "streamSid": self.stream_sid, "callSid": self.call_sid, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": {"token": self.token},
        }  # fmt: skip
        await self.sends(socket, {"event": "start", "sequenceNumber": "1", "streamSid": self.stream_sid, "start": start | changes})

    async def sends(self, socket: ClientConnection, message: Any) -> None:
        await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def media(self, at_ms: int = 0, **changes: Any) -> dict[str, Any]:
        body = {"track": "inbound", "chunk": "1", "timestamp": str(at_ms), "payload": SILENT_FRAME}
        return {"event": "media", "sequenceNumber": "2", "streamSid": self.stream_sid, "media": body} | changes

    async def is_closed(self, socket: ClientConnection) -> tuple[int | None, str]:
        """Reads on until the other side closes; its code and reason."""
        async with asyncio.timeout(120):
            try:
                while True:
                    self.frames.append(json.loads(await socket.recv()))
            except ConnectionClosed:
                return socket.close_code, socket.close_reason or ""


@pytest.fixture
async def caller(office: Office) -> Caller:
    return await Caller(office).rings()


class TestHandshake:
    async def test_with_a_wrong_signature_is_refused(self, office: Office, caller: Caller) -> None:
        with pytest.raises(InvalidStatus) as raised:
            async with caller.socket(signature="wrong"):
                pass
        assert raised.value.response.status_code == 403
        assert office.door["handshakes-forged"] == 1

    async def test_anywhere_else_finds_nothing(self, caller: Caller) -> None:
        with pytest.raises(InvalidStatus) as raised:
            async with caller.socket(path="/else"):
                pass
        assert raised.value.response.status_code == 404

    async def test_without_a_signature_depends_on_the_token(self, caller: Caller) -> None:
        async with caller.socket(signature="") as socket:
            await caller.starts(socket)
            answered = await caller.office.log.until(CallAnswered)
            assert answered.stream_sid == caller.stream_sid


class TestToken:
    async def test_that_is_missing_opens_nothing(self, office: Office, caller: Caller) -> None:
        caller.token = ""
        async with caller.socket() as socket:
            await caller.starts(socket)
            assert await caller.is_closed(socket) == (1008, "token-missing")
        assert office.worker.counters["token-missing"] == 1
        assert office.worker.live_calls == 0

    async def test_that_was_used_opens_nothing(self, office: Office, caller: Caller) -> None:
        async with caller.socket() as first, caller.socket() as second:
            await caller.starts(first)
            await office.log.until(CallAnswered)
            await caller.starts(second)
            assert await caller.is_closed(second) == (1008, "token-used")
        assert office.worker.counters["token-used"] == 1

    async def test_of_another_call_opens_nothing(self, office: Office, caller: Caller) -> None:
        other = await Caller(office, call_sid="CA" + "2" * 32).rings()
        other.token = caller.token
        async with other.socket() as socket:
            await other.starts(socket)
            assert await other.is_closed(socket) == (1008, "token-forged")

    async def test_of_a_call_that_has_a_stream_opens_no_second_one(self, office: Office, caller: Caller) -> None:
        async with caller.socket() as first:
            await caller.starts(first)
            await office.log.until(CallAnswered)
            await caller.rings()
            async with caller.socket() as second:
                await caller.starts(second)
                assert await caller.is_closed(second) == (1008, "call-has-a-stream")

    async def test_has_to_come_soon(self, office: Office, caller: Caller) -> None:
        async with caller.socket() as socket:
            assert await caller.is_closed(socket) == (1008, "start-overdue")
        assert office.worker.counters["start-overdue"] == 1


class TestFrame:
    @pytest.mark.parametrize(
        ("message", "code", "reason"),
        [
            (b"\x00\x01", 1003, "binary-frame"),
            ("{", 1008, "malformed-frame"),
            ('{"event":"fax","streamSid":"x"}', 1008, "unknown-event"),
            ('{"event":"media","streamSid":"MZ2","media":{"timestamp":"1","payload":""}}', 1008, "foreign-stream"),
            ('{"event":"connected","protocol":"Call"}', 1008, "untimely-frame"),
        ],
    )
    async def test_that_is_wrong_closes_the_socket_and_ends_the_call_by_name(
        self, office: Office, caller: Caller, message: str | bytes, code: int, reason: str
    ) -> None:
        async with caller.socket() as socket:
            await caller.starts(socket)
            await office.log.until(CallAnswered)
            await caller.sends(socket, message)
            assert await caller.is_closed(socket) == (code, reason)
        end = await office.log.until(CallEnded)
        assert (end.reason, end.ended_by, end.billable) == (reason, EndedBy.CARRIER, False)
        assert office.worker.counters[reason] == 1

    async def test_that_is_wrong_before_the_start_ends_no_call(self, office: Office, caller: Caller) -> None:
        async with caller.socket() as socket:
            await caller.sends(socket, b"\x00")
            assert await caller.is_closed(socket) == (1003, "binary-frame")
        assert len(office.log.facts("calls")) == 1

    async def test_that_is_wrong_harms_no_other_call(self, office: Office, caller: Caller) -> None:
        other = await Caller(office, call_sid="CA" + "2" * 32, stream_sid="MZ" + "2" * 32).rings()
        async with caller.socket() as bad, other.socket() as good:
            await caller.starts(bad)
            await other.starts(good)
            await office.log.until(CallAnswered, count=2)
            await caller.sends(bad, "{")
            await caller.is_closed(bad)
            await other.sends(good, other.media())
            await other.sends(good, {"event": "stop", "sequenceNumber": "3", "streamSid": other.stream_sid, "stop": {}})
            assert (await other.is_closed(good))[0] == 1000
        assert {end.reason for end in [await office.log.until(CallEnded, count=n) for n in (1, 2)]} == {"malformed-frame", "caller-hung-up"}


class TestEnd:
    async def test_by_stop_is_the_callers(self, office: Office, caller: Caller) -> None:
        async with caller.socket() as socket:
            await caller.starts(socket)
            await office.log.until(CallAnswered)
            await caller.sends(socket, {"event": "stop", "sequenceNumber": "3", "streamSid": caller.stream_sid, "stop": {}})
            assert (await caller.is_closed(socket))[0] == 1000
        end = await office.log.until(CallEnded)
        assert (end.reason, end.ended_by, end.billable) == ("caller-hung-up", EndedBy.CALLER, True)
        assert end.stage in (Stage.CONNECTING, Stage.GREETING)

    async def test_by_a_broken_line_is_the_carriers(self, office: Office, caller: Caller) -> None:
        async with caller.socket() as socket:
            await caller.starts(socket)
            await office.log.until(CallAnswered)
            socket.transport.abort()
        end = await office.log.until(CallEnded)
        assert (end.reason, end.ended_by) == ("media-lost", EndedBy.CARRIER)

    async def test_leaves_nothing_behind(self, office: Office, caller: Caller) -> None:
        before = asyncio.all_tasks()
        async with caller.socket() as socket:
            await caller.starts(socket)
            await office.log.until(CallAnswered)
            await caller.sends(socket, {"event": "stop", "sequenceNumber": "3", "streamSid": caller.stream_sid, "stop": {}})
            await caller.is_closed(socket)
        await office.worker.idle()
        assert office.worker.live_calls == 0
        assert asyncio.all_tasks() <= before

    async def test_of_the_worker_ends_the_call_and_says_so(self, office: Office, caller: Caller) -> None:
        async with caller.socket() as socket:
            await caller.starts(socket)
            await office.log.until(CallAnswered)
            await office.worker.stop()
            assert (await caller.is_closed(socket))[0] == 1001
        end = await office.log.until(CallEnded)
        assert (end.reason, end.ended_by, end.billable) == ("worker-stopped", EndedBy.PLATFORM, False)


class TestNonsense:
    async def test_leaves_no_call_without_an_end_and_no_task_behind(self, office: Office) -> None:
        draw = random.Random(7)
        for number in range(40):
            caller = await Caller(office, call_sid=f"CA{number:032x}", stream_sid=f"MZ{number:032x}").rings()
            async with caller.socket() as socket:
                if draw.random() < 0.9:
                    await caller.starts(socket)
                try:
                    for _ in range(draw.randrange(30)):
                        await caller.sends(socket, nonsense(caller, draw))
                except ConnectionClosed:
                    continue
        for number in range(office.worker.counters["calls"]):
            await office.log.until(CallEnded, count=number + 1)
        await office.worker.idle()
        assert office.worker.live_calls == 0
        assert office.worker.counters["calls-crashed"] == 0


def nonsense(caller: Caller, draw: random.Random) -> str | bytes | dict[str, Any]:
    """Mostly what the carrier sends, now and then something else."""
    mark = {"event": "mark", "sequenceNumber": "4", "streamSid": caller.stream_sid}
    choices: list[str | bytes | dict[str, Any]] = [
        caller.media(draw.randrange(100_000)),
        caller.media(draw.randrange(1000), streamSid="MZ"),
        caller.media() | {"media": {"track": "inbound", "timestamp": str(draw.randrange(10**11)), "payload": "AAAA"}},
        mark | {"mark": {"name": f"g{draw.randrange(3)}:u{draw.randrange(5)}:end"}},
        mark | {"mark": {"name": ["x"]}},
        {"event": "dtmf", "streamSid": caller.stream_sid, "dtmf": {"track": "inbound_track", "digit": "1"}},
        {"event": "stop", "streamSid": caller.stream_sid, "stop": {}},
        draw.randbytes(20),
        draw.randbytes(20).decode("latin-1"),
        "x" * draw.randrange(60_000),
    ]
    return draw.choices(choices, weights=[20, 1, 3, 5, 1, 3, 1, 1, 1, 1])[0]
