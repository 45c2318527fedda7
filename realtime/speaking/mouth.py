"""One call's way to the voice: what is said before a voice is reached waits for it, in order; one that is lost is replaced."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from realtime.engines.ladders import engine_of, left_alone
from realtime.engines.reaching import Tries
from realtime.machine import signals
from realtime.ports import EngineFailed, EngineUnavailable, TextToSpeech, VoiceAudio, VoiceFlushed, VoiceStream

Lookup: TypeAlias = Callable[[str], tuple[bytes, bool] | None]
"""What was spoken ahead of a text, and whether this call has to account for it."""


class Mouth:
    """Gives VoiceArrived with its audio, VoiceDelivered, EngineTaken, and EngineBroke once.

    A voice that takes over knows nothing: whoever is told of it by EngineTaken says again what was not delivered.
    """

    def __init__(
        self, voice: TextToSpeech, give: Callable[[signals.Signal, bytes], None], now_ms: Callable[[], int], prepared: Lookup | None = None
    ) -> None:
        self._voice, self._give, self._now_ms = voice, give, now_ms
        self._prepared = prepared
        self._owed: deque[int] = deque()
        self._stream: VoiceStream | None = None
        self._number = 0
        self._engine = voice.name
        self._tries = Tries()
        self._lost = asyncio.Event()
        self._lost_because = ""
        self._letting_go: set[asyncio.Task[None]] = set()
        self._waiting: list[tuple[int, str]] = []
        self._broken = False

    async def keep(self, *, voice: str) -> None:
        """Reach the voice, and again whenever its stream is lost, until it cannot be reached: then EngineBroke."""
        while not self._broken:
            await self.connect(voice=voice)
            await self._lost.wait()

    async def connect(self, *, voice: str) -> None:
        """Reach the voice and say what waits. A failure becomes a signal."""
        while not self._broken:
            # Also lets what is being closed say first how it went.
            await asyncio.sleep(self._tries.pause_seconds)
            self._number += 1
            number = self._number
            self._lost.clear()
            try:
                stream = await self._voice.connect(voice=voice, listener=partial(self._delivered, number))
            except EngineUnavailable as cause:
                self._failed(cause.engine, cause.reason)
                continue
            if number == self._number:
                self._take(stream)
                return
            # It broke before it was ours.
            self._let_go(stream)

    def speak(self, utterance: int, text: str) -> None:
        """Say it now."""
        if self._broken:
            return
        if not self._owed and self._prepared is not None and (ready := self._prepared(text)) is not None:
            mulaw, first = ready
            self._give(signals.VoiceArrived(at_ms=self._now_ms(), samples=len(mulaw)), mulaw)
            self._give(signals.VoiceDelivered(at_ms=self._now_ms(), utterance=utterance, from_memory=not first), b"")
            return
        self._owed.append(utterance)
        if self._stream is None:
            self._waiting.append((utterance, text))
        else:
            self._stream.speak(utterance, text, flush=True)

    def clear(self) -> None:
        """Forget what was not delivered."""
        self._waiting.clear()
        self._owed.clear()
        if self._stream is not None and not self._broken:
            self._stream.clear()

    def change(self, reason: str) -> None:
        """The voice hangs: nothing of it counts any more, and another is taken."""
        self._lose(self._number, self._engine, reason)

    async def close(self) -> None:
        """Say nothing more."""
        self._broken = True
        self._let_go()
        if self._letting_go:
            await asyncio.wait(self._letting_go)

    def _take(self, stream: VoiceStream) -> None:
        before, self._engine = self._engine, engine_of(stream, self._voice.name)
        reason = self._lost_because or left_alone(stream, self._voice.name)
        self._stream = stream
        waiting, self._waiting, lost, self._lost_because = self._waiting, [], bool(self._lost_because), ""
        if reason and not self._broken:
            # Where a stream was lost, all that was not delivered is said again by whoever is told, what waits here included.
            waiting = [] if lost else waiting
            self._give(
                signals.EngineTaken(
                    at_ms=self._now_ms(), engine=signals.Engine.VOICE, name=self._engine, instead_of=before, reason=reason
                ),
                b"",
            )  # fmt: skip
        for utterance, text in waiting:
            stream.speak(utterance, text, flush=True)

    def _delivered(self, number: int, delivered: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
        if self._broken or number != self._number:
            return
        match delivered:
            case VoiceAudio(mulaw=mulaw):
                if mulaw:
                    self._tries.worked()
                    self._give(signals.VoiceArrived(at_ms=self._now_ms(), samples=len(mulaw)), mulaw)
            case VoiceFlushed(utterance=utterance):
                while self._owed and self._owed[0] <= utterance:
                    self._owed.popleft()
                self._give(signals.VoiceDelivered(at_ms=self._now_ms(), utterance=utterance), b"")
            case EngineFailed(engine=engine, reason=reason):
                self._lose(number, engine, reason)

    def _lose(self, number: int, engine: str, reason: str) -> None:
        if number == self._number and not self._broken:
            # What it still delivers is nobody's.
            self._number += 1
            self._owed.clear()
            self._let_go()
            self._failed(engine, reason)
            self._lost.set()

    def _let_go(self, stream: VoiceStream | None = None) -> None:
        if stream is None:
            stream, self._stream = self._stream, None
        if stream is not None:
            task = asyncio.get_running_loop().create_task(stream.close(), name="let go of a voice")
            self._letting_go.add(task)
            task.add_done_callback(self._letting_go.discard)

    def _failed(self, engine: str, reason: str) -> None:
        self._lost_because = reason
        if not self._tries.failed(engine) and not self._broken:
            self._broken = True
            self._lost.set()
            self._give(signals.EngineBroke(at_ms=self._now_ms(), engine=signals.Engine.VOICE, name=engine, reason=reason), b"")
