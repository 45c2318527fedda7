"""An offline voice that needs no account: the program flite, one run for each sentence, its sound made fit for the phone."""

import asyncio
import io
import os
import re
import shutil
import wave
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

import numpy as np

from infra.adapters.spawning import ended, spawned
from realtime.audio import BYTES_PER_MS, FRAME_MS, RATE_HZ, Samples, encode, halved
from realtime.ports import EngineFailed, EngineUnavailable, VoiceAudio, VoiceFlushed, VoiceListener

NAME: Final = "flite"
PROGRAM: Final = "flite"
DEFAULT_VOICE: Final = "slt"
VOICES: Final = frozenset({"slt", "rms", "awb", "kal", "kal16"})
_DELIVERED_BYTES: Final = 200 * BYTES_PER_MS
_MOST_WAITING: Final = 256
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


class FliteStream:
    """One call's texts in their order; each flush is synthesised sentence by sentence, and told as soon as a sentence is ready."""

    def __init__(self, voice: str, listener: VoiceListener) -> None:
        self._voice = voice
        self._listener: VoiceListener | None = listener
        self._texts: list[str] = []
        self._flushes: asyncio.Queue[tuple[int, str]] = asyncio.Queue(_MOST_WAITING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._speaking = self._start()

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        self._texts.append(text)
        if not flush or self._listener is None:
            return
        whole = " ".join(self._texts)
        self._texts.clear()
        try:
            self._flushes.put_nowait((utterance, whole))
        except asyncio.QueueFull:
            self._fail(f"{_MOST_WAITING} utterances wait to be spoken")

    def clear(self) -> None:
        self._texts.clear()
        while not self._flushes.empty():
            self._flushes.get_nowait()
        if self._listener is not None:
            # The task ends with its program at its next turn; it is replaced already, so it tells nothing until then.
            self._speaking.cancel()
            self._speaking = self._start()

    async def close(self) -> None:
        self._listener = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(), name="flite-speaking")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self) -> None:
        try:
            while True:
                utterance, text = await self._flushes.get()
                for sentence in sentences(text):
                    mulaw = await say(sentence, voice=self._voice)
                    for at in range(0, len(mulaw), _DELIVERED_BYTES):
                        self._tell(VoiceAudio(mulaw=mulaw[at : at + _DELIVERED_BYTES]))
                self._tell(VoiceFlushed(utterance=utterance))
        except EngineUnavailable as error:
            self._fail(error.reason)

    def _tell(self, told: VoiceAudio | VoiceFlushed) -> None:
        if self._listener is not None and asyncio.current_task() is self._speaking:
            self._listener(told)

    def _fail(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(EngineFailed(engine=NAME, reason=reason))


class Flite:
    """The voice as a call sees it, in the place of Deepgram's Aura-2 and priced as it."""

    name = "deepgram/aura-2"
    embedded = True

    async def connect(self, *, voice: str, listener: VoiceListener) -> FliteStream:
        if shutil.which(PROGRAM) is None:
            raise EngineUnavailable(NAME, "the program flite is not installed; type: apt-get install flite")
        return FliteStream(voice_of(voice), listener)
