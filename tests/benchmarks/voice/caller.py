"""One caller of the bench: frames on the carrier's clock, questions and barge-ins by a fixed plan, and what came back, measured."""

import asyncio
import base64
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from realtime.audio import FRAME_BYTES
from tests.benchmarks.voice.ear import Ear
from tests.benchmarks.voice.providers import OVER, PAUSED, QUESTION, YES
from tests.benchmarks.voice.thinking import DIGITS, REPLY
from tests.benchmarks.voice.words import Dictionary, noise, words_of

CYCLE_SECONDS: Final = 12.0
_AFTER_YES_SECONDS: Final = 5.0
_BARGE_IN_AFTER_SECONDS: Final = 1.5
_SPEAKS_AFTER_SECONDS: Final = 0.6
# Not every server answers a closing frame.
_CLOSING_SECONDS: Final = 1.0
_PAUSES_MS: Final = (300, 800)


class _Told(msgspec.Struct):
    event: str
    media: Mapping[str, str] = {}
    mark: Mapping[str, str] = {}


_READ: Final = msgspec.json.Decoder(_Told)


@dataclass(slots=True, kw_only=True)
class Turn:
    """What a caller said: when its last sound went out, when the first sound of the answer came; seconds of the machine's clock."""

    kind: str
    measured: bool
    said_at: float | None = None
    heard_at: float | None = None
    cut_off: bool = False


@dataclass(slots=True, kw_only=True)
class BargeIn:
    """When it began, when the `clear` came, and how many words of the answer had sounded by then where the caller is."""

    spoke_at: float
    measured: bool
    cleared_at: float | None = None
    words: int = 0


@dataclass(slots=True)
class Measured:
    """All that one caller saw. `greeting`: seconds from the start of the stream to its first sound."""

    number: str
    call_sid: str
    greeting: float | None = None
    turns: list[Turn] = field(default_factory=list)
    barge_ins: list[BargeIn] = field(default_factory=list)
    gaps: int = 0
    sent_bytes: int = 0
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Voiced:
    """How the callers and the agent sound."""

    callers: Dictionary
    agent: Dictionary


