"""One call's way into the recogniser and the detector of speech: in call time, without gaps, from the first frame on."""

from collections.abc import Callable, Sequence

from realtime.audio import BYTES_PER_MS, duration_ms, silence
from realtime.hearing import vad
from realtime.hearing.contours import Contour
from realtime.machine import signals
from realtime.ports import ActivityStream, EngineFailed, EngineUnavailable, HearingStream, SpeechToText, Transcript, VoiceActivity

Give = Callable[[signals.Signal], None]
Noticed = Callable[[int, Sequence[tuple[int, float]], Sequence[vad.SpeechChange]], None]
# What is kept while the recogniser is still being reached.
_LONGEST_WAIT_BYTES = 15_000 * BYTES_PER_MS
# A longer hole in the carrier's stamps is no lost frame; the clock then jumps with them.
_LONGEST_GAP_MS = 2000


class Ears:
    """Gives SpeechStarted, SpeechStopped, WordsRecognised, and EngineBroke once. `now_ms` is the call's clock."""

    def __init__(
        self,
        recogniser: SpeechToText,
        activity: VoiceActivity,
        thresholds: vad.Thresholds,
        give: Give,
        now_ms: Callable[[], int],
        noticed: Noticed = lambda _origin_ms, _windows, _changes: None,
    ) -> None:
        self._recogniser = recogniser
        self._thresholds, self._noticed = thresholds, noticed
        self._give, self._now_ms = give, now_ms
        self._activity: ActivityStream = activity.open(self._windows)
        self._speech = vad.SILENT
        self._contour = Contour()
        self._began_ms = 0
        self._origin_ms: int | None = None
        self._next_ms = 0
        self._skipped_ms = 0
        self._waiting = bytearray()
        self._finalize_waiting = False
        self._stream: HearingStream | None = None
        self._broken = False
        self.heard_bytes = 0

    async def connect(self, *, language: str, vocabulary: Sequence[str]) -> None:
        """Reach the recogniser and give it what was said meanwhile. A failure becomes a signal."""
        try:
            stream = await self._recogniser.connect(language=language, vocabulary=vocabulary, listener=self._heard)
        except EngineUnavailable as cause:
            self._broke(cause.engine, cause.reason)
            return
        self._stream = stream
        if self._waiting:
            self._send(bytes(self._waiting))
            self._waiting.clear()
        if self._finalize_waiting:
            self._finalize_waiting = False
            stream.finalize()

    def frame(self, at_ms: int, mulaw: bytes) -> bytes:
        """A frame that begins at `at_ms`; returns what was made of it: lost ones before it as silence, repeated ones nothing."""
        if self._origin_ms is None:
            self._origin_ms = self._next_ms = at_ms
        gap_ms = at_ms - self._next_ms
        if gap_ms < 0:
            return b""
        if gap_ms > _LONGEST_GAP_MS:
            self._skipped_ms += gap_ms
        elif gap_ms:
            mulaw = silence(gap_ms) + mulaw
        self._next_ms = at_ms + (duration_ms(mulaw) - gap_ms if 0 < gap_ms <= _LONGEST_GAP_MS else duration_ms(mulaw))
        self._activity.feed(mulaw)
        self._contour.feed(self._next_ms, mulaw)
        if self._stream is not None:
            self._send(mulaw)
        elif len(self._waiting) < _LONGEST_WAIT_BYTES:
            self._waiting += mulaw
        return mulaw

    def finalize(self) -> None:
        """Ask the recogniser for its last word on what it was given."""
        if self._stream is None:
            self._finalize_waiting = True
        else:
            self._stream.finalize()

    async def close(self) -> None:
        """Hear nothing more."""
        self._broken = True
        self._activity.close()
        if self._stream is not None:
            await self._stream.close()

    @property
    def heard_ms(self) -> int:
        """How much audio the recogniser was given."""
        return self.heard_bytes // BYTES_PER_MS

    def _send(self, mulaw: bytes) -> None:
        if self._stream is not None and not self._broken:
            self.heard_bytes += len(mulaw)
            self._stream.send(mulaw)

    def _call_ms(self, stream_ms: int) -> int:
        return stream_ms + (self._origin_ms or 0) + self._skipped_ms

    def _windows(self, windows: Sequence[tuple[int, float]]) -> None:
        self._speech, changes = vad.steps(self._speech, self._thresholds, windows)
        self._noticed(self._call_ms(0), windows, changes)
        for change in changes:
            at_ms, since_ms = self._now_ms(), self._call_ms(change.at_ms)
            if isinstance(change, vad.SpeechStarted):
                self._began_ms = self._contour.began(since_ms)
                self._give(signals.SpeechStarted(at_ms=at_ms, since_ms=min(self._began_ms, at_ms)))
            else:
                ended_ms = max(self._contour.ended(since_ms), self._began_ms)
                self._give(signals.SpeechStopped(at_ms=at_ms, ended_ms=min(ended_ms, at_ms)))

    def _heard(self, heard: Transcript | EngineFailed) -> None:
        if isinstance(heard, EngineFailed):
            self._broke(heard.engine, heard.reason)
            return
        self._give(
            signals.WordsRecognised(
                at_ms=self._now_ms(), text=heard.text, is_final=heard.is_final, from_finalize=heard.from_finalize,
                start_ms=self._call_ms(heard.start_ms), end_ms=self._call_ms(heard.end_ms), confidence=heard.confidence,
            )
        )  # fmt: skip

    def _broke(self, engine: str, reason: str) -> None:
        if not self._broken:
            self._broken = True
            self._give(signals.EngineBroke(at_ms=self._now_ms(), engine=signals.Engine.RECOGNISER, name=engine, reason=reason))
