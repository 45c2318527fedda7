"""Twilio's media streams keep what a call expects of its line, over our server and the strict emulator of its wire."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

import aiohttp
import pytest

from infra.adapters.picows_media import MediaServer
from infra.emulators.twilio.caller import Caller
from infra.emulators.twilio.media import MediaStream
from infra.emulators.twilio.playout import FRAME_BYTES, Playout
from realtime.carrier.media_socket import MediaSocket, Transport
from realtime.carrier.media_streams import Start
from realtime.loop.conductor import Conductor, Line
from tests.contracts.carrier_line import SILENT, CallDouble, LineContract, Rig

CALL, STREAM = "CA" + "1" * 32, "MZ" + "1" * 32


@dataclass(slots=True)
class Speaker(Caller):
    """A caller who says what a test wants to have said."""

    frames: deque[bytes] = field(default_factory=deque)
    keys: deque[str] = field(default_factory=deque)
    gone: bool = False

    def tick(self, at_ms: int, heard: bytes | None) -> bytes:
        return self.frames.popleft() if self.frames else SILENT

    def pressed(self) -> list[str]:
        return [self.keys.popleft()] if self.keys else []

    @property
    def finished(self) -> bool:
        return self.gone


@dataclass(slots=True)
class Reception:
    """Where streams become calls: every stream is the one call."""

    call: CallDouble
    follows: list[str] = field(default_factory=list)
    line: asyncio.Future[Line] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def accept(self, transport: Transport) -> MediaSocket:
        return MediaSocket(transport, self, Counter(), start_within_seconds=5)

    def begin(self, start: Start, socket: MediaSocket) -> Conductor:
        self.line.set_result(socket)
        return cast(Conductor, self.call)

    def closing(self, call_id: str, words: str, language: str = "") -> None:
        self.follows.append(words)


class TwilioRig(Rig):
    def __init__(
        self, call: CallDouble, line: Line, reception: Reception, caller: Speaker, ear: bytearray, task: asyncio.Task[str]
    ) -> None:
        self.call, self.line, self.follows = call, line, reception.follows
        self._caller, self._ear, self._task = caller, ear, task

    @property
    def heard(self) -> bytes:
        return bytes(self._ear)

    def says(self, mulaw: bytes) -> None:
        self._caller.frames.extend(mulaw[at : at + FRAME_BYTES] for at in range(0, len(mulaw), FRAME_BYTES))

    def presses(self, key: str) -> None:
        self._caller.keys.append(key)

    async def hangs_up(self) -> None:
        self._caller.gone = True
        await self._task

    async def is_lost(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@asynccontextmanager
async def twilio_line(playout: Playout | None = None) -> AsyncIterator[Rig]:
    call, caller, ear = CallDouble(), Speaker(lines=()), bytearray()
    reception = Reception(call)
    server = MediaServer(reception.accept, path="/media", signed=lambda _: True, counters=Counter())
    port = await server.start("127.0.0.1", 0)
    stream = MediaStream(
        call_sid=CALL, stream_sid=STREAM, account_sid="AC" + "1" * 32, parameters={}, caller=caller,
        playout=playout or Playout(), to_ear=lambda _at_ms, _spoken, played: ear.extend(played),
    )  # fmt: skip
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"ws://127.0.0.1:{port}/media", compress=0)
        task = asyncio.create_task(stream.run(socket), name="carrier")
        rig = TwilioRig(call, await reception.line, reception, caller, ear, task)
        try:
            yield rig
        finally:
            await rig.is_lost()
            server.stop()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with twilio_line() as rig:
        yield rig


class TestTwiliosLine(LineContract):
    """As promised."""


class Unclearing(Playout):
    """Goes on playing what was thrown away."""

    def clear(self) -> None:
        self.marks.clear()


class Hasty(Playout):
    """Gives marks back before their audio has played."""

    def mark(self, name: str) -> None:
        self.marks.append((0, name))


class TestACarrierThatDoesOtherwise:
    async def test_is_found_out_by_what_sounds_after_a_clear(self) -> None:
        with pytest.raises(AssertionError):
            async with twilio_line(Unclearing()) as rig:
                await LineContract().test_plays_after_a_clear_only_what_came_after_it(rig)

    async def test_is_found_out_by_its_marks(self) -> None:
        with pytest.raises(AssertionError):
            async with twilio_line(Hasty()) as rig:
                await LineContract().test_gives_a_mark_back_when_all_before_it_has_played_and_no_earlier(rig)
