"""Deepgram's Flux by its own SDK: it follows turns itself, and says with its words when one is likely over, goes on, or is over."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from infra.adapters.deepgram.connecting import deepgram_client, opened
from infra.adapters.deepgram.hearing import HearingSocket
from infra.adapters.deepgram.listen import key_terms
from realtime.audio import BYTES_PER_MS, RATE_HZ, silence
from realtime.hearing.marks import TurnMark
from realtime.ports import SEVERAL, EngineUnsuited, HearingListener, Transcript

NAME: Final = "deepgram/flux"
# The provider asks for pieces of about this length.
_CHUNK_BYTES: Final = 80 * BYTES_PER_MS
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


class FluxStream(HearingSocket):
    """One call's stream into Flux. Every `finalize` is answered once, by the end of the turn or by nothing said."""

    def __init__(self, socket: Any, stack: AsyncExitStack, listener: HearingListener, no_turn_seconds: float, fill_seconds: float) -> None:
        self._no_turn_seconds = no_turn_seconds
        self._filled_ms = 0
        self._in_turn, self._text = False, ""
        self._asked = 0
        self._nothing: asyncio.TimerHandle | None = None
        super().__init__(NAME, socket, stack, listener, chunk_bytes=_CHUNK_BYTES, quiet_seconds=fill_seconds)

    def finalize(self) -> None:
        """End the turn that is under way; where none is, and none begins in a second, nothing was said."""
        if self._listener is None:
            return
        self._asked += 1
        self.hand_over(order=self._in_turn)
        if not self._in_turn and self._nothing is None:
            self._nothing = asyncio.get_running_loop().call_later(self._no_turn_seconds, self._nothing_said)

    async def close(self) -> None:
        self._something_said()
        await super().close()

    async def keep_alive(self) -> None:
        self._filled_ms += len(_FILLING) // BYTES_PER_MS
        await self._socket.send_media(_FILLING)

    async def ask(self) -> None:
        await self._socket.send_force_end_turn()

    def told(self, message: Any) -> None:
        if getattr(message, "type", None) == "TurnInfo":
            self._told(message)

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
        if not language.lower().startswith("en") or SEVERAL in language:
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
