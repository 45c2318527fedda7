"""Engines in the order in which they are wanted: a rung that fails is left alone by every call, and the next one does the work.

Each ladder is an engine itself, made once for a process. A stream that it opens says by `engine` which rung it is of, and is
watched: one that dies without having done anything, or hangs, counts against its rung.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import structlog

from realtime.engines.breakers import CLOSED, Breaker, failed, going, lets, unknown, worked
from realtime.ports import (
    EngineChanged,
    EngineFailed,
    EngineUnavailable,
    EngineUnsuited,
    HearingListener,
    HearingStream,
    LanguageModel,
    ModelEvent,
    ModelRequest,
    SpeechToText,
    TextToSpeech,
    Transcript,
    VoiceAudio,
    VoiceFlushed,
    VoiceListener,
    VoiceStream,
)

log = structlog.get_logger()

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
S = TypeVar("S")

_NOT_THE_FIRST = "the first choice cannot serve this call now"
_THE_FIRST_AGAIN = "the first choice serves again"
# Asked, and silent for as long: what is closed then was given up because it hung.
_HUNG_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class Rung(Generic[E_co]):
    """One engine of a ladder, under a name of its own. `within_seconds`: it must have been reached by then."""

    name: str
    engine: E_co
    within_seconds: float
    translate: Callable[[str], str] = field(default=lambda name: name)
    """A model's id as this rung's provider or region knows it."""
    breaker: Breaker = CLOSED

    def goes(self) -> None:
        self.breaker = going(self.breaker, _now())

    def works(self) -> None:
        self.breaker = worked(self.breaker)

    def leaves(self) -> None:
        self.breaker = unknown(self.breaker)

    def fails(self, reason: str, *, certain: bool = False) -> None:
        before, self.breaker = self.breaker, failed(self.breaker, _now(), certain=certain)
        if self.breaker.open_until is not None and self.breaker != before:
            log.warning("an engine is left alone for a while", engine=self.name, reason=reason)


@runtime_checkable
class OfARung(Protocol):
    """What a ladder opened."""

    @property
    def engine(self) -> str: ...


def changed_because(stream: object, before: str, wanted: str) -> str:
    """Why a stream is of another engine than the one before it, though that did not break; empty where it is not."""
    engine = engine_of(stream, wanted)
    if engine == before:
        return ""
    return _THE_FIRST_AGAIN if engine == wanted else _NOT_THE_FIRST


def engine_of(stream: object, otherwise: str) -> str:
    """Which engine is at the other end of a stream; `otherwise` where no ladder opened it."""
    return stream.engine if isinstance(stream, OfARung) else otherwise


def choose(rungs: Sequence[Rung[E]], now: float) -> Rung[E]:
    """The first that may be used; where none may, the one that was left alone for longest: there is nothing to lose."""
    return next((rung for rung in rungs if lets(rung.breaker, now)), min(rungs, key=lambda rung: rung.breaker.open_until or 0.0))


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _reached(rung: Rung[E], connecting: Awaitable[S], within_seconds: float | None = None) -> S:
    rung.goes()
    within_seconds = within_seconds or rung.within_seconds
    try:
        async with asyncio.timeout(within_seconds):
            return await connecting
    except TimeoutError as error:
        # A socket that is not there in time is not there; a model may have been slow once.
        rung.fails("nothing in time", certain=within_seconds == rung.within_seconds)
        raise EngineUnavailable(rung.name, f"nothing within {within_seconds:g} s") from error
    except EngineUnsuited:
        rung.leaves()
        raise
    except EngineUnavailable as cause:
        rung.fails(cause.reason)
        raise EngineUnavailable(rung.name, cause.reason) from cause
    except asyncio.CancelledError:
        rung.leaves()
        raise


class _Watched:
    """One stream's standing: whether it ever did anything, and since when it owes an answer."""

    def __init__(self, rung: Rung[Any]) -> None:
        self.rung = rung
        self.did_something = False
        self.owes_since: float | None = None

    def asked(self) -> None:
        if self.owes_since is None:
            self.owes_since = _now()

    def answered(self) -> None:
        self.owes_since = None
        if not self.did_something:
            self.did_something = True
            self.rung.works()

    def broke(self, failure: EngineFailed) -> EngineFailed:
        if not self.did_something:
            self.rung.fails(failure.reason)
        self.owes_since, self.did_something = None, True
        return replace(failure, engine=self.rung.name)

    def closed(self) -> None:
        if self.owes_since is not None and _now() - self.owes_since >= _HUNG_SECONDS:
            self.rung.fails("hung", certain=True)
        elif not self.did_something:
            self.rung.leaves()
        self.owes_since, self.did_something = None, True


