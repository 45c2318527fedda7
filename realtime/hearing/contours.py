"""The loudness of the last seconds, by which a detector's windows are trimmed to where the speech really begins and ends.

The detector is sure about speech, and vague about its edges: it sees soft beginnings late and goes on through the echo of an end.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from realtime.audio import BYTES_PER_MS, decode

STEP_MS = 10
_KEPT_BYTES = 4000 * BYTES_PER_MS
# A little at a time would move all of it with each frame.
_MORE_BYTES = 1000 * BYTES_PER_MS
_BACK_MS = 300
_AHEAD_MS = 100
_LONGEST_PAUSE_MS = 60
# Amplitudes of 16-bit samples: 24 times the floor in power is 14 dB, and below 60 lies what a line makes by itself.
_ABOVE_FLOOR = 24.0
_LEAST_POWER = 60.0**2


Powers: TypeAlias = NDArray[np.float32]


class Contour:
    """The last seconds in call time. Feeding is cheap, as it is done fifty times a second; asking is done at the edges of speech."""

    def __init__(self) -> None:
        self._mulaw = bytearray()
        self._end_ms = 0
        # Mean powers of steps up to where the audio ended when they were asked for last, and how much has come since.
        self._known: Powers = np.empty(0, np.float32)
        self._fresh = 0

    def feed(self, end_ms: int, mulaw: bytes) -> None:
        """Take audio that ends at `end_ms`."""
        self._mulaw += mulaw
        self._end_ms = end_ms
        self._fresh += len(mulaw)
        if len(self._mulaw) > _KEPT_BYTES + _MORE_BYTES:
            del self._mulaw[:-_KEPT_BYTES]

    def began(self, at_ms: int) -> int:
        """Where the speech began that was noticed at `at_ms`: the first loud step, over short pauses back; else a little ahead."""
        loud = self._loud(at_ms - _BACK_MS, at_ms + _AHEAD_MS)
        begun: int | None = None
        for step_ms in sorted(loud, reverse=True):
            if begun is not None and begun - step_ms > _LONGEST_PAUSE_MS:
                break
            begun = step_ms
        return at_ms if begun is None else begun

    def ended(self, at_ms: int) -> int:
        """Where the speech ended of which nothing was left at `at_ms`: behind the last loud step."""
        loud = self._loud(at_ms - _BACK_MS, at_ms + STEP_MS)
        return max(loud) + STEP_MS if loud else at_ms

    def quiet_ms(self, at_ms: int) -> int:
        """For how long it has been quiet at `at_ms`; no longer than is looked back."""
        loud = self._loud(at_ms - _BACK_MS, at_ms)
        return at_ms - max(loud) - STEP_MS if loud else _BACK_MS

    def _loud(self, from_ms: int, to_ms: int) -> list[int]:
        """The beginnings of loud steps within a stretch."""
        powers = self._powers()
        if not len(powers):
            return []
        tenth = len(powers) // 10
        floor, peak = float(np.partition(powers, tenth)[tenth]), float(powers.max())
        least = max(_LEAST_POWER, min(floor * _ABOVE_FLOOR, peak / 10))
        first_ms = self._end_ms - len(powers) * STEP_MS
        first, end = max(0, (from_ms - first_ms) // STEP_MS), min(len(powers), (to_ms - first_ms) // STEP_MS)
        return [first_ms + step * STEP_MS for step, power in enumerate(powers[first : max(first, end)].tolist(), first) if power >= least]

    def _powers(self) -> Powers:
        """Mean powers of 10 ms each, up to the end; what is no whole step at the beginning is left out."""
        step = STEP_MS * BYTES_PER_MS
        if self._fresh % step or self._fresh > _KEPT_BYTES:
            kept = self._mulaw[-_KEPT_BYTES:]
            self._known = _mean_powers(bytes(kept[len(kept) % step :]))
        elif self._fresh:
            self._known = np.concatenate((self._known, _mean_powers(bytes(self._mulaw[-self._fresh :]))))[-_KEPT_BYTES // step :]
        self._fresh = 0
        return self._known


def _mean_powers(mulaw: bytes) -> Powers:
    samples = decode(mulaw).astype(np.float32).reshape(-1, STEP_MS * BYTES_PER_MS)
    powers: Powers = (samples * samples).mean(axis=1)
    return powers
