"""An offline voice that needs no account: the program flite, one run for each sentence, its sound made fit for the phone."""

import asyncio
import io
import os
import re
import shutil
import wave
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import partial
from typing import BinaryIO, Final

import numpy as np

from infra.adapters.one_text_at_a_time import OneTextAtATime
from infra.adapters.spawning import ended, spawned
from realtime.audio import BYTES_PER_MS, FRAME_MS, RATE_HZ, Samples, encode, halved
from realtime.ports import EngineUnavailable, VoiceListener

NAME: Final = "flite"
PROGRAM: Final = "flite"
DEFAULT_VOICE: Final = "slt"
VOICES: Final = frozenset({"slt", "rms", "awb", "kal", "kal16"})
_DELIVERED_BYTES: Final = 200 * BYTES_PER_MS
_SENTENCE_END: Final = re.compile(r"(?<!\b[DMS][rst]\.)(?<!\bMrs\.)(?<=[.!?…])\s+")
# flite leaves a fifth of a second of silence on either side of what it says.
_AUDIBLE: Final = 100
_KEPT_BEFORE_MS: Final = 20
_KEPT_AFTER_MS: Final = 120
_LONGEST_SECONDS: Final = 20.0
# Voices of the provider whose place ours take, by their speakers.
_STANDS_FOR: Final[Mapping[str, str]] = {"orion": "rms", "arcas": "rms", "zeus": "rms", "apollo": "rms", "atlas": "rms", "helios": "awb"}


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, each with something in it that can be said."""
    for sentence in _SENTENCE_END.split(text.strip()):
        if any(character.isalnum() for character in sentence):
            yield sentence


def _trimmed(samples: Samples) -> Samples:
    """Without the long silences around the speech; empty when there is no speech at all."""
    audible = np.flatnonzero(np.abs(samples.astype(np.int32)) > _AUDIBLE)
    if not len(audible):
        return samples[:0]
    before, after = _KEPT_BEFORE_MS * BYTES_PER_MS, _KEPT_AFTER_MS * BYTES_PER_MS
    return samples[max(int(audible[0]) - before, 0) : int(audible[-1]) + after]


def telephone_sound(wav: bytes) -> bytes:
    """Mu-law of a WAV of 8 or 16 kHz, in whole frames. Raises wave.Error for anything else."""
    with wave.open(io.BytesIO(wav)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.int16)
        rate = sound.getframerate()
    if rate not in (RATE_HZ, 2 * RATE_HZ):
        raise wave.Error(f"{rate} samples a second")
    mulaw = encode(_trimmed(halved(samples) if rate == 2 * RATE_HZ else samples))
    frame = FRAME_MS * BYTES_PER_MS
    return mulaw + b"\xff" * (-len(mulaw) % frame)


def voice_of(name: str) -> str:
    """The voice of ours for a name of ours, or for one of the provider's (`aura-2-orion-en`)."""
    if name in VOICES:
        return name
    return next((own for part, own in _STANDS_FOR.items() if part in name), DEFAULT_VOICE)


async def synthesise(text: str, *, voice: str) -> bytes:
    """Mu-law of a whole text. Raises EngineUnavailable."""
    return b"".join([await say(sentence, voice=voice_of(voice)) for sentence in sentences(text)])


async def say(sentence: str, *, voice: str) -> bytes:
    """Mu-law of one sentence. Cancelling ends the program. Raises EngineUnavailable."""
    # Both text and sound are files in memory: arguments can be read by everybody on the machine, and the program goes back
    # in what it wrote, which a pipe does not allow.
    with _file_in_memory() as given, _file_in_memory() as made:
        given.write(sentence.encode("ascii", "replace").replace(b"\0", b"") + b"\n")
        given.flush()
        code = await _run("-voice", voice, "-f", _name(given), "-o", _name(made), keep=(given.fileno(), made.fileno()))
        made.seek(0)
        wav = made.read()
    try:
        return telephone_sound(wav)
    except (wave.Error, EOFError) as error:
        raise EngineUnavailable(NAME, f"exit code {code}, and what came out is no sound: {error}") from error


async def _run(*arguments: str, keep: tuple[int, ...]) -> int:
    nothing = asyncio.subprocess.DEVNULL
    try:
        program = await spawned(PROGRAM, *arguments, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=keep)
    except OSError as error:
        raise EngineUnavailable(NAME, str(error)) from error
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            return await program.wait()
    except TimeoutError as error:
        raise EngineUnavailable(NAME, f"no speech within {_LONGEST_SECONDS:.0f} s") from error
    finally:
        await ended(program)


def _file_in_memory() -> BinaryIO:
    return os.fdopen(os.memfd_create("speech"), "r+b")


def _name(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


async def _sound(voice: str, text: str) -> AsyncGenerator[bytes, None]:
    """Told as soon as a sentence is ready."""
    for sentence in sentences(text):
        mulaw = await say(sentence, voice=voice)
        for at in range(0, len(mulaw), _DELIVERED_BYTES):
            yield mulaw[at : at + _DELIVERED_BYTES]


class Flite:
    """The voice as a call sees it, in the place of Deepgram's Aura-2 and priced as it."""

    name = "deepgram/aura-2"
    embedded = True

    async def connect(self, *, voice: str, listener: VoiceListener) -> OneTextAtATime:
        if shutil.which(PROGRAM) is None:
            raise EngineUnavailable(NAME, "the program flite is not installed; type: apt-get install flite")
        return OneTextAtATime(NAME, partial(_sound, voice_of(voice)), listener)
