"""The bench's voice: Deepgram's `/v1/speak` at fixed delays, a real voice whose word times only the scorer knows."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport

from realtime.audio import BYTES_PER_MS, decode
from tests.benchmarks.voice.providing import Provided, Socket
from tests.benchmarks.voice.words import Dictionary, words_of

FIRST_BYTE_AFTER_MS: Final = 120
FASTER_THAN_SPEECH: Final = 10
_PIECE_BYTES: Final = 200 * BYTES_PER_MS
_MOST_FLUSHES: Final = 20
_WITHIN_SECONDS: Final = 60.0


class Speaking(Socket):
    """One stream: sound 120 ms after its text, ten times as fast as it plays, in order; a `Clear` ends what is under way."""

    def __init__(self, house: Provided, query: Sequence[tuple[str, str]], dictionary: Dictionary) -> None:
        super().__init__(house)
        self._linear = dict(query).get("encoding") == "linear16"
        self._dictionary = dictionary
        self._free_at = 0.0
        self._pending: deque[asyncio.TimerHandle] = deque()
        self._learning: asyncio.Task[None] | None = None
        self._flushes: deque[float] = deque()
        self._sequence = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        metadata = {
            "type": "Metadata", "request_id": self.request_id, "model_name": "bench-aura-2", "model_version": "0",
            "model_uuid": "00000000-0000-0000-0000-000000000000",
        }  # fmt: skip
        self.tell(msgspec.json.encode(metadata))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            self.closing(transport, frame)
            return
        match msgspec.json.decode(frame.get_payload_as_bytes(), type=dict[str, Any]):
            case {"type": "Speak", "text": str(text)}:
                self._speak(text)
            case {"type": "Flush"}:
                self._flush()
            case {"type": "Clear"}:
                self._clear()
                self._answer("Cleared")
            case {"type": "Close"}:
                self.shut(WSCloseCode.OK, "")
            case _:
                self.shut(WSCloseCode.POLICY_VIOLATION, "DATA-0000")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        super().on_ws_disconnected(transport)
        self._clear()

    def _speak(self, text: str) -> None:
        self.house.counters["words-learnt-late"] += self._dictionary.learn_now(text)
        self.house.note("speak", words_of(text))
        sound = self._dictionary.speak(text)
        at = max(self.house.loop.time() + FIRST_BYTE_AFTER_MS / 1000, self._free_at)
        for start in range(0, len(sound), _PIECE_BYTES):
            piece = sound[start : start + _PIECE_BYTES]
            wire = decode(piece).tobytes() if self._linear else piece
            self._at(at, self._sound, wire, words_of(text) if start == 0 else [])
            at += len(piece) / BYTES_PER_MS / 1000 / FASTER_THAN_SPEECH
        self._free_at = at

    def _sound(self, wire: bytes, begins: list[str]) -> None:
        self._pending.popleft()
        if begins:
            self.house.note("sound", begins)
        self.tell(wire, WSMsgType.BINARY)

    def _flush(self) -> None:
        now = self.house.loop.time()
        while self._flushes and now - self._flushes[0] >= _WITHIN_SECONDS:
            self._flushes.popleft()
        if len(self._flushes) >= _MOST_FLUSHES:
            words = f"More than {_MOST_FLUSHES} Flush messages within 60 seconds; this one was ignored"
            self.tell(msgspec.json.encode({"type": "Warning", "code": "EXCESSIVE_FLUSH", "description": words}))
            self.house.counters["flushes-ignored"] += 1
            return
        self._flushes.append(now)
        self._at(max(now, self._free_at), self._flushed)

    def _flushed(self) -> None:
        self._pending.popleft()
        self._answer("Flushed")

    def _clear(self) -> None:
        while self._pending:
            self._pending.popleft().cancel()
        self._free_at = 0.0

    def _answer(self, kind: str) -> None:
        self.tell(msgspec.json.encode({"type": kind, "sequence_id": self._sequence}))
        self._sequence += 1

    def _at(self, at: float, do: Any, *arguments: Any) -> None:
        # Timers of one moment run in the order in which they were made, so the first to run is always the leftmost.
        self._pending.append(self.house.loop.call_at(at, do, *arguments))
