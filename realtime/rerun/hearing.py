"""What the detector heard of the caller, kept small enough to be decided again: a probability a window, a loudness each 10 ms."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np

from realtime.audio import BYTES_PER_MS, decode, encode
from realtime.hearing import vad
from realtime.hearing.contours import STEP_MS, Contour
from realtime.machine.signals import SpeechStarted, SpeechStopped

_STEP_BYTES: Final = STEP_MS * BYTES_PER_MS
# Eight steps an octave of power: a byte holds all that 16-bit samples can be, and an edge moves by it in no call that we have seen.
_STEPS_PER_OCTAVE: Final = 8
_POWER: Final = decode(bytes(range(256))).astype(np.float32) ** 2


@dataclass(slots=True, kw_only=True)
class Heard:
    """What was seen, not yet packed. The audio ends at `ends_ms` of call time."""

    windows: list[tuple[int, Sequence[tuple[int, float]], Sequence[vad.SpeechChange]]] = field(default_factory=list)
    audio: list[bytes] = field(default_factory=list)
    ends_ms: int = 0


def pack(heard: Heard) -> Mapping[str, Any]:
    """Probabilities as they are, by which every decision can be made again; loudness rounded; the audio itself stays where it is."""
    windows = list(chain.from_iterable(batch for _, batch, _ in heard.windows))
    ends, said = zip(*windows, strict=True) if windows else ((), ())
    probabilities = np.array(said, np.float64)
    short = probabilities.astype(np.float32)
    changes: list[tuple[bool, int, int]] = []
    origins: list[tuple[int, int]] = []
    at = 0
    for origin_ms, batch, changed in heard.windows:
        if not origins or origins[-1][1] != origin_ms:
            origins.append((at, origin_ms))
        at += len(batch)
        if changed:
            changes += [(isinstance(change, vad.SpeechStarted), change.at_ms, change.noticed_ms) for change in changed]
    return {
        "ends": np.diff(np.array(ends, np.int32), prepend=np.int32(0)).tobytes(),
        "probabilities": (short if np.array_equal(short, probabilities) else probabilities).tobytes(),
        "origins": origins, "changes": changes, "loudness": _loudness(b"".join(heard.audio)), "ends_ms": heard.ends_ms,
    }  # fmt: skip


def _loudness(mulaw: bytes) -> bytes:
    whole = len(mulaw) % _STEP_BYTES
    powers = _POWER.take(np.frombuffer(mulaw, np.uint8)[whole:]).reshape(-1, _STEP_BYTES).mean(axis=1)
    return bytes(np.round(np.log2(powers + 1.0) * _STEPS_PER_OCTAVE).astype(np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """A run's windows in their order, from all of its stretches; `origins` says from which window on which time is their 0."""

    windows: Sequence[tuple[int, float]]
    origins: Sequence[tuple[int, int]]
    changes: Sequence[vad.SpeechChange]
    loudness: Sequence[tuple[int, bytes]]


def unpack(kept: Iterable[Mapping[str, Any]]) -> Listening:
    """What the stretches of a run have of it."""
    windows: list[tuple[int, float]] = []
    origins: list[tuple[int, int]] = []
    changes: list[vad.SpeechChange] = []
    loudness: list[tuple[int, bytes]] = []
    for each in kept:
        origins += [(len(windows) + at, origin_ms) for at, origin_ms in each["origins"]]
        ends, probabilities = np.frombuffer(each["ends"], np.int32), each["probabilities"]
        wide = np.float32 if len(probabilities) == len(each["ends"]) else np.float64
        windows += zip(np.cumsum(ends).tolist(), np.frombuffer(probabilities, wide).tolist(), strict=True)
        changes += [
            (vad.SpeechStarted if started else vad.SpeechStopped)(at_ms=at_ms, noticed_ms=noticed_ms)
            for started, at_ms, noticed_ms in each["changes"]
        ]
        loudness.append((each["ends_ms"], each["loudness"]))
    return Listening(windows=windows, origins=origins, changes=changes, loudness=loudness)


def decide_again(listening: Listening, thresholds: vad.Thresholds) -> list[vad.SpeechChange]:
    """When speech started and stopped by these thresholds, in the detector's time.

    A stop knows how quiet it had been: so the same thresholds give the same stops, though the loudness that is kept is rounded.
    """
    quiet = {change.noticed_ms: change.noticed_ms - change.at_ms for change in listening.changes if isinstance(change, vad.SpeechStopped)}
    _, changes = vad.steps(vad.SILENT, thresholds, listening.windows, lambda end_ms: quiet.get(end_ms, 0))
    return changes


def speech_signals(listening: Listening, changes: Iterable[vad.SpeechChange]) -> list[SpeechStarted | SpeechStopped]:
    """The signals that such changes lead to: their edges trimmed by the loudness that was kept, each told when it was noticed."""
    contour, began_ms = Contour(), 0
    audio, made = list(_audible(listening.loudness)), list[SpeechStarted | SpeechStopped]()
    starts_at = {end: at for at, (end, _) in enumerate(listening.windows)}
    for change in changes:
        origin_ms = next(origin for at, origin in reversed(listening.origins) if at <= starts_at[change.noticed_ms])
        at_ms, since_ms = change.noticed_ms + origin_ms, change.at_ms + origin_ms
        while audio and audio[0][0] <= at_ms:
            contour.feed(*audio.pop(0))
        if isinstance(change, vad.SpeechStarted):
            began_ms = contour.began(since_ms)
            made.append(SpeechStarted(at_ms=at_ms, since_ms=min(began_ms, at_ms)))
        else:
            made.append(SpeechStopped(at_ms=at_ms, ended_ms=min(max(contour.ended(since_ms), began_ms), at_ms)))
    return made


def _audible(loudness: Iterable[tuple[int, bytes]]) -> Iterable[tuple[int, bytes]]:
    """Frames that are as loud as the call was, and say nothing."""
    for ends_ms, steps in loudness:
        amplitudes = np.sqrt(np.exp2(np.frombuffer(steps, np.uint8) / _STEPS_PER_OCTAVE) - 1.0)
        frames = np.minimum(amplitudes, 32_000).astype(np.int16)
        for place, amplitude in enumerate(frames):
            yield ends_ms - (len(frames) - 1 - place) * STEP_MS, encode(np.full(_STEP_BYTES, amplitude, np.int16))
