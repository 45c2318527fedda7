"""Whether what the microphone hears is the agent's own voice come back: delayed, softer, and of the same shape as what was sent.

A telephone's echo is a delayed copy through a small room, so its waveform follows what was sent as no other talker's does.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime.audio import BYTES_PER_MS, decode_float

_WINDOW_MS = 192
# Longer than the way to the caller and back, and what a network may add.
_LONGEST_DELAY_MS = 600
_KEPT_MS = 1000
_LEAST_ENERGY = 1e-9
# A caller who begins to speak is louder than an echo at once, not only on the average of the window.
_LAST_MS = 64
# The way does not change in a call: where an echo was plain, less will do, so near to its delay.
_PLAIN = 0.6
_NEAR_MS = 6
_NEAR_LIKENESS = 0.5

# Lengths whose transforms are quick.
_FAST = sorted(
    length for length in (two * odd for two in (2**power for power in range(8, 14)) for odd in (1, 3, 5, 9, 15, 25)) if length <= 1 << 13
)

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """`likeness`: the least correlation with something that was sent; 1 and more: nothing is taken for an echo.

    `below_db`: an echo is softer by so much than what it is an echo of. A caller is not.
    """

    likeness: float = 0.42
    below_db: float = 10.0


class Echo:
    """One call's. Both sides are fed in call time; asking costs a fraction of a millisecond, and is done while both are heard."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._sent: deque[tuple[int, bytes]] = deque()
        self._heard = bytearray()
        self._heard_until = 0
        self._delay: int | None = None

    def sent(self, from_sample: int, mulaw: bytes) -> None:
        """The agent's sound, to be played from `from_sample` of call time on."""
        self._forget_before(self._heard_until - _KEPT_MS * BYTES_PER_MS)
        self._sent.append((from_sample, mulaw))

    def cut(self, at_sample: int) -> None:
        """What would have played from here on will not."""
        self._sent = deque((start, mulaw[: at_sample - start]) for start, mulaw in self._sent if start < at_sample)

    def heard(self, until_ms: int, mulaw: bytes) -> None:
        """The microphone's sound that ends at `until_ms`."""
        self._heard += mulaw
        self._heard_until = until_ms * BYTES_PER_MS
        if len(self._heard) > 2 * _KEPT_MS * BYTES_PER_MS:
            del self._heard[: -_KEPT_MS * BYTES_PER_MS]

    def explains(self, until_ms: int) -> bool:
        """Whether the sound that ends at `until_ms` is an echo."""
        window, delay = _WINDOW_MS * BYTES_PER_MS, _LONGEST_DELAY_MS * BYTES_PER_MS
        until = until_ms * BYTES_PER_MS
        end = len(self._heard) - (self._heard_until - until)
        if end < window or end > len(self._heard) or self._thresholds.likeness >= 1:
            return False
        sent = self._between(until - window - delay, until)
        if sent is None:
            return False
        return self._alike(_edged(decode_float(bytes(self._heard[end - window : end]))), _edged(sent))

    def _alike(self, heard: Sound, sent: Sound) -> bool:
        squares = np.square(heard, dtype=np.float64)
        energy = float(squares.sum())
        if energy <= _LEAST_ENERGY:
            return False
        last = _LAST_MS * BYTES_PER_MS
        louder = max(energy, float(squares[-last:].sum()) * len(heard) / last)
        least = louder * 10 ** (self._thresholds.below_db / 10)
        summed = np.cumsum(np.square(sent, dtype=np.float64))
        if least >= max(float(summed[-1]), _LEAST_ENERGY):
            # Too loud for an echo of all of it together: most callers are, and need no further look.
            return False
        summed = np.concatenate(([0.0], summed))
        energies = np.maximum(summed[len(heard) :] - summed[: -len(heard)], _LEAST_ENERGY)
        softer = least < energies
        if not softer.any():
            return False
        # What is compared begins with the first delay at which it could be an echo, and ends with the last.
        first, end = int(softer.argmax()), len(softer) - int(softer[::-1].argmax())
        sent = sent[first : end - 1 + len(heard)]
        # What comes around the end of so short a transform falls on delays that nobody asks about.
        size = next(length for length in _FAST if length >= len(sent))
        product = np.fft.rfft(sent, size) * np.conj(np.fft.rfft(heard, size))
        along = np.fft.irfft(product, size)[: end - first]
        likeness = np.zeros(len(softer))
        likeness[first:end] = np.where(softer[first:end], np.abs(along) / np.sqrt(energies[first:end] * energy), 0.0)
        best = int(likeness.argmax())
        if likeness[best] >= _PLAIN:
            self._delay = best
        if likeness[best] >= self._thresholds.likeness:
            return True
        if self._delay is None:
            return False
        near = likeness[max(0, self._delay - _NEAR_MS * BYTES_PER_MS) : self._delay + _NEAR_MS * BYTES_PER_MS]
        return bool(near.max(initial=0.0) >= self._thresholds.likeness * _NEAR_LIKENESS)

    def _between(self, start: int, end: int) -> Sound | None:
        """What was playing then; None when nothing was."""
        self._forget_before(start)
        if not self._sent or self._sent[0][0] >= end:
            return None
        sound = np.zeros(end - start, np.float32)
        for at, mulaw in self._sent:
            if at >= end:
                break
            skipped = max(0, start - at)
            piece = decode_float(mulaw[skipped : end - at])
            sound[max(0, at - start) : max(0, at - start) + len(piece)] = piece
        return sound

    def _forget_before(self, sample: int) -> None:
        while self._sent and self._sent[0][0] + len(self._sent[0][1]) <= sample:
            self._sent.popleft()


def _edged(sound: Sound) -> Sound:
    """Without the weight of the lowest tones, in which all voices are alike."""
    edged: Sound = sound.copy()
    edged[1:] -= np.float32(0.9) * sound[:-1]
    return edged
