"""A telephone's keys as they sound: two tones each, by ITU-T Q.23, and who hears them finds out which key it was."""

from typing import Final

import numpy as np

from infra.emulators.twilio.caller import Line
from realtime.audio import BYTES_PER_MS, RATE_HZ, SILENCE, decode, encode

_LOW: Final = (697, 770, 852, 941)
_HIGH: Final = (1209, 1336, 1477, 1633)
KEYS: Final = ("123A", "456B", "789C", "*0#D")
_TONE_MS, _GAP_MS = 80, 60
_LEVEL = 6000
# The Goertzel power of a tone's frequency against the block's whole power: speech and noise stay far below.
_SHARE = 0.25
_BLOCK = 200


def pressing(keys: str, *, after_silence_ms: int = 900) -> Line:
    """The caller presses keys instead of speaking."""
    audio, ends = b"", []
    for at, key in enumerate(keys):
        audio += tone(key) + bytes([SILENCE]) * (_GAP_MS * BYTES_PER_MS)
        ends.append((at * (_TONE_MS + _GAP_MS) + _TONE_MS, key))
    return Line(text=f"(keys: {len(keys)})", mulaw=audio, after_silence_ms=after_silence_ms, keys=tuple(ends))


def tone(key: str) -> bytes:
    """80 ms of a key, mu-law."""
    row = next(at for at, line in enumerate(KEYS) if key in line)
    t = np.arange(_TONE_MS * BYTES_PER_MS) / RATE_HZ
    wave = np.sin(2 * np.pi * _LOW[row] * t) + np.sin(2 * np.pi * _HIGH[KEYS[row].index(key)] * t)
    return encode((wave * _LEVEL).astype(np.int16))


def heard_keys(mulaw: bytes) -> str:
    """The keys whose tones are in the audio, by Goertzel's filter; each run of a tone is one key."""
    samples = decode(mulaw).astype(np.float64)
    found = [_key_in(samples[start : start + _BLOCK]) for start in range(0, len(samples) - _BLOCK + 1, _BLOCK)]
    return "".join(key for at, key in enumerate(found) if key and (at == 0 or found[at - 1] != key))


def _key_in(block: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    power = float((block * block).sum()) * len(block) / 2
    if power < len(block) ** 2 * 1000:
        return ""
    t = np.arange(len(block)) / RATE_HZ
    strengths = [[float(abs((block * np.exp(-2j * np.pi * hz * t)).sum()) ** 2) / power for hz in band] for band in (_LOW, _HIGH)]
    low, high = (max(range(4), key=band.__getitem__) for band in strengths)
    return KEYS[low][high] if min(strengths[0][low], strengths[1][high]) > _SHARE else ""
