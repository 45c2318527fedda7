"""Turns as a phone line brings them: offline voices of several kinds, pauses as drawn, noise, the line's echo, the agent's own voice."""

import asyncio
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from realtime.audio import BYTES_PER_MS, RATE_HZ, encode, halved, saturated
from tests.benchmarks.speech.sentences import Words

Wave: TypeAlias = NDArray[np.float64]

PAUSES_MS: Final = (300, 800)
BETWEEN_MS: Final = 3200
_AUDIBLE: Final = 150
_PEAK: Final = 9000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A voice of flite's; `slowness` stretches its durations."""

    voice: str
    slowness: float

    @property
    def name(self) -> str:
        return f"{self.voice}x{self.slowness}"


# A woman, two men, a Scot, and two kinds of plain machine; slow, usual, quick.
SPEAKERS: Final = (
    Speaker(voice="slt", slowness=1.0),
    Speaker(voice="rms", slowness=0.9),
    Speaker(voice="awb", slowness=1.0),
    Speaker(voice="kal16", slowness=1.15),
    Speaker(voice="slt", slowness=1.25),
    Speaker(voice="rms", slowness=1.1),
    Speaker(voice="kal", slowness=0.9),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a line adds to a voice, in decibels below it: its own noise, and the voice again after 40 to 120 ms. None: nothing."""

    name: str
    noise_db: float | None = None
    echo_db: float | None = None


LINES: Final = (
    Line(name="clean"),
    Line(name="noise -30 dB", noise_db=30),
    Line(name="noise -15 dB", noise_db=15),
    Line(name="noise -25 dB, echo -20 dB", noise_db=25, echo_db=20),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Speech without a pause of ours, from its first to its last audible sample. `afterthought`: it could have been all."""

    text: str
    began_ms: int
    ended_ms: int
    afterthought: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A call as its line brings it, turn by turn; call time begins with its first sample."""

    mulaw: bytes
    turns: tuple[tuple[Piece, ...], ...]
    line: str
    speaker: str
    hesitant: bool


class Voices:
    """Says pieces, each only once."""

    def __init__(self) -> None:
        self._said: dict[tuple[Speaker, str], Wave] = {}

    async def say(self, speaker: Speaker, text: str) -> Wave:
        """A text, trimmed to what can be heard, on the scale of 16 bits."""
        if (speaker, text) not in self._said:
            self._said[speaker, text] = await _voiced(speaker, text)
        return self._said[speaker, text]

    async def call(
        self, speaker: Speaker, turns: Sequence[Words], line: Line, draws: np.random.Generator, *, hesitant: bool = True
    ) -> Spoken:
        """Turns with pauses as drawn between their pieces, and time for an answer after each."""
        parts = [np.zeros(BETWEEN_MS * BYTES_PER_MS)]
        length = len(parts[0])
        spoken: list[tuple[Piece, ...]] = []
        for words in turns:
            pieces: list[Piece] = []
            for index, text in enumerate(words.pieces):
                last = index == len(words.pieces) - 1
                voice = await self.say(speaker, text)
                began, length = length, length + len(voice)
                afterthought = not last and words.afterthought[index]
                pieces.append(Piece(text=text, began_ms=began // BYTES_PER_MS, ended_ms=length // BYTES_PER_MS, afterthought=afterthought))
                pause_ms = BETWEEN_MS if last else int(draws.integers(PAUSES_MS[0], PAUSES_MS[1], endpoint=True))
                parts += [voice, np.zeros(pause_ms * BYTES_PER_MS)]
                length += pause_ms * BYTES_PER_MS
            spoken.append(tuple(pieces))
        mulaw = encode(saturated(_carried(np.concatenate(parts), line, draws)))
        return Spoken(mulaw=mulaw, turns=tuple(spoken), line=line.name, speaker=speaker.name, hesitant=hesitant)


def _carried(voice: Wave, line: Line, draws: np.random.Generator) -> Wave:
    heard = voice.copy()
    power = float(np.mean(voice[np.abs(voice) > _AUDIBLE] ** 2))
    if line.echo_db is not None:
        delay = int(draws.integers(40, 120)) * BYTES_PER_MS
        heard[delay:] += voice[:-delay] * 10 ** (-line.echo_db / 20)
    if line.noise_db is not None:
        hiss = draws.normal(0, 1, len(voice) + 1)
        # Half of it is smoothed: a room hums more than it hisses.
        noise = hiss[1:] + hiss[:-1]
        heard += noise * np.sqrt(power / np.mean(noise**2)) * 10 ** (-line.noise_db / 20)
    return heard


async def _voiced(speaker: Speaker, text: str) -> Wave:
    program = await asyncio.create_subprocess_exec(
        "flite", "-voice", speaker.voice, "--setf", f"duration_stretch={speaker.slowness}", "-t", text, "-o", "/dev/stdout",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    made, _ = await program.communicate()
    with wave.open(io.BytesIO(made)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.int16)
        rate = sound.getframerate()
    if rate != RATE_HZ:
        samples = halved(samples)
    audible = np.flatnonzero(np.abs(samples.astype(np.int32)) > _AUDIBLE)
    trimmed = samples[int(audible[0]) : int(audible[-1]) + 1].astype(np.float64)
    return trimmed * (_PEAK / float(np.abs(trimmed).max()))
