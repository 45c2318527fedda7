"""The agent's audio while it may have to be played again: what has not sounded yet, and the word before it."""

from dataclasses import dataclass, field

import numpy as np

from realtime.audio import BYTES_PER_MS, decode
from realtime.speaking.pausing import SEARCHED_MS

_STEP_MS = 10
# An utterance that ended so long ago is not gone back to.
_GONE_AFTER_MS = 2000
# 20 dB below the loudest around it: between two words, or the closure before a consonant.
_QUIET = 0.01


@dataclass(slots=True)
class _Kept:
    until_sample: int
    audio: list[bytes] = field(default_factory=list)


class Keeping:
    """By utterance; what has long been played is let go as new speech comes."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def add(self, utterance: int, mulaw: bytes, *, at_ms: int, until_sample: int) -> None:
        """Speech that sounds up to `until_sample` of call time, or waits for longer than that."""
        kept = self._kept.get(utterance)
        if kept is None:
            gone = (at_ms - _GONE_AFTER_MS) * BYTES_PER_MS
            self._kept = {of: one for of, one in self._kept.items() if one.until_sample > gone}
            kept = self._kept[utterance] = _Kept(until_sample)
        kept.until_sample = max(kept.until_sample, until_sample)
        kept.audio.append(mulaw)

    def piece(self, utterance: int, first: int, samples: int, *, until_sample: int) -> bytes:
        """A stretch of an utterance, played again up to `until_sample` of call time."""
        kept = self._kept.get(utterance)
        if kept is None:
            return b""
        kept.until_sample = max(kept.until_sample, until_sample)
        return b"".join(kept.audio)[first : first + samples]

    def word_begins(self, utterance: int, sample: int) -> int:
        """Where the word begins, or at least the syllable, that sounds at `sample`: behind the last quiet step before it."""
        kept = self._kept.get(utterance)
        step = _STEP_MS * BYTES_PER_MS
        steps = min(sample, SEARCHED_MS * BYTES_PER_MS) // step
        if kept is None or not steps:
            return sample
        heard = decode(b"".join(kept.audio)[sample - steps * step : sample]).astype(np.float32)
        powers = np.square(heard[: len(heard) // step * step].reshape(-1, step)).mean(axis=1)
        if not len(powers):
            return sample
        quiet = np.flatnonzero(powers <= max(float(powers.max()) * _QUIET, float(powers.min())))
        return sample - (len(powers) - 1 - int(quiet[-1])) * step
