"""Both sides of a call while they may be kept, aligned to call time: the caller by the carrier's stamps, the agent by when it sounds."""

import io
import wave
from collections import deque
from collections.abc import Sequence

import numpy as np

from realtime.audio import BYTES_PER_MS, RATE_HZ, SILENCE, decode
from realtime.ports import RecordedStretch


class Recorder:
    """Keeps nothing while it is off. Agent's audio that was sent ahead and has not sounded yet is only waiting to be played."""

    def __init__(self) -> None:
        self._stretches: list[RecordedStretch] = []
        self._from: int | None = None
        self._caller, self._agent = bytearray(), bytearray()
        self._ahead: deque[tuple[int, bytes]] = deque()

    @property
    def on(self) -> bool:
        return self._from is not None

    @property
    def stretches(self) -> Sequence[RecordedStretch]:
        """What has been kept so far; a stretch that is being recorded is not among it."""
        return self._stretches

    def start(self, at_ms: int) -> None:
        if self._from is None:
            self._from = at_ms * BYTES_PER_MS

    def stop(self, at_ms: int) -> None:
        """Nothing that sounds from `at_ms` on is kept."""
        if self._from is None:
            return
        length = max(0, at_ms * BYTES_PER_MS - self._from)
        for from_sample, mulaw in self._ahead:
            self._put(self._agent, from_sample, mulaw)
        for side in (self._caller, self._agent):
            side.extend(bytes([SILENCE]) * (length - len(side)))
        if length:
            kept = RecordedStretch(
                from_ms=self._from // BYTES_PER_MS, caller=bytes(self._caller[:length]), agent=bytes(self._agent[:length])
            )
            self._stretches.append(kept)
        self._from = None
        self._caller, self._agent = bytearray(), bytearray()

    def caller(self, at_ms: int, mulaw: bytes) -> None:
        """The caller's frame that begins at `at_ms`; what of the agent's has sounded by then is no longer ahead."""
        at = at_ms * BYTES_PER_MS
        while self._ahead and self._ahead[0][0] + len(self._ahead[0][1]) <= at:
            from_sample, sounded = self._ahead.popleft()
            self._put(self._agent, from_sample, sounded)
        self._put(self._caller, at, mulaw)

    def agent(self, from_sample: int, mulaw: bytes) -> None:
        """The agent's audio, sent now, that will sound from `from_sample` of call time on."""
        self._ahead.append((from_sample, mulaw))

    def cut(self, at_ms: int) -> None:
        """What has not sounded by `at_ms` never will."""
        at = at_ms * BYTES_PER_MS
        self._ahead = deque((start, mulaw[: at - start]) for start, mulaw in self._ahead if start < at)

    def _put(self, side: bytearray, from_sample: int, mulaw: bytes) -> None:
        if self._from is None:
            return
        offset = from_sample - self._from
        if offset < 0:
            mulaw, offset = mulaw[-offset:], 0
        if not mulaw:
            return
        if offset > len(side):
            side.extend(bytes([SILENCE]) * (offset - len(side)))
        side[offset : offset + len(mulaw)] = mulaw


def stereo_wav(stretches: Sequence[RecordedStretch], duration_ms: int) -> bytes:
    """A WAV of the whole call, 16-bit PCM at 8 kHz: the caller left, the agent right, digital silence where nothing was kept."""
    samples = np.zeros((duration_ms * BYTES_PER_MS, 2), np.int16)
    for stretch in stretches:
        start = stretch.from_ms * BYTES_PER_MS
        for channel, side in enumerate((stretch.caller, stretch.agent)):
            room = samples[start : start + len(side), channel]
            room[:] = decode(side)[: len(room)]
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())
    return packed.getvalue()
