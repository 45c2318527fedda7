"""Deepgram's Flux by its own SDK: it follows turns itself, and says with its words when one is likely over, goes on, or is over."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from infra.adapters.deepgram.connecting import closed, deepgram_client, opened
from infra.adapters.deepgram.listen import key_terms
from realtime.audio import BYTES_PER_MS, RATE_HZ, silence
from realtime.hearing.marks import TurnMark
from realtime.ports import EngineFailed, EngineUnsuited, HearingListener, Transcript

NAME: Final = "deepgram/flux"
# The provider asks for pieces of about this length.
_CHUNK_BYTES: Final = 80 * BYTES_PER_MS
_MOST_WAITING_BYTES: Final = 10_000 * BYTES_PER_MS
# It has no sign of life but audio: a muted line is given a little silence, of which no time of the call is made.
_FILL_AFTER_SECONDS: Final = 4.0
_FILLING: Final = silence(80)
# It says nothing of a forced end where no turn is under way, and begins a turn some words late.
_NO_TURN_SECONDS: Final = 1.0
_OVER_FROM: Final = 0.7
_LIKELY_OVER_FROM: Final = 0.5
_OVER_AFTER_MS: Final = 2500
_MARKS: Final[Mapping[str, TurnMark]] = {
    "StartOfTurn": TurnMark.GOING,
    "Update": TurnMark.GOING,
    "EagerEndOfTurn": TurnMark.LIKELY_OVER,
    "TurnResumed": TurnMark.GOES_ON,
    "EndOfTurn": TurnMark.OVER,
}


class FluxStream:
    """One socket: a task that sends and one that reads. Every `finalize` is answered once, by the end of the turn or by nothing said."""

    def __init__(self, socket: Any, stack: AsyncExitStack, listener: HearingListener, no_turn_seconds: float, fill_seconds: float) -> None:
        self._socket = socket
        self._stack = stack
        self._listener: HearingListener | None = listener
        self._no_turn_seconds, self._fill_seconds = no_turn_seconds, fill_seconds
        self._gathered = bytearray()
        self._waiting: deque[bytes | None] = deque()
        self._waiting_bytes = 0
        self._something = asyncio.Event()
        self._given_bytes = 0
        self._filled_ms = 0
        self._in_turn, self._text = False, ""
        self._asked = 0
        self._nothing: asyncio.TimerHandle | None = None
        self._tasks = (
            asyncio.create_task(self._send(), name="deepgram-flux-send"),
            asyncio.create_task(self._read(), name="deepgram-flux-read"),
        )

    def send(self, mulaw: bytes) -> None:
        if self._listener is None:
            return
        self._gathered += mulaw
        self._given_bytes += len(mulaw)
        if len(self._gathered) >= _CHUNK_BYTES:
            self._hand_over()
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            self._fail("the socket takes no audio")

    def finalize(self) -> None:
        """End the turn that is under way; where none is, and none begins in a second, nothing was said."""
        if self._listener is None:
            return
        self._asked += 1
        self._hand_over()
        if self._in_turn:
            self._waiting.append(None)
            self._something.set()
        elif self._nothing is None:
            self._nothing = asyncio.get_running_loop().call_later(self._no_turn_seconds, self._nothing_said)

    async def close(self) -> None:
        self._listener = None
        self._something_said()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await closed(self._stack)

    def _hand_over(self) -> None:
        if self._gathered:
            self._waiting.append(bytes(self._gathered))
            self._waiting_bytes += len(self._gathered)
            self._gathered.clear()
            self._something.set()

    async def _send(self) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(self._fill_seconds):
                        await self._something.wait()
                except TimeoutError:
                    self._filled_ms += len(_FILLING) // BYTES_PER_MS
                    await self._socket.send_media(_FILLING)
                    continue
                self._something.clear()
                while self._waiting:
                    piece = self._waiting.popleft()
                    if piece is None:
                        await self._socket.send_force_end_turn()
                    else:
                        self._waiting_bytes -= len(piece)
                        await self._socket.send_media(piece)
        except OSError as error:
            self._fail(str(error))

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                match getattr(message, "type", None):
                    case "TurnInfo":
                        self._told(message)
                    case "Error":
                        self._fail(f"{getattr(message, 'code', '')} {getattr(message, 'description', '')}".strip())
        except OSError as error:
            self._fail(str(error))
        else:
            self._fail("the provider closed the stream")

    def _told(self, turn: Any) -> None:
        mark = _MARKS.get(turn.event)
        if mark is None or (turn.event == "Update" and turn.transcript == self._text):
            return
        self._text = "" if mark is TurnMark.OVER else turn.transcript
        self._in_turn = mark is not TurnMark.OVER
        self._something_said()
        answers, self._asked = (self._asked, 0) if mark is TurnMark.OVER else (0, self._asked)
        self._heard(turn, mark, answers=answers > 0)
        for _ in range(answers - 1):
            self._nothing_more()

    def _heard(self, turn: Any, mark: TurnMark, *, answers: bool) -> None:
        if self._listener is None:
            return
        words = turn.words or []
        first, last = (words[0].start, words[-1].end) if words else (None, None)
        window_end_ms = round(1000 * turn.audio_window_end)
        self._listener(
            Transcript(
                text=turn.transcript,
                is_final=mark is TurnMark.OVER,
                from_finalize=answers,
                start_ms=self._own_ms(round(1000 * (turn.audio_window_start if first is None else first))),
                end_ms=self._own_ms(window_end_ms if last is None else round(1000 * last)),
                confidence=sum(word.confidence for word in words) / len(words) if words else 0.0,
                settled_ms=self._own_ms(window_end_ms) if mark is TurnMark.OVER else None,
                turn=mark,
            )
        )

    def _own_ms(self, stream_ms: int) -> int:
        """The provider counts what was filled in; it lies behind us, or is silence in which nobody spoke."""
        return max(0, stream_ms - self._filled_ms)

    def _something_said(self) -> None:
        if self._nothing is not None:
            self._nothing.cancel()
            self._nothing = None

    def _nothing_said(self) -> None:
        self._nothing = None
        answers, self._asked = self._asked, 0
        for _ in range(answers):
            self._nothing_more()

    def _nothing_more(self) -> None:
        if self._listener is not None:
            at_ms = self._given_bytes // BYTES_PER_MS
            self._listener(Transcript(text="", is_final=True, from_finalize=True, start_ms=at_ms, end_ms=at_ms, confidence=0.0))

    def _fail(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(EngineFailed(engine=NAME, reason=reason))


class DeepgramFlux:
    """The recogniser as a call sees it. Made once for a process. English only; a call in another language takes the next engine."""

    name = NAME
    embedded = False

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str | None = None,
        no_turn_seconds: float = _NO_TURN_SECONDS,
        fill_seconds: float = _FILL_AFTER_SECONDS,
    ) -> None:
        self._client = deepgram_client(api_key, base_url)
        self._no_turn_seconds, self._fill_seconds = no_turn_seconds, fill_seconds

    async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> FluxStream:
        if not language.lower().startswith("en"):
            raise EngineUnsuited(NAME, f"no model for {language}")
        connection = self._client.listen.v2.connect(
            model="flux-general-en",
            encoding="mulaw",
            sample_rate=RATE_HZ,
            eot_threshold=_OVER_FROM,
            eager_eot_threshold=_LIKELY_OVER_FROM,
            eot_timeout_ms=_OVER_AFTER_MS,
            keyterm=key_terms(vocabulary),
            mip_opt_out=True,
        )
        stack = AsyncExitStack()
        return FluxStream(await opened(NAME, connection, stack), stack, listener, self._no_turn_seconds, self._fill_seconds)
