"""The bench's caller: the carrier's protocol over a real socket, frames on an absolute clock, and what came back measured."""

import asyncio
import base64
import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
from twilio.request_validator import RequestValidator

from realtime.audio import FRAME_BYTES, SILENCE
from tests.realtime.office import AUTH_TOKEN, CALLER, NUMBER

CYCLE_SECONDS = 12.0
_BARGE_IN_AFTER_SECONDS = 1.5
_DRY_SECONDS = 2.0
_AWAY_SECONDS = (0.02, 0.06)


@dataclass(slots=True)
class Measured:
    """What one caller saw, in seconds of the loop's clock or of duration. `played`: seconds of a reply that sounded before a clear."""

    greeting: float | None = None
    turns: list[float] = field(default_factory=list)
    clears: list[float] = field(default_factory=list)
    played: list[float] = field(default_factory=list)
    asked: int = 0
    spoken_over: int = 0
    gaps: int = 0
    late: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Caller:
    """Says yes to the question of the greeting, then asks the same in every cycle, and in every second one again over the answer."""

    webhook: str
    speech: Sequence[str]
    draws: random.Random
    measured: Measured = field(default_factory=Measured)
    _socket: aiohttp.ClientWebSocketResponse | None = None
    _sid: str = ""
    _began: float = 0.0
    _play_start: float = 0.0
    _play_end: float = 0.0
    _spoke_until: float | None = None
    _first_audio: float | None = None
    _spoke_over_at: float | None = None
    _marks: list[tuple[float, str]] = field(default_factory=list)

    async def call(self, cycles: int) -> None:
        """One call of so many cycles."""
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as http:
            call_sid = "CA" + secrets.token_hex(16)
            url, token = await self._ring(http, call_sid)
            async with http.ws_connect(url, compress=0) as socket, asyncio.TaskGroup() as tasks:
                self._socket, self._sid = socket, "MZ" + secrets.token_hex(16)
                await socket.send_str(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
                start = {
                    "accountSid": "AC", "streamSid": self._sid, "callSid": call_sid, "tracks": ["inbound"],
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": {"token": token},
                }  # fmt: skip
                self._began = loop.time()
                await socket.send_str(json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": self._sid, "start": start}))
                helping = (tasks.create_task(self._listen(socket)), tasks.create_task(self._give_marks_back(socket)))
                await self._speak(socket, cycles)
                await socket.send_str(json.dumps({"event": "stop", "sequenceNumber": "9", "streamSid": self._sid, "stop": {}}))
                for task in helping:
                    task.cancel()

    async def _ring(self, http: aiohttp.ClientSession, call_sid: str) -> tuple[str, str]:
        form = {"CallSid": call_sid, "From": CALLER, "To": NUMBER}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(self.webhook, form)
        async with http.post(self.webhook, data=form, headers={"X-Twilio-Signature": signature}) as answer:
            document = ET.fromstring(await answer.text())  # noqa: S314 - our own answer
        stream = document.find("./Connect/Stream")
        parameter = document.find(".//Parameter")
        if stream is None or parameter is None:
            raise RuntimeError("the ring was not answered with a stream")
        return stream.get("url", ""), parameter.get("value", "")

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse, cycles: int) -> None:
        """Frames on an absolute 20 ms clock: silence, or the next frame of what is being said."""
        loop = asyncio.get_running_loop()
        silent = base64.b64encode(bytes([SILENCE]) * FRAME_BYTES).decode()
        waiting: list[str] = []
        saying, cycle, tick, next_at, over = False, -1, 0, 0.0, False
        before = f'{{"event":"media","streamSid":"{self._sid}","sequenceNumber":"2","media":{{"track":"inbound","chunk":"1","timestamp":"'
        while True:
            due = self._began + tick * 0.02
            if (ahead := due - loop.time()) > 0:
                await asyncio.sleep(ahead)
            else:
                self.measured.late.append(-ahead)
            now = loop.time()
            if not next_at and self.measured.greeting is not None and now > self._play_end + 0.5:
                waiting, next_at, saying = list(self.speech), now + 8.0, True
            elif next_at and not waiting and now >= next_at:
                cycle, next_at, over = cycle + 1, next_at + CYCLE_SECONDS, False
                if cycle == cycles:
                    return
                waiting, saying = list(self.speech), True
                self.measured.asked += 1
            elif (
                cycle > 0
                and cycle % 2
                and not over
                and not waiting
                and self._first_audio
                and now > self._first_audio + _BARGE_IN_AFTER_SECONDS
            ):
                waiting, saying, over, self._spoke_over_at = list(self.speech), True, True, now
                self.measured.asked += 1
                self.measured.spoken_over += 1
            frame = waiting.pop(0) if waiting else silent
            await socket.send_str(f'{before}{tick * 20}","payload":"{frame}"}}}}')
            if saying and not waiting:
                saying, self._spoke_until, self._first_audio = False, loop.time(), None
            tick += 1

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            now = asyncio.get_running_loop().time()
            event = json.loads(message.data)
            match event["event"]:
                case "media":
                    self._audio(now, len(event["media"]["payload"]) * 3 // 4 / 8000)
                case "mark":
                    self._marks.append((max(now, self._play_end) + 2 * self.draws.uniform(*_AWAY_SECONDS), event["mark"]["name"]))
                case "clear":
                    self._cleared(now)

    def _audio(self, now: float, seconds: float) -> None:
        if self.measured.greeting is None:
            self.measured.greeting = now - self._began
        if self._spoke_until is not None and self._first_audio is None:
            self._first_audio = self._play_start = now
            self.measured.turns.append(now - self._spoke_until)
        elif now > self._play_end and now - self._play_end < _DRY_SECONDS:
            self.measured.gaps += 1
        self._play_end = max(now, self._play_end) + seconds

    def _cleared(self, now: float) -> None:
        if self._spoke_over_at is not None:
            self.measured.clears.append(now - self._spoke_over_at)
            self.measured.played.append(min(now, self._play_end) - self._play_start)
            self._spoke_over_at = None
        self._play_end = 0.0
        self._marks = [(now + 2 * self.draws.uniform(*_AWAY_SECONDS), name) for _, name in self._marks]

    async def _give_marks_back(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await asyncio.sleep(0.02)
            now = asyncio.get_running_loop().time()
            while self._marks and self._marks[0][0] <= now:
                mark: dict[str, Any] = {
                    "event": "mark",
                    "sequenceNumber": "4",
                    "streamSid": self._sid,
                    "mark": {"name": self._marks.pop(0)[1]},
                }
                await socket.send_str(json.dumps(mark))