class Caller(WSListener):
    """Says yes to the greeting's question, asks in every cycle, in every second one again over the answer, pauses in every fourth."""

    def __init__(self, number: int, call_sid: str, voiced: Voiced, *, greeted: bool) -> None:
        digits = " ".join(DIGITS[int(digit)] for digit in f"{number:03}")
        self.measured = Measured(digits, call_sid)
        self.measuring = False
        self._digits, self._voiced, self._draws = digits, voiced, random.Random(number)
        self._gap = noise(8000, self._draws)
        self._quiet = _frames(self._gap)
        self._ear = Ear(voiced.agent, self._draws)
        self._reply = words_of(REPLY)
        self._transport: WSTransport | None = None
        self._prefix, self._stamp, self._began = b"", 0, 0.0
        self._waiting: deque[bytes] = deque()
        self._agreed, self._next_at = not greeted, 0.0
        self._cycle, self._last_cycle = -1, -2
        self._spoken_over = False
        self._barge_in: BargeIn | None = None

    def begin(self, parameters: Mapping[str, str]) -> None:
        """The socket is open: the stream starts."""
        sid, self._began = "MZ" + self.measured.call_sid[2:], time.monotonic()
        self._next_at = self._began + 1.0
        self._send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "accountSid": "AC" + "0" * 32, "streamSid": sid, "callSid": self.measured.call_sid, "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": dict(parameters),
        }  # fmt: skip
        self._send({"event": "start", "sequenceNumber": "1", "streamSid": sid, "start": start})
        opening = f'{{"event":"media","streamSid":"{sid}","sequenceNumber":"2","media":{{"track":"inbound","chunk":"1","timestamp":"'
        self._prefix = opening.encode()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            if frame.msg_type == WSMsgType.CLOSE:
                self.measured.ended = self.measured.ended or f"closed by the worker with {frame.get_close_code()}"
                transport.disconnect()
            return
        told, now = _READ.decode(frame.get_payload_as_memoryview()), time.monotonic()
        match told.event:
            case "media":
                self._audio(now, base64.b64decode(told.media["payload"]))
            case "mark":
                self._ear.mark(now, told.mark["name"])
            case "clear":
                words = self._ear.clear(now)
                if self._barge_in is not None and self._barge_in.cleared_at is None:
                    self._barge_in.cleared_at, self._barge_in.words = now, words

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self.measured.ended = self.measured.ended or "the connection was lost"
        self.measured.gaps = self._ear.gaps

    @property
    def open(self) -> bool:
        return self._transport is not None

    def tick(self, now: float) -> None:
        """One frame goes out, and the marks that are due."""
        if self._transport is None or not self._prefix:
            return
        if not self._waiting:
            self._decide(now)
        saying = bool(self._waiting)
        payload = self._waiting.popleft() if saying else self._quiet[self._stamp // 20 % len(self._quiet)]
        self._transport.send(WSMsgType.TEXT, b'%b%d","payload":"%b"}}' % (self._prefix, self._stamp, payload))
        self._stamp += 20
        self.measured.sent_bytes += FRAME_BYTES
        if saying and not self._waiting:
            self.measured.turns[-1].said_at = now
            self._ear.expect(self._reply)
        for name in self._ear.due(now):
            self._send({"event": "mark", "sequenceNumber": "4", "streamSid": "MZ" + self.measured.call_sid[2:], "mark": {"name": name}})

    def finish(self) -> None:
        """The cycle under way is the last."""
        self._last_cycle = max(self._cycle, 0)

    def _decide(self, now: float) -> None:
        if not self._agreed:
            if self.measured.greeting is not None and now > self._ear.dry_at + _SPEAKS_AFTER_SECONDS:
                self._agreed = True
                self._say("yes", YES)
                self._next_at = now + len(self._waiting) * 0.02 + _AFTER_YES_SECONDS
        elif now >= self._next_at:
            if self._cycle == self._last_cycle:
                self.hang_up()
                return
            self._cycle, self._next_at, self._spoken_over = self._cycle + 1, self._next_at + CYCLE_SECONDS, False
            self._ask()
        elif self._cycle > 0 and self._cycle % 2 and not self._spoken_over:
            heard_at = self.measured.turns[-1].heard_at
            if heard_at is not None and now > heard_at + _BARGE_IN_AFTER_SECONDS:
                self._spoken_over, self._barge_in = True, BargeIn(spoke_at=now, measured=self.measuring)
                self.measured.barge_ins.append(self._barge_in)
                self._say("over", OVER)

    def _ask(self) -> None:
        if self._cycle % 4 == 2:
            text, after = PAUSED[self._cycle // 4 % len(PAUSED)]
            self._say("paused", text.format(self._digits), {after: self._draws.randint(*_PAUSES_MS)})
        else:
            self._say("plain", QUESTION.format(self._digits))

    def _say(self, kind: str, text: str, pauses: Mapping[int, int] = {}) -> None:
        sound = self._voiced.callers.speak(text, self._gap, pauses)
        self._waiting.extend(_frames(sound + self._gap[: -len(sound) % FRAME_BYTES]))
        self.measured.turns.append(Turn(kind=kind, measured=self.measuring))
        if kind != "over":
            self._barge_in = None

    def _audio(self, now: float, mulaw: bytes) -> None:
        if self.measured.greeting is None:
            self.measured.greeting = now - self._began
        if self.measured.turns:
            turn = self.measured.turns[-1]
            if turn.said_at is not None and turn.heard_at is None:
                turn.heard_at = now
            # An answer in the middle of a question; over an answer it may still be that answer's sound.
            turn.cut_off = turn.cut_off or (turn.said_at is None and turn.kind == "paused")
        self._ear.audio(now, mulaw)

    def hang_up(self) -> None:
        """Put the phone down, whatever is being said."""
        stop = {"accountSid": "AC" + "0" * 32, "callSid": self.measured.call_sid}
        self._send({"event": "stop", "sequenceNumber": "9", "streamSid": "MZ" + self.measured.call_sid[2:], "stop": stop})
        self.measured.ended = "by the caller"
        self._prefix = b""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            asyncio.get_running_loop().call_later(_CLOSING_SECONDS, self._transport.disconnect, False)

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, msgspec.json.encode(message))


def _frames(mulaw: bytes) -> list[bytes]:
    return [base64.b64encode(mulaw[at : at + FRAME_BYTES]) for at in range(0, len(mulaw), FRAME_BYTES)]
