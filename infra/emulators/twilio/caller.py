"""A caller with a mind of their own: speaks when it is their turn, or over the agent; knows the agent by ear alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from infra.emulators.twilio.playout import FRAME_BYTES, SILENCE
from realtime.audio import decode

FRAME_MS = 20
# RMS of 16-bit samples: line noise stays below, the quietest syllables of a voice above.
_LOUD = 250.0
_TALKING_AGAIN_MS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the caller says and when: after the agent has been silent for `after_silence_ms`, or `barge_in_after_ms` into their talk."""

    text: str
    mulaw: bytes
    after_silence_ms: int = 900
    barge_in_after_ms: int | None = None
    keys: tuple[tuple[int, str], ...] = ()
    """Keys whose tones lie in the audio, each with the ms at which its tone ends: then the carrier tells of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The caller's own record of a line: stream time, ms."""

    text: str
    started_ms: int
    ended_ms: int


@dataclass(slots=True)
class Caller:
    """Gives one frame and takes one frame per 20 ms tick."""

    lines: Sequence[Line]
    patience_ms: int = 8000
    said: list[Said] = field(default_factory=list)
    _next: int = 0
    _speaking: bytes = b""
    _started_ms: int = 0
    _silent_ms: int = 0
    _talk_ms: int = 0
    _heard_since_line: bool = False
    _pressed: list[str] = field(default_factory=list)

    def tick(self, at_ms: int, heard: bytes | None) -> bytes:
        """The next frame to send, 160 bytes of mu-law; `heard` is what the line played to the caller's ear."""
        self._listen(heard)
        if not self._speaking and self._next < len(self.lines) and self._my_turn(self.lines[self._next]):
            line = self.lines[self._next]
            self._speaking, self._started_ms = line.mulaw, at_ms
        if not self._speaking:
            return SILENCE
        since_ms = at_ms - self._started_ms
        self._pressed += [key for ends_ms, key in self.lines[self._next].keys if since_ms < ends_ms <= since_ms + FRAME_MS]
        frame, self._speaking = self._speaking[:FRAME_BYTES], self._speaking[FRAME_BYTES:]
        if not self._speaking:
            self.said.append(Said(text=self.lines[self._next].text, started_ms=self._started_ms, ended_ms=at_ms + FRAME_MS))
            self._next += 1
            self._silent_ms, self._talk_ms, self._heard_since_line = 0, 0, False
        return frame + SILENCE[len(frame) :]

    def pressed(self) -> list[str]:
        """The keys whose tones have ended since this was asked last."""
        keys, self._pressed = self._pressed, []
        return keys

    @property
    def finished(self) -> bool:
        """Whether the caller has nothing to add and puts the phone down."""
        return self._next == len(self.lines) and not self._speaking and self._silent_ms >= self.patience_ms

    def _listen(self, heard: bytes | None) -> None:
        samples = decode(heard).astype("float32") if heard else None
        if samples is not None and float((samples * samples).mean()) ** 0.5 > _LOUD:
            self._talk_ms += self._silent_ms if self._talk_ms and self._silent_ms < _TALKING_AGAIN_MS else 0
            self._talk_ms += FRAME_MS
            self._silent_ms = 0
            self._heard_since_line = True
        else:
            self._silent_ms += FRAME_MS
            if self._silent_ms >= _TALKING_AGAIN_MS:
                self._talk_ms = 0

    def _my_turn(self, line: Line) -> bool:
        if line.barge_in_after_ms is not None:
            return self._talk_ms >= line.barge_in_after_ms
        return self._heard_since_line and self._silent_ms >= line.after_silence_ms
