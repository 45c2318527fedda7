"""A recording as people listen to it: stereo PCM in a WAV, caller left and agent right, digital silence where nothing was kept."""

import struct
from collections.abc import Sequence

import numpy as np

from realtime.audio import BYTES_PER_MS, RATE_HZ, decode
from realtime.ports import RecordedStretch

_CHANNELS, _SAMPLE_BYTES = 2, 2
FRAME_BYTES = _CHANNELS * _SAMPLE_BYTES
HEAD_BYTES = 44


def size(duration_ms: int) -> int:
    """Bytes of the WAV."""
    return HEAD_BYTES + duration_ms * BYTES_PER_MS * FRAME_BYTES


def head(duration_ms: int) -> bytes:
    """The WAV's first 44 bytes (RIFF, 16-bit PCM at 8 kHz)."""
    data = size(duration_ms) - HEAD_BYTES
    form = struct.pack("<HHIIHH", 1, _CHANNELS, RATE_HZ, RATE_HZ * FRAME_BYTES, FRAME_BYTES, _SAMPLE_BYTES * 8)
    return (
        b"RIFF" + struct.pack("<I", data + HEAD_BYTES - 8) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", data)
    )


def frames(stretches: Sequence[RecordedStretch], from_ms: int, to_ms: int) -> bytes:
    """The PCM of a stretch of call time."""
    samples = np.zeros(((to_ms - from_ms) * BYTES_PER_MS, _CHANNELS), "<i2")
    for stretch in stretches:
        start = (stretch.from_ms - from_ms) * BYTES_PER_MS
        for channel, side in enumerate((stretch.caller, stretch.agent)):
            heard = decode(side)[max(0, -start) :]
            room = samples[max(0, start) : max(0, start) + len(heard), channel]
            room[:] = heard[: len(room)]
    return samples.tobytes()


def stereo_wav(stretches: Sequence[RecordedStretch], duration_ms: int) -> bytes:
    """A WAV of the whole call."""
    return head(duration_ms) + frames(stretches, 0, duration_ms)
