"""The carrier's emulator is as strict as the carrier: playout, TwiML, media messages, and a caller who goes by ear."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from infra.emulators.twilio.caller import Caller, Line
from infra.emulators.twilio.carrier import CarrierCall
from infra.emulators.twilio.media import MediaStream, StreamBroken
from infra.emulators.twilio.playout import FRAME_BYTES, LIMIT_BYTES, SILENCE, Playout
from infra.emulators.twilio.twiml import Hangup, Redirect, Say, Stream, TwimlRefused, read_twiml
from realtime.audio import encode

TONE = encode((8000 * np.sin(np.arange(FRAME_BYTES) * 0.25)).astype(np.int16))


class TestPlayout:
    def test_plays_20_ms_a_tick_and_fills_the_last_frame_with_silence(self) -> None:
        playout = Playout()
        playout.add(b"\x01" * 200)
        assert playout.tick()[0] == b"\x01" * 160
        assert playout.tick()[0] == b"\x01" * 40 + SILENCE[:120]
        assert playout.tick()[0] is None

    def test_returns_a_mark_when_the_audio_before_it_has_played(self) -> None:
        playout = Playout()
        playout.add(b"\x01" * 320)
        playout.mark("end")
        assert [playout.tick()[1] for _ in range(3)] == [[], ["end"], []]

    def test_returns_a_mark_at_once_when_nothing_is_buffered(self) -> None:
        playout = Playout()
        playout.mark("now")
        assert playout.tick() == (None, ["now"])

    def test_returns_all_marks_after_a_clear_and_plays_nothing_more(self) -> None:
        playout = Playout()
        playout.add(b"\x01" * 1600)
        playout.mark("a")
        playout.mark("b")
        playout.tick()
        playout.clear()
        assert playout.tick() == (None, ["a", "b"])

    def test_drops_what_lies_beyond_ten_minutes(self) -> None:
        playout = Playout()
        playout.add(bytes(LIMIT_BYTES + 5))
        playout.add(bytes(5))
        assert (len(playout.queued), playout.dropped_bytes, playout.warnings) == (LIMIT_BYTES, 10, [31931])


class TestTwiml:
    def test_reads_the_documents_of_a_call(self) -> None:
        document = (
            '<Response><Say>Hello</Say><Connect><Stream url="wss://h/media"><Parameter name="token" value="t&amp;1"/></Stream></Connect>'
            '<Redirect method="POST">/next?call=1</Redirect><Hangup/></Response>'
        )
        assert read_twiml(document, "https://h/twilio/voice") == [
            Say(text="Hello"),
            Stream(url="wss://h/media", parameters={"token": "t&1"}),
            Redirect(url="https://h/next?call=1"),
            Hangup(),
        ]

    @pytest.mark.parametrize(
        ("document", "code"),
        [
            ("<Response><Connect>", 12100),
            ("<Other/>", 12102),
            ("<Response><Dance/></Response>", 12200),
            ('<Response><Connect><Stream url="wss://h/media?token=1"/></Connect></Response>', 31920),
            ('<Response><Connect><Stream url="ws://example.org/media"/></Connect></Response>', 31921),
            (f'<Response><Connect><Stream url="wss://h/m"><Parameter name="a" value="{"x" * 500}"/></Stream></Connect></Response>', 12200),
        ],
    )
    def test_refuses_what_the_carrier_refuses(self, document: str, code: int) -> None:
        with pytest.raises(TwimlRefused) as refused:
            read_twiml(document, "https://h/")
        assert refused.value.code == code


def stream() -> MediaStream:
    return MediaStream("CA1", "MZ1", "AC1", {}, Caller(lines=()), lambda *_: None)


class TestMediaMessages:
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("no json", 31951),
            ("[]", 31951),
            (json.dumps({"event": "media", "streamSid": "MZ2", "media": {"payload": ""}}), 31951),
            (json.dumps({"event": "media", "streamSid": "MZ1", "media": {"payload": "*"}}), 31951),
            (json.dumps({"event": "mark", "streamSid": "MZ1"}), 31951),
            (json.dumps({"event": "dance", "streamSid": "MZ1"}), 31924),
        ],
    )
    def test_break_the_stream_when_they_are_not_the_protocols(self, text: str, code: int) -> None:
        with pytest.raises(StreamBroken) as broken:
            stream()._take(text)  # noqa: SLF001 - the socket around it is aiohttp's
        assert broken.value.code == code


def run(caller: Caller, heard: list[bytes | None]) -> list[bool]:
    """For each tick whether the caller speaks."""
    return [caller.tick(20 * tick, frame) != SILENCE for tick, frame in enumerate(heard)]


class TestCaller:
    def test_waits_for_the_agent_to_fall_silent(self) -> None:
        caller = Caller(lines=[Line(text="hello", mulaw=TONE * 2, after_silence_ms=200)])
        assert run(caller, [None] * 20) == [False] * 20
        assert run(caller, [TONE] * 10 + [None] * 12) == [False] * 19 + [True, True, False]
        assert [line.text for line in caller.said] == ["hello"]

    def test_speaks_over_the_agent_when_the_line_says_so(self) -> None:
        caller = Caller(lines=[Line(text="stop", mulaw=TONE, barge_in_after_ms=100)])
        assert run(caller, [TONE] * 6) == [False, False, False, False, True, False]

    def test_puts_the_phone_down_when_nothing_more_is_to_be_said(self) -> None:
        caller = Caller(lines=(), patience_ms=100)
        run(caller, [None] * 4)
        assert not caller.finished
        run(caller, [None])
        assert caller.finished


Worker = Callable[[web.WebSocketResponse, str], Awaitable[None]]


@asynccontextmanager
async def worker_that(does: Worker) -> AsyncIterator[tuple[CarrierCall, list[str]]]:
    """A carrier's call to a worker that misbehaves once its stream has started; and which paths were asked for."""
    asked: list[str] = []

    async def ring(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/next":
            return web.Response(text="<Response><Say>Sorry.</Say><Hangup/></Response>")
        url = f"ws://127.0.0.1:{request.url.port}/media"
        return web.Response(text=f'<Response><Connect><Stream url="{url}"/></Connect><Redirect>/next</Redirect></Response>')

    async def media(request: web.Request) -> web.WebSocketResponse:
        asked.append(request.path)
        signature = request.headers["X-Twilio-Signature"]
        assert RequestValidator("a token").validate(f"ws://127.0.0.1:{request.url.port}/media", {}, signature)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if '"event":"start"' in message.data:
                await does(socket, json.loads(message.data)["streamSid"])
        return socket

    app = web.Application()
    app.router.add_post("/voice", ring)
    app.router.add_post("/next", ring)
    app.router.add_get("/media", media)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    call = CarrierCall(
        webhook=f"http://127.0.0.1:{runner.addresses[0][1]}/voice", account_sid="AC" + "1" * 32, auth_token="a token", number="+15550100",
        caller_number="+15550199", caller=Caller(lines=(), patience_ms=60_000), to_ear=lambda *_: None,
    )  # fmt: skip
    try:
        yield call, asked
    finally:
        await runner.cleanup()


async def sends_bytes(socket: web.WebSocketResponse, _stream_sid: str) -> None:
    await socket.send_bytes(b"RIFF")


async def dances(socket: web.WebSocketResponse, stream_sid: str) -> None:
    await socket.send_json({"event": "dance", "streamSid": stream_sid})


async def speaks_to_another(socket: web.WebSocketResponse, _stream_sid: str) -> None:
    await socket.send_json({"event": "clear", "streamSid": "MZ0"})


async def leaves(socket: web.WebSocketResponse, _stream_sid: str) -> None:
    await socket.close()


class TestAStream:
    @pytest.mark.parametrize(("does", "code"), [(sends_bytes, 31950), (dances, 31924), (speaks_to_another, 31951)])
    async def test_ends_with_the_carriers_code_for_what_the_worker_did(self, does: Worker, code: int) -> None:
        async with asyncio.timeout(120), worker_that(does) as (call, _):
            await call.place()
        assert [note["code"] for note in call.notes if note["event"] == "stream-error"] == [code]

    @pytest.mark.parametrize("does", [sends_bytes, leaves])
    async def test_is_never_opened_again_and_the_document_goes_on(self, does: Worker) -> None:
        async with asyncio.timeout(120), worker_that(does) as (call, asked):
            await call.place()
        assert asked == ["/voice", "/media", "/next"]
        assert [note["event"] for note in call.notes][-3:] == ["say", "hangup", "completed"]