class _Hearing:
    def __init__(self, stream: HearingStream, watched: _Watched) -> None:
        self._stream, self._watched = stream, watched
        self.engine = watched.rung.name

    def send(self, mulaw: bytes) -> None:
        self._stream.send(mulaw)

    def finalize(self) -> None:
        self._watched.asked()
        self._stream.finalize()

    async def close(self) -> None:
        self._watched.closed()
        await self._stream.close()


class RecogniserLadder:
    """`realtime.ports.SpeechToText` over several."""

    def __init__(self, rungs: Sequence[Rung[SpeechToText]]) -> None:
        self._rungs = tuple(rungs)
        self.name, self.embedded = rungs[0].name, rungs[0].engine.embedded

    async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> HearingStream:
        left = list(self._rungs)
        while True:
            rung = choose(left, _now())
            left.remove(rung)
            try:
                return await self._open(rung, language, vocabulary, listener)
            except EngineUnsuited:
                if not left:
                    raise

    async def _open(self, rung: Rung[SpeechToText], language: str, vocabulary: Sequence[str], listener: HearingListener) -> HearingStream:
        watched = _Watched(rung)

        def heard(told: Transcript | EngineFailed) -> None:
            if isinstance(told, EngineFailed):
                listener(watched.broke(told))
            else:
                watched.answered()
                listener(told)

        return _Hearing(await _reached(rung, rung.engine.connect(language=language, vocabulary=vocabulary, listener=heard)), watched)


class _Speaking:
    def __init__(self, stream: VoiceStream, watched: _Watched) -> None:
        self._stream, self._watched = stream, watched
        self.engine = watched.rung.name

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        if flush:
            self._watched.asked()
        self._stream.speak(utterance, text, flush=flush)

    def clear(self) -> None:
        self._watched.owes_since = None
        self._stream.clear()

    async def close(self) -> None:
        self._watched.closed()
        await self._stream.close()


class VoiceLadder:
    """`realtime.ports.TextToSpeech` over several."""

    def __init__(self, rungs: Sequence[Rung[TextToSpeech]]) -> None:
        self._rungs = tuple(rungs)
        self.name, self.embedded = rungs[0].name, rungs[0].engine.embedded

    async def connect(self, *, voice: str, listener: VoiceListener) -> VoiceStream:
        left = list(self._rungs)
        while True:
            rung = choose(left, _now())
            left.remove(rung)
            try:
                return await self._open(rung, voice, listener)
            except EngineUnsuited:
                if not left:
                    raise

    async def _open(self, rung: Rung[TextToSpeech], voice: str, listener: VoiceListener) -> VoiceStream:
        watched = _Watched(rung)

        def delivered(told: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
            if isinstance(told, EngineFailed):
                listener(watched.broke(told))
            else:
                watched.answered()
                listener(told)

        return _Speaking(await _reached(rung, rung.engine.connect(voice=voice, listener=delivered)), watched)


class ModelLadder:
    """`realtime.ports.LanguageModel` over several. Before its first word a question is asked of the next rung; after it, it has failed."""

    def __init__(self, rungs: Sequence[Rung[LanguageModel]]) -> None:
        self._rungs = tuple(rungs)
        self.name, self.embedded = rungs[0].name, rungs[0].engine.embedded

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        left, reason = list(self._rungs), _NOT_THE_FIRST
        while left:
            rung = choose(left, _now())
            left.remove(rung)
            reply = rung.engine.converse(replace(request, model=rung.translate(request.model)))
            try:
                try:
                    # The last one has as long as the call gives it.
                    within_seconds = request.first_token_within_ms / 1000 if left else None
                    first = await _reached(rung, anext(reply, None), within_seconds)
                except EngineUnavailable as cause:
                    if not left:
                        raise
                    reason = cause.reason
                    continue
                rung.works()
                if rung is not self._rungs[0]:
                    yield EngineChanged(engine=rung.name, instead_of=self.name, reason=reason)
                if first is not None:
                    yield first
                    async for event in reply:
                        yield event
                return
            finally:
                # A reply that nobody reads to its end lets go of its connection now, not when it is collected.
                if isinstance(reply, _Closable):
                    await reply.aclose()


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...
