"""The world of a call in memory: a log that can go away, and engines that hear, think and speak without a model."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from commands.decider import Decider
from commands.dispatch import CommandIdReused, CommitInDoubt, Committed, ExpectedVersionMismatch, LogUnavailable, Order, Watcher
from events.admission import Fence
from events.positions import Position
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.sealing import KeyRing
from events.streams import StreamId, topic_of
from realtime.audio import BYTES_PER_MS, FRAME_BYTES, SILENCE
from realtime.ports import (
    SEVERAL,
    ActivityListener,
    EngineFailed,
    EngineUnavailable,
    HearingListener,
    Json,
    ModelEvent,
    ModelRequest,
    Tool,
    ToolFailed,
    ToolUse,
    Transcript,
    TransferRefused,
    VoiceAudio,
    VoiceFlushed,
    VoiceListener,
)

F = TypeVar("F")

# --- the log ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class MemoryLog:
    """Dispatch and Watch over dictionaries, with the real deciders. `away`: LogUnavailable; `doubtful`: committed, but unanswered."""

    streams: dict[StreamId, list[Recorded[Fact]]] = field(default_factory=dict)
    away: bool = False
    doubtful: int = 0
    _watchers: dict[StreamId, list[Watcher]] = field(default_factory=dict)
    _answers: dict[tuple[StreamId, bytes], tuple[bytes, Committed]] = field(default_factory=dict)
    _offset: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        await asyncio.sleep(0)
        if self.away:
            raise LogUnavailable("the log is away", retry_after_ms=20)
        if known := self._answers.get((stream, order.command_id)):
            if known[0] != order.digest:
                raise CommandIdReused
            return Committed(position=known[1].position, version=known[1].version, facts=known[1].facts, repeated=True)
        committed = self._decide(decider, stream, command, order, expected_version)
        if self.doubtful:
            self.doubtful -= 1
            raise CommitInDoubt
        return committed

    def _decide(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, expected_version: int | None
    ) -> Committed:
        history = self.streams.get(stream, [])
        if expected_version is not None and expected_version != len(history):
            raise ExpectedVersionMismatch(expected_version, len(history))
        state = decider.initial
        for recorded in history:
            state = decider.evolve(state, recorded.fact)
        facts = decider.decide(command, state)
        made = tuple(self._recorded(decider.room, stream, len(history) + n, fact, order) for n, fact in enumerate(facts, 1))
        self.streams[stream] = [*history, *made]
        answer = Committed(position=self._position(decider.room), version=len(history) + len(made), facts=made)
        self._answers[stream, order.command_id] = order.digest, answer
        self._news.set()
        for one in made:
            for watcher in list(self._watchers.get(stream, ())):
                watcher(one)
        return answer

    def watch(self, stream: StreamId, watcher: Watcher) -> Callable[[], None]:
        watchers = self._watchers.setdefault(stream, [])
        watchers.append(watcher)
        return lambda: watchers.remove(watcher)

    async def history(self, stream: StreamId, until: Position, version: int, since: Position | None) -> Sequence[Recorded[Fact]]:
        """A CallHistory."""
        await asyncio.sleep(0)
        return self.streams[stream][:version]

    async def until(self, kind: type[F], *, count: int = 1, within_seconds: float = 5.0) -> F:
        """The `count`th fact of a kind on any stream, as soon as it is there."""
        async with asyncio.timeout(within_seconds):
            while len(found := [one.fact for history in self.streams.values() for one in history if isinstance(one.fact, kind)]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def facts(self, category: str) -> list[Any]:
        """Everything on the streams of a category, in order."""
        return [recorded.fact for stream, history in self.streams.items() if stream.category == category for recorded in history]

    def forget(self) -> None:
        """As if nothing had been said yet."""
        self.streams.clear()
        self._answers.clear()

    def _position(self, room: str) -> Position:
        return Position(topic_of(room), 0, self._offset, Fence(1, bytes(16)))

    def _recorded(self, room: str, stream: StreamId, version: int, fact: Fact, order: Order) -> Recorded[Fact]:
        self._offset += 1
        now = datetime.now(UTC)
        return Recorded(
            fact=fact, stream=stream, version=version, position=self._position(room), event_id=EventId(order.command_id, 0), count=1,
            command_id=order.command_id, occurred_at=order.occurred_at, appended_at=now, causation=None,
            correlation_id=order.correlation_id, depth=0, actor=order.actor,
        )  # fmt: skip


class MemoryKeys:
    """A KeyStore."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    def get(self, subject: str) -> bytes | None:
        return self._keys.get(subject)

    def put_if_absent(self, subject: str, wrapped: bytes) -> bytes:
        return self._keys.setdefault(subject, wrapped)

    def erase(self, subject: str) -> None:
        del self._keys[subject]


