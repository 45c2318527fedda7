"""Detects speech with Silero's network at 8 kHz: one session for the process, 1 KB of state per call, calls in batches."""

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from realtime.audio import BYTES_PER_MS, RATE_HZ, decode_float
from realtime.hearing.vad import WINDOW_MS
from realtime.ports import ActivityListener

_WINDOW: Final = WINDOW_MS * BYTES_PER_MS
_CONTEXT: Final = 32
_STATE_SHAPE: Final = (2, 128)
_RATE: Final = np.array(RATE_HZ, np.int64)
# The recurrent state drifts in long silence, at 8 kHz so far that the next words are missed: it starts afresh then.
_CLEAR_PROBABILITY: Final = 0.3
_CLEAR_MS: Final = 2000


def _bundled_network() -> Path:
    """The network inside the installed package, whose Python modules ask for torch and are not imported."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("silero_vad")
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx"


class _Stream:
    def __init__(self, engine: "SileroVoiceActivity", listener: ActivityListener) -> None:
        self._engine = engine
        self.listener = listener
        self.pending = bytearray()
        self.context = np.zeros(_CONTEXT, np.float32)
        self.state = np.zeros(_STATE_SHAPE, np.float32)
        self.at_ms = 0
        self.clear_ms = 0
        self.closed = False

    def feed(self, mulaw: bytes) -> None:
        if self.closed:
            return
        self.pending += mulaw
        if len(self.pending) >= _WINDOW:
            self._engine.windows_ready(self)

    def close(self) -> None:
        self.closed = True

    def next_window(self) -> NDArray[np.float32]:
        """The next window's samples after the last ones of the window before."""
        samples = decode_float(bytes(self.pending[:_WINDOW]))
        del self.pending[:_WINDOW]
        joined = np.concatenate((self.context, samples))
        self.context = samples[-_CONTEXT:]
        return joined

    def settle(self, probability: float, state: NDArray[np.float32]) -> tuple[int, float]:
        self.at_ms += WINDOW_MS
        self.clear_ms = self.clear_ms + WINDOW_MS if probability < _CLEAR_PROBABILITY else 0
        if self.clear_ms >= _CLEAR_MS:
            self.clear_ms = 0
            self.state = np.zeros(_STATE_SHAPE, np.float32)
        else:
            self.state = state
        return self.at_ms, probability


class SileroVoiceActivity:
    """Runs the windows of all calls that are ready within `batch_ms` of the first in one pass (measured: a third of the cost)."""

    def __init__(self, *, batch_ms: float = 8.0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(_bundled_network()), options, providers=["CPUExecutionProvider"])
        self._batch_seconds = batch_ms / 1000
        self._ready: dict[_Stream, None] = {}

    def open(self, listener: ActivityListener) -> _Stream:
        return _Stream(self, listener)

    def windows_ready(self, stream: _Stream) -> None:
        """Told by a stream that at least one window of it is whole."""
        if not self._ready:
            asyncio.get_running_loop().call_later(self._batch_seconds, self._run)
        self._ready[stream] = None

    def _run(self) -> None:
        heard: dict[_Stream, list[tuple[int, float]]] = {}
        while streams := [s for s in self._ready if not s.closed and len(s.pending) >= _WINDOW]:
            for stream, window in zip(streams, self._infer(streams), strict=True):
                heard.setdefault(stream, []).append(window)
        self._ready.clear()
        for stream, windows in heard.items():
            if not stream.closed:
                stream.listener(windows)

    def _infer(self, streams: Sequence[_Stream]) -> list[tuple[int, float]]:
        audio = np.stack([stream.next_window() for stream in streams])
        state = np.stack([stream.state for stream in streams], axis=1)
        probability, after = self._session.run(None, {"input": audio, "state": state, "sr": _RATE})
        return [stream.settle(float(probability[i, 0]), after[:, i]) for i, stream in enumerate(streams)]
