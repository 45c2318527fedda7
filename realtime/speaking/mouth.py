"""One call's way to its voices: what is said before one is reached waits for it, in order; one that is lost is replaced."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from realtime.engines.ladders import changed_because, engine_of
from realtime.engines.renewing import Renewing
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import EngineFailed, TextToSpeech, VoiceAudio, VoiceFlushed, VoiceStream

Lookup: TypeAlias = Callable[[str, str], tuple[bytes, bool] | None]
"""What was spoken ahead of a text by a voice, and whether this call has to account for it."""

# No utterance has this number.
_NOT_SAID = 0


@dataclass(slots=True)
class _KeptBack:
    """A text that is spoken before it is to be said. `utterance`: as which it is said now, 0 while it is not."""

    asked: int
    text: str
    sound: list[bytes] = field(default_factory=list)
    whole: bool = False
    utterance: int = 0


class Mouth:
    """Gives VoiceArrived with its audio, VoiceDelivered, VoiceReady, EngineTaken, and EngineBroke once.

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
        self._kept_back: _KeptBack | None = None
        self._streams: Renewing[VoiceStream] = Renewing("voice", self._reach, self._take, self._broke)

    async def keep(self) -> None:
        """Reach a voice, and again whenever its stream is lost, until it cannot be reached: then EngineBroke."""
        await self._streams.keep()

    async def connect(self) -> None:
        """Reach a voice and say what waits. A failure becomes a signal."""
        await self._streams.connect()

    def perform(self, effect: do.Speak | do.SpeakAhead | do.ForgetAhead | do.UseVoice | do.ClearVoice | do.ChangeVoice) -> None:
        """What the call's machine wants of its voice."""
        match effect:
            case do.Speak(utterance=utterance, text=text):
                self.speak(utterance, text)
            case do.SpeakAhead(asked=asked, text=text):
                self.speak_ahead(asked, text)
            case do.ForgetAhead():
                self.forget_ahead()
            case do.UseVoice(voice=voice):
                self.use(voice)
            case do.ClearVoice():
                self.clear()
            case do.ChangeVoice(reason=reason):
                self.change(reason)

    def use(self, voice: str) -> None:
        """What is said next is said by this voice: it is reached as soon as nothing is owed by the one before."""
        if voice != self._wanted:
            self.forget_ahead()
        self._wanted = voice
        self._go_on()

    def speak(self, utterance: int, text: str) -> None:
        """Say it now, in the voice that is in use."""
        if self._streams.broken or self._says_kept_back(utterance, text):
            return
        voice, owed = self._wanted, self._given or self._waiting
        if not owed and self._prepared is not None and (ready := self._prepared(voice, text)) is not None:
            mulaw, first = ready
            self._give(signals.VoiceArrived(at_ms=self._now_ms(), samples=len(mulaw)), mulaw)
            self._give(signals.VoiceDelivered(at_ms=self._now_ms(), utterance=utterance, from_memory=not first), b"")
            return
        self._waiting.append((utterance, text, voice))
        self._go_on()

    def speak_ahead(self, asked: int, text: str) -> None:
        """Have it spoken and keep its sound back for a `speak` of the same text. VoiceReady comes whatever becomes of it."""
        stream = self._streams.stream
        if stream is None or self._given or self._waiting or self._wanted != self._reached_voice or self._streams.broken:
            self._ready(asked)
            return
        self.forget_ahead()
        self._kept_back = _KeptBack(asked, text)
        stream.speak(_NOT_SAID, text, flush=True)

    def forget_ahead(self) -> None:
        """Nothing of what is kept back is said."""
        kept = self._kept_back
        if kept is None or kept.utterance:
            return
        self._kept_back = None
        if not kept.whole and self._streams.stream is not None and not self._streams.broken:
            self._streams.stream.clear()

    def clear(self) -> None:
        """Forget what was not delivered."""
        self._kept_back = None
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

    def _says_kept_back(self, utterance: int, text: str) -> bool:
        kept = self._kept_back
        if kept is None or kept.utterance:
            return False
        if kept.text != text:
            self.forget_ahead()
            return False
        kept.utterance = utterance
        self._given.append(utterance)
        if sound := b"".join(kept.sound):
            self._give(signals.VoiceArrived(at_ms=self._now_ms(), samples=len(sound)), sound)
        if kept.whole:
            self._whole(kept)
        return True

    def _keep_back(self, kept: _KeptBack, delivered: VoiceAudio | VoiceFlushed) -> None:
        if isinstance(delivered, VoiceFlushed):
            kept.whole = True
            if kept.utterance:
                self._whole(kept)
        else:
            kept.sound.append(delivered.mulaw)
        if len(kept.sound) + kept.whole == 1 and not kept.utterance:
            self._ready(kept.asked)

    def _whole(self, kept: _KeptBack) -> None:
        self._kept_back = None
        self._given.remove(kept.utterance)
        self._give(signals.VoiceDelivered(at_ms=self._now_ms(), utterance=kept.utterance), b"")
        self._go_on()

    def _ready(self, asked: int) -> None:
        self._give(signals.VoiceReady(at_ms=self._now_ms(), asked=asked), b"")

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
        kept = self._kept_back
        match delivered:
            case VoiceAudio(mulaw=mulaw) if kept is not None and not kept.utterance and not kept.whole:
                if mulaw:
                    self._streams.worked()
                    self._keep_back(kept, delivered)
            case VoiceFlushed(utterance=utterance) if kept is not None and utterance == _NOT_SAID:
                self._keep_back(kept, delivered)
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
            kept, self._kept_back = self._kept_back, None
            if kept is not None and not kept.utterance:
                self._ready(kept.asked)
            self._streams.lose(engine, reason)

    def _broke(self, engine: str, reason: str) -> None:
        self._give(signals.EngineBroke(at_ms=self._now_ms(), engine=signals.Engine.VOICE, name=engine, reason=reason), b"")
