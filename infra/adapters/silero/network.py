"""Silero's network at 8 kHz for many windows at once: the same sums as in its ONNX file, each of them one product of matrices.

A general runtime convolves call by call, and every call has four steps only: that way a window costs nearly three times as much.
"""

from typing import Final

import numpy as np

from infra.adapters.silero.weights import Array, read

# A window of 32 ms behind the last 4 ms of the one before.
LOOKED_AT: Final = 288
STATE: Final = 128
_REFLECTED: Final = 32
# Four Fourier transforms of 16 ms, each 8 ms after the one before.
_STEPS: Final = 4
_HOP: Final = 64
_LENGTH: Final = 128
_BINS: Final = 65
_TAPS: Final = 3
_HALF: Final = np.float32(0.5)
_ENCODED: Final = (128, 64, 64, 128)
_SHAPES: Final = {
    "stft.forward_basis_buffer": (2 * _BINS, 1, _LENGTH),
    **{
        f"encoder.{layer}.reparam_conv.weight": (to, of, _TAPS)
        for layer, (of, to) in enumerate(zip((_BINS, *_ENCODED), _ENCODED, strict=False))
    },
    **{f"encoder.{layer}.reparam_conv.bias": (to,) for layer, to in enumerate(_ENCODED)},
    **{f"decoder.rnn.weight_{side}": (4 * STATE, STATE) for side in ("ih", "hh")},
    **{f"decoder.rnn.bias_{side}": (4 * STATE,) for side in ("ih", "hh")},
    "decoder.decoder.2.weight": (1, STATE, 1),
    "decoder.decoder.2.bias": (1,),
}


class Network:
    """Made once for a process, of the model's file. Raises AnotherNetwork."""

    def __init__(self, model: bytes) -> None:
        numbers = read(model, _SHAPES)
        weights = [numbers[f"encoder.{layer}.reparam_conv.weight"] for layer in range(len(_ENCODED))]
        self._biases = [numbers[f"encoder.{layer}.reparam_conv.bias"] for layer in range(len(_ENCODED))]
        self._basis = np.ascontiguousarray(numbers["stft.forward_basis_buffer"][:, 0].T)
        self._first, self._second = _as_product(weights[0]), _as_product(weights[1])
        # What is left of a window is two steps, then one: the other taps fall on the padding.
        self._third, self._fourth = _as_product(weights[2][:, :, 1:]), _as_product(weights[3][:, :, 1:2])
        # Gates in, forget and cell, as they are kept; out comes before cell here, so that all that is squeezed lies together.
        gates = np.r_[: 2 * STATE, 3 * STATE : 4 * STATE, 2 * STATE : 3 * STATE]
        both = np.concatenate((numbers["decoder.rnn.weight_ih"], numbers["decoder.rnn.weight_hh"]), axis=1)
        # Half of what is to be squeezed, which changes no digit: the logistic function of x is (1 + tanh(x / 2)) / 2.
        halves = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), STATE)
        self._cell = np.ascontiguousarray(both[gates].T) * halves
        self._cell_bias = (numbers["decoder.rnn.bias_ih"] + numbers["decoder.rnn.bias_hh"])[gates] * halves
        self._out, self._out_bias = numbers["decoder.decoder.2.weight"][0, :, 0], numbers["decoder.decoder.2.bias"][0]

    def run(self, audio: Array, states: Array) -> tuple[Array, Array]:
        """Probabilities and new states of windows `[n, 288]` with states `[2, n, 128]`."""
        count = len(audio)
        seen = np.empty((count, 2 * STATE), np.float32)
        np.maximum(self._encoded(self._spectra(audio)), 0, out=seen[:, :STATE])
        seen[:, STATE:] = states[0]
        gates = seen @ self._cell
        gates += self._cell_bias
        np.tanh(gates, out=gates)
        squeezed = gates[:, : 3 * STATE]
        squeezed += 1
        squeezed *= _HALF
        after = np.empty_like(states)
        hidden, kept = after
        np.multiply(squeezed[:, STATE : 2 * STATE], states[1], out=kept)
        kept += squeezed[:, :STATE] * gates[:, 3 * STATE :]
        np.multiply(squeezed[:, 2 * STATE :], np.tanh(kept), out=hidden)
        return _squeezed(np.maximum(hidden, 0) @ self._out + self._out_bias), after

    def _spectra(self, audio: Array) -> Array:
        """Magnitudes `[n, 6, 65]`, with a step of nothing before and behind the four."""
        count = len(audio)
        whole = np.empty((count, LOOKED_AT + _REFLECTED), np.float32)
        whole[:, :LOOKED_AT] = audio
        whole[:, LOOKED_AT:] = audio[:, LOOKED_AT - 2 : LOOKED_AT - 2 - _REFLECTED : -1]
        parts = _steps(whole, _STEPS, _LENGTH, _HOP) @ self._basis
        np.square(parts, out=parts)
        magnitudes = np.zeros((count, _STEPS + 2, _BINS), np.float32)
        np.sqrt((parts[:, :_BINS] + parts[:, _BINS:]).reshape(count, _STEPS, _BINS), out=magnitudes[:, 1:-1])
        return magnitudes

    def _encoded(self, magnitudes: Array) -> Array:
        count, wide = len(magnitudes), _ENCODED[0]
        found = _steps(magnitudes.reshape(count, -1), _STEPS, _TAPS * _BINS, _BINS) @ self._first
        found += self._biases[0]
        padded = np.zeros((count, _STEPS + 1, wide), np.float32)
        np.maximum(found.reshape(count, _STEPS, wide), 0, out=padded[:, 1:])
        found = _steps(padded.reshape(count, -1), _STEPS // 2, _TAPS * wide, 2 * wide) @ self._second
        found += self._biases[1]
        np.maximum(found, 0, out=found)
        found = found.reshape(count, -1) @ self._third
        found += self._biases[2]
        np.maximum(found, 0, out=found)
        last: Array = np.matmul(found, self._fourth)
        last += self._biases[3]
        return last


def _as_product(weights: Array) -> Array:
    """A convolution's weights `[to, of, taps]` as a matrix for steps that lie one after the other."""
    return np.ascontiguousarray(weights.transpose(2, 1, 0).reshape(-1, len(weights)))


def _steps(rows: Array, count: int, length: int, hop: int) -> Array:
    """Of each row so many stretches, as rows of their own."""
    line, one = rows.strides
    # As numpy's own `as_strided`, which takes ten times as long to begin.
    seen: Array = np.ndarray((len(rows), count, length), np.float32, rows, 0, (line, hop * one, one))
    return seen.reshape(len(rows) * count, length)


def _squeezed(values: Array) -> Array:
    """The logistic function, by one that never overflows."""
    found: Array = np.tanh(values * _HALF)
    found += 1
    found *= _HALF
    return found