def keyring() -> KeyRing:
    return KeyRing(os.urandom(32), MemoryKeys())


# --- speech whose words lie in its bytes -------------------------------------------------------------------------------

_LOUD = 0x00
_WORD_MS = 120
_SPEAKING_MS_PER_CHARACTER = 4


def spoken(text: str) -> bytes:
    """Audio that says a text to `TextEars`: each word in the first bytes of its own frames."""
    frames = b""
    for word in text.split():
        frames += word.encode().ljust(_WORD_MS * BYTES_PER_MS, bytes([_LOUD]))
    return frames


@dataclass(slots=True)
class _TextHearing:
    listener: HearingListener
    language: str
    foreign: Mapping[str, str]
    heard: int = 0
    since: int = 0
    words: list[str] = field(default_factory=list)
    closed: bool = False
    audio: bytearray = field(default_factory=bytearray)

    def send(self, mulaw: bytes) -> None:
        self.audio += mulaw
        for at in range(0, len(mulaw), FRAME_BYTES):
            piece = mulaw[at : at + FRAME_BYTES]
            letters = bytes(byte for byte in piece if byte not in (_LOUD, SILENCE))
            self.heard += len(piece)
            # A word is letters; a tone is no word.
            if letters and letters.isascii():
                self.words.append(letters.decode())
                self._tell(is_final=False, from_finalize=False)

    def finalize(self) -> None:
        asyncio.get_running_loop().call_later(0.01, self._finalized)

    async def close(self) -> None:
        self.closed = True

    def break_off(self) -> None:
        self.listener(EngineFailed(engine="text-ears", reason="broken off"))

    def _finalized(self) -> None:
        self._tell(is_final=True, from_finalize=True)
        self.words.clear()
        self.since = self.heard

    def _tell(self, *, is_final: bool, from_finalize: bool) -> None:
        if self.closed:
            return
        self.listener(
            Transcript(
                text=" ".join(self.words), is_final=is_final, from_finalize=from_finalize, start_ms=self.since // BYTES_PER_MS,
                end_ms=self.heard // BYTES_PER_MS, confidence=1.0, languages=self._languages() if is_final else (),
            )
        )  # fmt: skip

    def _languages(self) -> tuple[tuple[str, int], ...]:
        told = Counter(self.foreign.get(word, "en") for word in self.words) if SEVERAL in self.language else Counter[str]()
        return tuple(sorted(told.items()))


class TextEars:
    """A recogniser of `spoken`; of several languages it tells them apart by the words that are `foreign`."""

    name = "text-ears"
    embedded = True

    def __init__(self) -> None:
        self.unreachable = False
        self.foreign: dict[str, str] = {}
        self.streams: list[_TextHearing] = []

    async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> _TextHearing:
        await asyncio.sleep(0)
        if self.unreachable:
            raise EngineUnavailable(self.name, "unreachable")
        self.streams.append(_TextHearing(listener, language, self.foreign))
        return self.streams[-1]


class _LevelStream:
    def __init__(self, listener: ActivityListener) -> None:
        self._listener, self._pending, self._at_ms = listener, bytearray(), 0

    def feed(self, mulaw: bytes) -> None:
        self._pending += mulaw
        windows = []
        while len(self._pending) >= 256:
            window = bytes(self._pending[:256])
            del self._pending[:256]
            self._at_ms += 32
            windows.append((self._at_ms, 0.0 if window.count(SILENCE) > 128 else 1.0))
        if windows:
            self._listener(windows)

    def close(self) -> None:
        self._listener = lambda _: None


class LevelActivity:
    """A detector that takes everything but digital silence for speech."""

    def open(self, listener: ActivityListener) -> _LevelStream:
        return _LevelStream(listener)


@dataclass(slots=True)
class _Voice:
    listener: VoiceListener
    spoken: list[str]
    hangs: bool = False
    pending: list[asyncio.TimerHandle] = field(default_factory=list)

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        loop = asyncio.get_running_loop()
        self.spoken.append(text)
        if self.hangs:
            return
        self.pending.append(loop.call_later(0.002, self._deliver, utterance, text))

    def clear(self) -> None:
        for handle in self.pending:
            handle.cancel()
        self.pending.clear()

    async def close(self) -> None:
        self.clear()

    def _deliver(self, utterance: int, text: str) -> None:
        mulaw = bytes([_LOUD]) * (len(text) * _SPEAKING_MS_PER_CHARACTER * BYTES_PER_MS)
        self.listener(VoiceAudio(mulaw=mulaw))
        self.listener(VoiceFlushed(utterance=utterance))


