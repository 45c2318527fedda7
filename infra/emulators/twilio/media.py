"""The carrier's end of a media stream: frames out on an absolute 20 ms schedule, playout, marks, and strictness about what comes in."""

import asyncio
import base64
import binascii
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from infra.emulators.twilio.caller import FRAME_MS, Caller
from infra.emulators.twilio.playout import SILENCE, Playout


class StreamBroken(Exception):
    """What the worker sent makes the real carrier end the stream; `code` is its error code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@dataclass(slots=True)
class MediaStream:
    """One media stream of one call."""

    call_sid: str
    stream_sid: str
    account_sid: str
    parameters: dict[str, str]
    caller: Caller
    to_ear: Callable[[int, bytes, bytes], None]
    """Told (ms, what the caller said, what the caller heard) for every tick."""
    playout: Playout = field(default_factory=Playout)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    began_ms: int = 0
    """How long the caller has been on the line, by the ticks of the streams before this one."""
    ended_ms: int = 0

    _sequence: int = 0
    _socket: aiohttp.ClientWebSocketResponse | None = None

    async def run(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        """Until either side ends it; returns who did: `caller`, `worker` or `rest`. Raises StreamBroken."""
        self._socket = socket
        await self._send(socket, {"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "accountSid": self.account_sid, "streamSid": self.stream_sid, "callSid": self.call_sid, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": self.parameters,
        }  # fmt: skip
        await self._event(socket, "start", start)
        receiving = asyncio.create_task(self._receive(socket), name="media-receive")
        sending = asyncio.create_task(self._speak(socket), name="media-send")
        try:
            done, _ = await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
            who = next(iter(done)).result()
            if who != "worker":
                await self._event(socket, "stop", {"accountSid": self.account_sid, "callSid": self.call_sid})
            return who
        finally:
            for task in (receiving, sending):
                task.cancel()
            await asyncio.wait({receiving, sending})
            await socket.close()

    def break_off(self) -> None:
        """Sever the connection, as a broken network does."""
        if self._socket is not None and (wire := self._socket.get_extra_info("socket")) is not None:
            with socket.socket(fileno=os.dup(wire.fileno())) as severed:
                severed.shutdown(socket.SHUT_RDWR)

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        loop = asyncio.get_running_loop()
        began = loop.time()
        tick = 0
        while not self.caller.finished and not self.hung_up.is_set():
            await asyncio.sleep(max(0.0, began + tick * FRAME_MS / 1000 - loop.time()))
            at_ms = tick * FRAME_MS
            heard, due = self.playout.tick()
            for name in due:
                await self._event(socket, "mark", {"name": name})
            line_ms = self.began_ms + at_ms
            frame = self.caller.tick(line_ms, heard)
            self.to_ear(line_ms, frame, heard or SILENCE)
            self.ended_ms = line_ms + FRAME_MS
            media = {"track": "inbound", "chunk": str(tick + 1), "timestamp": str(at_ms), "payload": base64.b64encode(frame).decode()}
            await self._event(socket, "media", media)
            for key in self.caller.pressed():
                await self._event(socket, "dtmf", {"track": "inbound_track", "digit": key})
            tick += 1
        return "rest" if self.hung_up.is_set() else "caller"

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                raise StreamBroken(31950, "a binary frame")
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            self._take(message.data)
        return "worker"

    def _take(self, text: str) -> None:
        try:
            message = json.loads(text)
            kind, stream_sid = message["event"], message["streamSid"]
        except (ValueError, KeyError, TypeError) as cause:
            raise StreamBroken(31951, f"a malformed message: {cause!r}") from cause
        if stream_sid != self.stream_sid:
            raise StreamBroken(31951, "a foreign streamSid")
        try:
            match kind:
                case "media":
                    self.playout.add(base64.b64decode(message["media"]["payload"], validate=True))
                case "mark":
                    self.playout.mark(message["mark"]["name"])
                case "clear":
                    self.playout.clear()
                case other:
                    raise StreamBroken(31924, f"{other!r} is no event of ours")
        except (KeyError, TypeError, binascii.Error) as cause:
            raise StreamBroken(31951, f"a malformed {kind}: {cause!r}") from cause

    async def _event(self, socket: aiohttp.ClientWebSocketResponse, kind: str, body: dict[str, Any]) -> None:
        self._sequence += 1
        await self._send(socket, {"event": kind, "sequenceNumber": str(self._sequence), "streamSid": self.stream_sid, kind: body})

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        try:
            await socket.send_str(json.dumps(message, separators=(",", ":")))
        except (ConnectionError, aiohttp.ClientError):
            # The worker closed or died; the receiving side says so.
            return
