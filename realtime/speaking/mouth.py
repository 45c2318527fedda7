"""One call's way to the voice: what is said before the voice is reached waits for it, in order."""

from collections.abc import Callable

from realtime.machine import signals
from realtime.ports import EngineFailed, EngineUnavailable, TextToSpeech, VoiceAudio, VoiceFlushed, VoiceStream


class Mouth:
    """Gives VoiceArrived with its audio, VoiceDelivered, and EngineBroke once."""

    def __init__(self, voice: TextToSpeech, give: Callable[[signals.Signal, bytes], None], now_ms: Callable[[], int]) -> None:
        self._voice, self._give, self._now_ms = voice, give, now_ms
        self._stream: VoiceStream | None = None
        self._waiting: list[tuple[int, str]] = []
        self._broken = False

    async def connect(self, *, voice: str) -> None:
        """Reach the voice and say what waits. A failure becomes a signal."""
        try:
            self._stream = await self._voice.connect(voice=voice, listener=self._delivered)
        except EngineUnavailable as cause:
            self._broke(cause.engine, cause.reason)
            return
        waiting, self._waiting = self._waiting, []
        for utterance, text in waiting:
            self.speak(utterance, text)

    def speak(self, utterance: int, text: str) -> None:
        """Say it now."""
        if self._stream is None:
            self._waiting.append((utterance, text))
        elif not self._broken:
            self._stream.speak(utterance, text, flush=True)

    def clear(self) -> None:
        """Forget what was not delivered."""
        self._waiting.clear()
        if self._stream is not None and not self._broken:
            self._stream.clear()

    async def close(self) -> None:
        """Say nothing more."""
        self._broken = True
        if self._stream is not None:
            await self._stream.close()

    def _delivered(self, delivered: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
        if self._broken:
            return
        match delivered:
            case VoiceAudio(mulaw=mulaw):
                if mulaw:
                    self._give(signals.VoiceArrived(at_ms=self._now_ms(), samples=len(mulaw)), mulaw)
            case VoiceFlushed(utterance=utterance):
                self._give(signals.VoiceDelivered(at_ms=self._now_ms(), utterance=utterance), b"")
            case EngineFailed(engine=engine, reason=reason):
                self._broke(engine, reason)

    def _broke(self, engine: str, reason: str) -> None:
        if not self._broken:
            self._broken = True
            self._give(signals.EngineBroke(at_ms=self._now_ms(), engine=signals.Engine.VOICE, name=engine, reason=reason), b"")