class PlainVoice:
    """A voice of 4 ms a character, all of it delivered 2 ms after it was asked for; the first `hanging` streams say nothing."""

    name = "plain-voice"
    embedded = True

    def __init__(self) -> None:
        self.unreachable = False
        self.hanging = 0
        self.spoken: list[str] = []
        self.voices: list[str] = []

    async def connect(self, *, voice: str, listener: VoiceListener) -> _Voice:
        await asyncio.sleep(0)
        if self.unreachable:
            raise EngineUnavailable(self.name, "unreachable")
        self.hanging -= 1
        self.voices.append(voice)
        return _Voice(listener, self.spoken, hangs=self.hanging >= 0)


Thoughts = Callable[[ModelRequest], Sequence[ModelEvent | float]]


class Mind:
    """A model that answers by a function; a float in the answer is a pause in seconds."""

    name = "mind"
    embedded = True

    def __init__(self, thoughts: Thoughts) -> None:
        self.thoughts = thoughts
        self.unreachable = False
        self.requests: list[ModelRequest] = []
        self._asked = asyncio.Event()

    async def asked_about(self, words: str, *, within_seconds: float = 20.0) -> None:
        """Wait for a question whose last entry has these words."""
        async with asyncio.timeout(within_seconds):
            while not any(words in request.messages[-1].text for request in self.requests):
                self._asked.clear()
                await self._asked.wait()

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.requests.append(request)
        self._asked.set()
        await asyncio.sleep(0)
        if self.unreachable:
            raise EngineUnavailable(self.name, "unreachable")
        for event in self.thoughts(request):
            if isinstance(event, float):
                await asyncio.sleep(event)
            else:
                yield event


@dataclass(slots=True)
class PlainTools:
    """Tools by name; each run is kept."""

    tools: tuple[Tool, ...] = ()
    answers: Mapping[str, Json] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    takes_seconds: float = 0.0
    runs: list[tuple[str, str]] = field(default_factory=list)

    def offered(self) -> Sequence[Tool]:
        return self.tools

    def faults(self, use: ToolUse) -> str:
        return self.wrong.get(use.name, "")

    async def run(self, use: ToolUse, *, idempotency_key: str) -> Json:
        self.runs.append((use.name, idempotency_key))
        await asyncio.sleep(self.takes_seconds)
        if use.name not in self.answers:
            raise ToolFailed(f"{use.name} has no answer")
        return self.answers[use.name]


@dataclass(slots=True)
class Carrier:
    """A Telephony that remembers whom it hung up and put through."""

    hung_up: list[str] = field(default_factory=list)
    put_through: list[tuple[str, str, str]] = field(default_factory=list)
    refuses: str = ""

    async def transfer(self, call_sid: str, number: str, *, told_at: str) -> None:
        if self.refuses:
            raise TransferRefused(self.refuses)
        self.put_through.append((call_sid, number, told_at))

    async def hang_up(self, call_sid: str) -> None:
        self.hung_up.append(call_sid)


@dataclass(slots=True)
class Shelf:
    """A RecordingStore. `failing`: so many of the next puts fail."""

    objects: dict[str, bytes] = field(default_factory=dict)
    failing: int = 0

    async def put(self, name: str, content: bytes) -> None:
        if self.failing:
            self.failing -= 1
            raise OSError("the shelf is full")
        if self.objects.setdefault(name, content) != content:
            raise OSError("something else lies there")

    async def get(self, name: str) -> bytes | None:
        return self.objects.get(name)


@dataclass(slots=True)
class MemorySignals:
    """A SignalStore."""

    objects: dict[str, bytes] = field(default_factory=dict)
    full: bool = False
    refused: asyncio.Event = field(default_factory=asyncio.Event)

    async def put(self, name: str, content: bytes) -> None:
        if self.full:
            self.refused.set()
            raise OSError("no space left")
        self.objects[name] = content

    async def get(self, name: str) -> bytes | None:
        return self.objects.get(name)

    async def names(self, folder: str) -> Sequence[str]:
        return sorted(name for name in self.objects if name.startswith(f"{folder}/"))
