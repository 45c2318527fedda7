"""One call's way to its voices: what is said before one is reached waits for it, in order; one that is lost is replaced."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from realtime.engines.ladders import changed_because, engine_of
from realtime.engines.renewing import Renewing
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import EngineFailed, TextToSpeech, VoiceAudio, VoiceFlushed, VoiceStream

Lookup: TypeAlias = Callable[[str, str], tuple[bytes, bool] | None]
"""What was spoken ahead of a text by a voice, and whether this call has to account for it."""


class Mouth:
    """Gives VoiceArrived with its audio, VoiceDelivered, EngineTaken, and EngineBroke once.

    A voice that takes over knows nothing: whoever is told of it by EngineTaken says again what was not delivered. A call has one stream at
    a time, as its provider's account counts them: a text of another voice waits until all before it is delivered.
    """

    def __init__(
        self,
        voice: TextToSpeech,
        give: Callable[[signals.Signal, bytes], None],
        now_ms: Callable[[], int],
        prepared: Lookup | None = None,
        *,
        first: str = "",
    ) -> None:
        """`first`: the provider's name of the voice that speaks until another is used."""
        self._voice, self._give, self._now_ms = voice, give, now_ms
        self._prepared = prepared
        self._given: deque[int] = deque()
        self._waiting: deque[tuple[int, str, str]] = deque()
        self._engine = voice.name
        self._reached_voice = self._wanted = first
        self._streams: Renewing[VoiceStream] = Renewing("voice", self._reach, self._take, self._broke)

    async def keep(self) -> None:
        """Reach a voice, and again whenever its stream is lost, until it cannot be reached: then EngineBroke."""
        await self._streams.keep()

    async def connect(self) -> None:
        """Reach a voice and say what waits. A failure becomes a signal."""
        await self._streams.connect()

    def perform(self, effect: do.Speak | do.UseVoice | do.ClearVoice | do.ChangeVoice) -> None:
        """What the call's machine wants of its voice."""
        match effect:
            case do.Speak(utterance=utterance, text=text):
                self.speak(utterance, text)
            case do.UseVoice(voice=voice):
                self.use(voice)
            case do.ClearVoice():
                self.clear()
            case do.ChangeVoice(reason=reason):
                self.change(reason)

    def use(self, voice: str) -> None:
        """What is said next is said by this voice: it is reached as soon as nothing is owed by the one before."""
        self._wanted = voice
        self._go_on()

    def speak(self, utterance: int, text: str) -> None:
        """Say it now, in the voice that is in use."""
        if self._streams.broken:
            return
        voice, owed = self._wanted, self._given or self._waiting
        if not owed and self._prepared is not None and (ready := self._prepared(voice, text)) is not None:
            mulaw, first = ready
            self._give(signals.VoiceArrived(at_ms=self._now_ms(), samples=len(mulaw)), mulaw)
            self._give(signals.VoiceDelivered(at_ms=self._now_ms(), utterance=utterance, from_memory=not first), b"")
            return
        self._waiting.append((utterance, text, voice))
        self._go_on()

    def clear(self) -> None:
        """Forget what was not delivered."""
        self._waiting.clear()
        self._given.clear()
        if self._streams.stream is not None and not self._streams.broken:
            self._streams.stream.clear()
            self._go_on()

    def change(self, reason: str) -> None:
        """The voice hangs: nothing of it counts any more, and another is taken."""
        self._lose(self._streams.number, self._engine, reason)

    async def close(self) -> None:
        """Say nothing more."""
        await self._streams.close()

    async def _reach(self, number: int) -> VoiceStream:
        return await self._voice.connect(voice=self._reached_voice, listener=partial(self._delivered, number))

    def _take(self, stream: VoiceStream) -> None:
        before, self._engine = self._engine, engine_of(stream, self._voice.name)
        lost, self._streams.lost_because = self._streams.lost_because, ""
        reason = lost or changed_because(stream, before, self._voice.name)
        if reason and not self._streams.broken:
            # All that was not delivered is said again by whoever is told, what waits here included.
            self._waiting.clear()
            self._give(
                signals.EngineTaken(
                    at_ms=self._now_ms(), engine=signals.Engine.VOICE, name=self._engine, instead_of=before, reason=reason
                ),
                b"",
            )  # fmt: skip
        self._go_on()

    def _go_on(self) -> None:
        """Give the stream what waits for it; where that, or nothing, is of another voice, reach that one once nothing is owed."""
        stream = self._streams.stream
        while stream is not None and self._waiting and self._waiting[0][2] == self._reached_voice:
            utterance, text, _ = self._waiting.popleft()
            self._given.append(utterance)
            stream.speak(utterance, text, flush=True)
        wanted = self._waiting[0][2] if self._waiting else self._wanted
        if not self._given and wanted != self._reached_voice and not self._streams.broken:
            self._reached_voice = wanted
            self._streams.renew()

    def _delivered(self, number: int, delivered: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
        if not self._streams.serves(number):
            return
        match delivered:
            case VoiceAudio(mulaw=mulaw):
                if mulaw:
                    self._streams.worked()
                    self._give(signals.VoiceArrived(at_ms=self._now_ms(), samples=len(mulaw)), mulaw)
            case VoiceFlushed(utterance=utterance):
                while self._given and self._given[0] <= utterance:
                    self._given.popleft()
                self._give(signals.VoiceDelivered(at_ms=self._now_ms(), utterance=utterance), b"")
                self._go_on()
            case EngineFailed(engine=engine, reason=reason):
                self._lose(number, engine, reason)

    def _lose(self, number: int, engine: str, reason: str) -> None:
        if self._streams.serves(number):
            self._given.clear()
            self._streams.lose(engine, reason)

    def _broke(self, engine: str, reason: str) -> None:
        self._give(signals.EngineBroke(at_ms=self._now_ms(), engine=signals.Engine.VOICE, name=engine, reason=reason), b"")
