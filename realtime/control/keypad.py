"""The keys of the caller's telephone: digits that the agent wants as words go to the machine, captured ones to nobody.

While a capture lasts, its digits lie here and nowhere else; the machine is told how many there are. The caller's audio is silence
to recogniser, detector and recording, because a key's tone says which one it is.
"""

from collections.abc import Callable

from realtime.audio import SILENCE
from realtime.machine import signals
from realtime.machine.effects import BeginCapture

# The last key's tone may still sound when the capture is over, and people press one key more than they were asked for.
_STAYS_SEALED_MS = 1000

Keep = Callable[[int, bytearray], None]
"""(number of the capture, digits): have them kept, and tell the machine. The digits are wiped when it returns."""


class Keypad:
    """One call's keys. `words`: whether digits outside a capture are told to the machine at all."""

    def __init__(self, give: Callable[[signals.Signal], None], now_ms: Callable[[], int], keep: Keep, *, words: bool) -> None:
        self._give, self._now_ms, self._keep, self._words = give, now_ms, keep, words
        self._capture: BeginCapture | None = None
        self._digits = bytearray()
        self._sealed_until_ms = -1

    @property
    def sealed(self) -> bool:
        """Whether nobody may hear or see the caller's keys now."""
        return self._capture is not None or self._now_ms() <= self._sealed_until_ms

    def begin(self, capture: BeginCapture) -> None:
        """From now on keys are sealed, until there are enough of them, the terminator comes, or `end`."""
        self._wipe()
        self._capture = capture

    def end(self) -> None:
        """Forget what was keyed in."""
        if self._capture is not None:
            self._over()

    def pressed(self, digit: str) -> None:
        """The carrier says that a key was pressed."""
        capture = self._capture
        if capture is not None:
            self._captured(capture, digit)
        elif self._words and not self.sealed:
            self._give(signals.DigitPressed(at_ms=self._now_ms(), digit=digit))

    def muted(self, mulaw: bytes) -> bytes:
        """What the caller's audio is to everybody who hears it."""
        if self._capture is None and self._sealed_until_ms < 0:
            return mulaw
        return bytes([SILENCE]) * len(mulaw) if self.sealed else mulaw

    def _captured(self, capture: BeginCapture, digit: str) -> None:
        ended = digit == capture.terminator
        if not ended:
            self._digits += digit.encode()
        self._give(signals.DigitSealed(at_ms=self._now_ms(), count=len(self._digits)))
        if ended or len(self._digits) >= capture.most:
            self._keep(capture.capture, self._digits)
            self._over()

    def _over(self) -> None:
        self._capture = None
        self._wipe()
        self._sealed_until_ms = self._now_ms() + _STAYS_SEALED_MS

    def _wipe(self) -> None:
        self._digits[:] = bytes(len(self._digits))
        self._digits = bytearray()
