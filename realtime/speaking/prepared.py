"""What agents always say, spoken ahead and kept in memory, so that a call begins with a voice and not with a wait for one."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from realtime.ports import EngineFailed, EngineUnavailable, TextToSpeech, VoiceAudio, VoiceFlushed

_WITHIN_SECONDS = 30.0
# Below what a voice delivers on demand in a minute (developers.deepgram.com/docs/tts-ws-flush).
_TEXTS_A_STREAM = 16


@dataclass(slots=True)
class Ready:
    """`charged`: the characters of its making stand in the account of the call that played it first."""

    mulaw: bytes
    charged: bool = False


@dataclass(slots=True)
class _Made:
    texts: Sequence[str]
    sounds: list[bytearray] = field(default_factory=list)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    failed: EngineFailed | None = None

    def deliver(self, told: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
        match told:
            case VoiceAudio(mulaw=mulaw):
                self.sounds[-1] += mulaw
            case VoiceFlushed(utterance=utterance) if utterance < len(self.texts):
                self.sounds.append(bytearray())
            case VoiceFlushed():
                self.settled.set()
            case EngineFailed():
                self.failed = told
                self.settled.set()


class Prepared:
    """One for a process, by voice and text; the least recently played goes first when there is no more room."""

    def __init__(self, voice: TextToSpeech, *, most_bytes: int = 16_000_000) -> None:
        self._voice, self._most_bytes = voice, most_bytes
        self._ready: OrderedDict[tuple[str, str], Ready] = OrderedDict()
        self._bytes = 0

    async def prepare(self, voice: str, texts: Sequence[str]) -> None:
        """Have said what is not there yet. Raises EngineUnavailable."""
        missing = [text for text in dict.fromkeys(texts) if text.strip() and (voice, text) not in self._ready]
        for at in range(0, len(missing), _TEXTS_A_STREAM):
            await self._make(voice, missing[at : at + _TEXTS_A_STREAM])

    def take(self, voice: str, text: str) -> tuple[bytes, bool] | None:
        """The sound of a text, and whether this call has to account for its making. None: it was not prepared."""
        ready = self._ready.get((voice, text))
        if ready is None:
            return None
        self._ready.move_to_end((voice, text))
        first, ready.charged = not ready.charged, True
        return ready.mulaw, first

    async def _make(self, voice: str, texts: Sequence[str]) -> None:
        made = _Made(texts=texts, sounds=[bytearray()])
        stream = await self._voice.connect(voice=voice, listener=made.deliver)
        try:
            for number, text in enumerate(texts, 1):
                stream.speak(number, text, flush=True)
            async with asyncio.timeout(_WITHIN_SECONDS):
                await made.settled.wait()
        except TimeoutError as cause:
            raise EngineUnavailable(self._voice.name, f"not spoken within {_WITHIN_SECONDS:.0f} s") from cause
        finally:
            await stream.close()
        if made.failed is not None:
            raise EngineUnavailable(made.failed.engine, made.failed.reason)
        for text, sound in zip(texts, made.sounds, strict=True):
            self._keep((voice, text), bytes(sound))

    def _keep(self, key: tuple[str, str], mulaw: bytes) -> None:
        if not mulaw:
            return
        self._bytes += len(mulaw)
        self._ready[key] = Ready(mulaw)
        while self._bytes > self._most_bytes and len(self._ready) > 1:
            _, gone = self._ready.popitem(last=False)
            self._bytes -= len(gone.mulaw)
