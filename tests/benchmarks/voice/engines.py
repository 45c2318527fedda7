"""Engines with fixed delays, so that what a turn takes beyond them is ours."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from realtime.audio import BYTES_PER_MS, SILENCE
from realtime.ports import (
    HearingListener,
    ModelEvent,
    ModelRequest,
    ModelStopped,
    TextDelta,
    TokenUsage,
    Transcript,
    VoiceAudio,
    VoiceFlushed,
    VoiceListener,
)

FINAL_AFTER_MS = 100
FIRST_TOKEN_AFTER_MS = 250
TOKEN_EVERY_MS = 12
FIRST_BYTE_AFTER_MS = 120
FASTER_THAN_SPEECH = 10
SAMPLES_PER_CHARACTER = 480
PIECE_BYTES = 200 * BYTES_PER_MS

REPLY = "Of course. We are open from nine to five on weekdays, and on Saturdays from ten to two."
TOKENS = [f"{word} " for word in REPLY.split()]
TOKENS_TO_FIRST_PIECE = 2
FLOOR_MS = FINAL_AFTER_MS + FIRST_TOKEN_AFTER_MS + (TOKENS_TO_FIRST_PIECE - 1) * TOKEN_EVERY_MS + FIRST_BYTE_AFTER_MS
"""What the engines alone take from the request for a final to the first byte of the voice."""


@dataclass(slots=True)
class _Hearing:
    listener: HearingListener
    words: str
    agreed: bool = False
    given: int = 0
    since: int = 0
    loud_ms: int = 0

    def send(self, mulaw: bytes) -> None:
        self.given += len(mulaw)
        if mulaw.count(SILENCE) < len(mulaw) // 2:
            self.loud_ms += len(mulaw) // BYTES_PER_MS

    def finalize(self) -> None:
        asyncio.get_running_loop().call_later(FINAL_AFTER_MS / 1000, self._answer)

    async def close(self) -> None:
        self.listener = lambda _: None

    def _answer(self) -> None:
        words = "" if self.loud_ms < 200 else self.words if self.agreed else "Yes, please."
        self.agreed = self.agreed or bool(words)
        since, self.since, self.loud_ms = self.since, self.given, 0
        self.listener(
            Transcript(
                text=words, is_final=True, from_finalize=True, start_ms=since // BYTES_PER_MS, end_ms=self.given // BYTES_PER_MS,
                confidence=1.0,
            )
        )  # fmt: skip


class FixedEars:
    """Hears a yes first, then the same question in everything that is loud for long enough, 100 ms after it was asked for a final."""

    name = "fixed/ears"
    embedded = True

    def __init__(self, words: str) -> None:
        self._words = words

    async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> _Hearing:
        return _Hearing(listener, self._words)


class FixedMind:
    """Answers the same, word by word."""

    name = "fixed/mind"
    embedded = True

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        await asyncio.sleep(FIRST_TOKEN_AFTER_MS / 1000)
        for token in TOKENS:
            yield TextDelta(text=token)
            await asyncio.sleep(TOKEN_EVERY_MS / 1000)
        yield ModelStopped(reason="end_turn", usage=TokenUsage(input_tokens=200, output_tokens=len(TOKENS)))


@dataclass(slots=True)
class _Voice:
    listener: VoiceListener
    tones: bytes
    free_at: float = 0.0
    handles: list[asyncio.TimerHandle] = field(default_factory=list)

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        loop = asyncio.get_running_loop()
        at = max(loop.time() + FIRST_BYTE_AFTER_MS / 1000, self.free_at)
        audio = (self.tones * (len(text) * SAMPLES_PER_CHARACTER // len(self.tones) + 1))[: len(text) * SAMPLES_PER_CHARACTER]
        self.handles = [handle for handle in self.handles if handle.when() > loop.time()]
        for start in range(0, len(audio), PIECE_BYTES):
            self.handles.append(loop.call_at(at, self.listener, VoiceAudio(mulaw=audio[start : start + PIECE_BYTES])))
            at += PIECE_BYTES / BYTES_PER_MS / 1000 / FASTER_THAN_SPEECH
        self.handles.append(loop.call_at(at, self.listener, VoiceFlushed(utterance=utterance)))
        self.free_at = at

    def clear(self) -> None:
        for handle in self.handles:
            handle.cancel()
        self.handles.clear()
        self.free_at = 0.0

    async def close(self) -> None:
        self.clear()


class FixedVoice:
    """The first byte after 120 ms, the rest at ten times the speed of speech; each character sounds for 60 ms."""

    name = "fixed/voice"
    embedded = True

    def __init__(self, tones: bytes) -> None:
        self._tones = tones

    async def connect(self, *, voice: str, listener: VoiceListener) -> _Voice:
        return _Voice(listener, self._tones)
