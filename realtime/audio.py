"""G.711 mu-law to linear samples and back, bit for bit, and the little signal work that a call needs.

The tables follow ITU-T G.711 as the reference C code has it. The only code that does not come back from a round trip is
0x7F, the negative zero, which becomes 0xFF.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.int16]

RATE_HZ: Final = 8000
FRAME_MS: Final = 20
FRAME_BYTES: Final = 160
BYTES_PER_MS: Final = 8
SILENCE: Final = 0xFF

_SEGMENT_ENDS: Final = (0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF, 0x1FFF)
_BIAS_14_BIT: Final = 33
_CLIP_14_BIT: Final = 8159
_FULL_SCALE: Final = 32768.0
_QUIETEST_DBFS: Final = -100.0


def _decoding_table() -> Samples:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((code & 0x0F) << 3) + 0x84
    magnitude <<= (code & 0x70) >> 4
    return np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84).astype(np.int16)


def _encoding_table() -> NDArray[np.uint8]:
    """Codes of all 65,536 samples, in the order of the sample's bits read as an unsigned number."""
    sample = np.arange(-32768, 32768, dtype=np.int32)
    magnitude = sample >> 2
    magnitude = np.minimum(np.where(sample < 0, -magnitude, magnitude), _CLIP_14_BIT) + _BIAS_14_BIT
    segment = np.zeros_like(magnitude)
    for index, end in enumerate(_SEGMENT_ENDS):
        segment = np.where(magnitude > end, index + 1, segment)
    step = (magnitude >> (np.minimum(segment, 7) + 1)) & 0x0F
    code = np.where(segment >= len(_SEGMENT_ENDS), 0x7F, (segment << 4) | step)
    return np.roll(((code ^ np.where(sample < 0, 0x7F, 0xFF)) & 0xFF).astype(np.uint8), -32768)


_DECODED: Final = _decoding_table()
_DECODED_FLOAT: Final = (_DECODED / _FULL_SCALE).astype(np.float32)
_ENCODED: Final = _encoding_table()


def decode(mulaw: bytes) -> Samples:
    """Linear 16-bit samples of mu-law bytes."""
    return _DECODED.take(np.frombuffer(mulaw, np.uint8))


def decode_float(mulaw: bytes) -> NDArray[np.float32]:
    """Samples between -1 and 1 of mu-law bytes."""
    return _DECODED_FLOAT[np.frombuffer(mulaw, np.uint8)]


def encode(samples: Samples) -> bytes:
    """Mu-law bytes of linear 16-bit samples."""
    return _ENCODED[np.ascontiguousarray(samples, dtype=np.int16).view(np.uint16)].tobytes()


def silence(duration_ms: int) -> bytes:
    """Digital silence, mu-law."""
    return bytes([SILENCE]) * (duration_ms * BYTES_PER_MS)


def duration_ms(mulaw: bytes) -> int:
    """How long a stretch of mu-law lasts, rounded down to whole milliseconds."""
    return len(mulaw) // BYTES_PER_MS


def level_dbfs(mulaw: bytes) -> float:
    """Root mean square of a stretch in decibels of full scale; -100 for digital silence and for nothing at all."""
    if not mulaw:
        return _QUIETEST_DBFS
    mean_square = float(np.mean(np.square(decode_float(mulaw), dtype=np.float32)))
    return 10 * float(np.log10(mean_square)) if mean_square > 0 else _QUIETEST_DBFS


def saturated(samples: NDArray[np.floating]) -> Samples:
    """Samples on the scale of 16 bits, clipped instead of wrapped."""
    clipped: NDArray[np.floating] = np.clip(np.rint(samples), -32768, 32767)
    return clipped.astype(np.int16)


_TAPS: Final = 31
_HALF_BAND: Final = np.sinc((np.arange(_TAPS) - _TAPS // 2) / 2) * np.kaiser(_TAPS, 6)
_EVEN_PHASE: Final = (_HALF_BAND[0::2] / _HALF_BAND[0::2].sum()).astype(np.float32)
_HISTORY: Final = len(_EVEN_PHASE) - 1


@dataclass(slots=True)
class Upsampler:
    """Doubles 8 kHz to 16 kHz by a 31-tap half-band filter: 1 ms of delay, no other latency.

    Holds the last samples of what it was given, so that pieces of any length join without a seam.
    """

    _history: NDArray[np.float32]

    def __init__(self) -> None:
        self._history = np.zeros(_HISTORY, np.float32)

    def feed(self, samples: Samples) -> Samples:
        """Twice as many samples as were given, of the same stretch one millisecond earlier."""
        if not len(samples):
            return samples
        joined = np.concatenate((self._history, samples.astype(np.float32)))
        self._history = joined[-_HISTORY:]
        doubled = np.empty(2 * len(samples), np.float32)
        doubled[1::2] = np.convolve(joined, _EVEN_PHASE, "valid")
        doubled[0::2] = joined[_HISTORY // 2 : _HISTORY // 2 + len(samples)]
        return saturated(doubled)


def halved(samples: Samples) -> Samples:
    """A whole clip of 16 kHz at 8 kHz, through the same half-band filter."""
    taps = (_HALF_BAND / _HALF_BAND.sum()).astype(np.float32)
    return saturated(np.convolve(samples.astype(np.float32), taps, "same")[0::2])
