"""One emulated `/v1/speak` socket: a real voice, the provider's messages, and its limit of twenty flushes a minute."""

import asyncio
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from infra.adapters.flite import say, sentences, voice_of
from infra.emulators.deepgram.faults import NO_FAULTS, Faults
from infra.emulators.deepgram.parameters import SpeakParameters
from realtime.audio import BYTES_PER_MS
from realtime.ports import EngineUnavailable

MOST_FLUSHES: Final = NO_FAULTS.most_flushes
_WITHIN_SECONDS: Final = 60.0
_LONGEST_TEXT: Final = 2000
_CHUNK_BYTES: Final = 100 * BYTES_PER_MS
_CHUNK_SECONDS: Final = 0.004
_BAD_DATA: Final = "DATA-0000"
_ORDERS: Final = frozenset({"Speak", "Flush", "Clear", "Close"})


class Speaking:
    """A connection from its handshake to its end. Sound comes some twenty times faster than it plays, as from the real one."""

    def __init__(self, socket: web.WebSocketResponse, parameters: SpeakParameters, faults: Faults = NO_FAULTS) -> None:
        self._faults = faults
        self._socket = socket
        self._parameters = parameters
        self._text: list[str] = []
        self._flushes: deque[float] = deque()
        self._sequence = 0
        self._speaking: asyncio.Task[None] | None = None
        self._queued: list[str] = []
        self._sent_bytes = 0

    async def serve(self) -> None:
        """Talk until either side closes."""
        await self._tell(
            {
                "type": "Metadata",
                "request_id": str(uuid.uuid4()),
                "model_name": self._parameters.model,
                "model_version": "0",
                "model_uuid": "00000000-0000-0000-0000-000000000000",
            }
        )
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.TEXT or not await self._obey(message.data):
                    if not self._socket.closed:
                        await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=_BAD_DATA.encode())
                    return
        finally:
            await self._stop()

    async def _obey(self, text: str) -> bool:
        """Carry out a message; False for one that is none of the protocol's."""
        try:
            order = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            return False
        match order:
            case {"type": "Speak", "text": str(words)}:
                await self._take(words)
            case {"type": "Flush"}:
                await self._flush()
            case {"type": "Clear"}:
                await self._stop()
                self._text.clear()
                await self._tell({"type": "Cleared", "sequence_id": self._next_sequence()})
            case {"type": "Close"}:
                await self._say_rest()
                await self._socket.close(code=WSCloseCode.OK)
            case _:
                return False
        return True

    async def _take(self, words: str) -> None:
        if len(words) > _LONGEST_TEXT:
            await self._warn("TEXT_TOO_LONG", f"The text is longer than {_LONGEST_TEXT} characters and was not taken")
            return
        self._text.append(words)

    async def _flush(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._flushes and now - self._flushes[0] >= _WITHIN_SECONDS:
            self._flushes.popleft()
        if len(self._flushes) >= self._faults.most_flushes:
            await self._warn(
                "EXCESSIVE_FLUSH", f"More than {self._faults.most_flushes} Flush messages within 60 seconds; this one was ignored"
            )
            return
        self._flushes.append(now)
        self._queued.append(" ".join(self._text))
        self._text.clear()
        if self._speaking is None or self._speaking.done():
            self._speaking = asyncio.create_task(self._speak(), name="speak")

    async def _say_rest(self) -> None:
        if self._text:
            await self._flush()
        if self._speaking is not None:
            await self._speaking

    async def _stop(self) -> None:
        self._queued.clear()
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.wait([self._speaking])
            self._speaking = None

    async def _speak(self) -> None:
        while self._queued:
            text = self._queued.pop(0)
            try:
                for sentence in sentences(text):
                    await self._stream(await say(sentence, voice=voice_of(self._parameters.model)))
            except EngineUnavailable as error:
                await self._tell({"type": "Error", "err_code": "INTERNAL", "description": error.reason})
                return
            await self._tell({"type": "Flushed", "sequence_id": self._next_sequence()})

    async def _stream(self, mulaw: bytes) -> None:
        for at in range(0, len(mulaw), _CHUNK_BYTES):
            chunk = mulaw[at : at + _CHUNK_BYTES]
            if self._dumb:
                return
            if not self._socket.closed:
                await self._socket.send_bytes(chunk)
            self._sent_bytes += len(chunk)
            if self._faults.close_speak_after_bytes is not None and self._sent_bytes >= self._faults.close_speak_after_bytes:
                await self._socket.close(code=self._faults.close_code, message=self._faults.close_reason.encode())
                return
            await asyncio.sleep(_CHUNK_SECONDS)

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    async def _warn(self, code: str, description: str) -> None:
        await self._tell({"type": "Warning", "code": code, "description": description})

    @property
    def _dumb(self) -> bool:
        return self._faults.dumb_speak_after_bytes is not None and self._sent_bytes >= self._faults.dumb_speak_after_bytes

    async def _tell(self, message: Mapping[str, Any]) -> None:
        if not self._socket.closed and not self._dumb:
            await self._socket.send_str(msgspec.json.encode(message).decode())
