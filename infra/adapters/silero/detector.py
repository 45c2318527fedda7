"""Detects speech with Silero's network at 8 kHz: one for the process, 1 KB of state per call, calls in batches."""

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np

from infra.adapters.silero.network import LOOKED_AT, STATE, Network
from infra.adapters.silero.weights import bundled
from realtime.audio import BYTES_PER_MS, SILENCE, decode_float
from realtime.hearing.vad import WINDOW_MS
from realtime.ports import ActivityListener

_WINDOW: Final = WINDOW_MS * BYTES_PER_MS
# Each window is looked at together with the end of the one before.
_CONTEXT: Final = LOOKED_AT - _WINDOW
_SLOTS: Final = 64
# The recurrent state drifts in long silence, at 8 kHz so far that the next words are missed: it starts afresh then.
_CLEAR_PROBABILITY: Final = 0.3
_CLEAR_MS: Final = 63 * WINDOW_MS
# A lone caller gains nothing by waiting for others.
_BATCH_MS_PER_CALL: Final = 0.5


def _nobody(_windows: Sequence[tuple[int, float]]) -> None:
    """Listens no more."""


class _Stream:
    """One call's windows. `pending` begins with the context of the next one; `slot` is where the network's state of it lies."""

    __slots__ = ("_engine", "at_ms", "clear_ms", "closed", "listener", "pending", "slot")

    def __init__(self, engine: "SileroVoiceActivity", listener: ActivityListener, slot: int) -> None:
        self._engine = engine
        self.listener, self.slot = listener, slot
        self.pending = bytearray([SILENCE]) * _CONTEXT
        self.at_ms = self.clear_ms = 0
        self.closed = False

    def feed(self, mulaw: bytes) -> None:
        if self.closed:
            return
        self.pending += mulaw
        if len(self.pending) >= LOOKED_AT:
            self._engine.windows_ready(self)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._engine.closed(self)
            # Whoever listens holds this stream: neither is to wait for a collector.
            self.listener = _nobody

    def next_window(self) -> bytes:
        looked_at = bytes(self.pending[:LOOKED_AT])
        del self.pending[:_WINDOW]
        return looked_at

    def settle(self, probability: float) -> bool:
        """Take note of a window; whether the network is to forget what it heard."""
        self.at_ms += WINDOW_MS
        self.clear_ms = self.clear_ms + WINDOW_MS if probability < _CLEAR_PROBABILITY else 0
        return self.clear_ms > 0 and self.clear_ms % _CLEAR_MS == 0


class SileroVoiceActivity:
    """Runs the windows of all calls that are ready within `batch_ms` of the first in one pass; few calls wait less."""

    def __init__(self, *, batch_ms: float = 10.0) -> None:
        self._network = Network(bundled().read_bytes())
        self._batch_seconds = batch_ms / 1000
        self._ready: dict[_Stream, None] = {}
        self._states = np.zeros((2, _SLOTS, STATE), np.float32)
        self._free = list(range(_SLOTS))
        self._open = 0

    def open(self, listener: ActivityListener) -> _Stream:
        if not self._free:
            taken = self._states.shape[1]
            self._states = np.concatenate((self._states, np.zeros_like(self._states)), axis=1)
            self._free.extend(range(taken, 2 * taken))
        self._open += 1
        slot = self._free.pop()
        self._states[:, slot] = 0
        return _Stream(self, listener, slot)

    def windows_ready(self, stream: _Stream) -> None:
        """Told by a stream that at least one window of it is whole."""
        if not self._ready:
            asyncio.get_running_loop().call_later(min(self._batch_seconds, self._open * _BATCH_MS_PER_CALL / 1000), self._run)
        self._ready[stream] = None

    def closed(self, stream: _Stream) -> None:
        """Told by a stream that it has ended."""
        self._open -= 1
        self._free.append(stream.slot)

    def _run(self) -> None:
        ready, self._ready = list(self._ready), {}
        heard: dict[_Stream, list[tuple[int, float]]] = {}
        while streams := [stream for stream in ready if not stream.closed and len(stream.pending) >= LOOKED_AT]:
            for stream, probability in zip(streams, self._infer(streams), strict=True):
                if stream.settle(probability):
                    self._states[:, stream.slot] = 0
                heard.setdefault(stream, []).append((stream.at_ms, probability))
        for stream, windows in heard.items():
            if not stream.closed:
                stream.listener(windows)

    def _infer(self, streams: Sequence[_Stream]) -> list[float]:
        audio = decode_float(b"".join([stream.next_window() for stream in streams])).reshape(len(streams), LOOKED_AT)
        slots = [stream.slot for stream in streams]
        probabilities, self._states[:, slots] = self._network.run(audio, self._states[:, slots])
        found: list[float] = probabilities.tolist()
        return found
