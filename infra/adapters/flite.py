"""An offline voice that needs no account: the program flite, a sentence at a time, as telephone audio."""

import asyncio
import io
import wave
from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np

from realtime.audio import RATE_HZ, encode, halved
from realtime.ports import EngineFailed, EngineUnavailable, VoiceAudio, VoiceFlushed, VoiceListener

NAME: Final = "flite"
PROGRAM: Final = "flite"
_DEFAULT: Final = "slt"
_OWN: Final = frozenset({"slt", "rms", "awb", "kal16"})
# Voices of the provider whose place this one takes, by the sex of their speaker.
_STANDS_FOR: Final[Mapping[str, str]] = {"orion": "rms", "arcas": "rms", "zeus": "rms", "apollo": "rms", "atlas": "rms", "helios": "awb"}
_SECONDS: Final = 20.0
_LEAD_MS: Final = 20


async def synthesise(text: str, *, voice: str = _DEFAULT) -> bytes:
    """A text as 8 kHz mu-law, without the silence that the program puts around it. Raises EngineUnavailable."""
    # The text goes through a pipe: arguments of a program can be read by everybody on the machine.
    command = (PROGRAM, "-voice", voice_of(voice), "-f", "/dev/stdin", "-o", "/dev/stdout")
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
    except OSError as cause:
        raise EngineUnavailable(NAME, f"the program cannot be started ({cause.strerror}); install it with apt-get install flite") from cause
    try:
        async with asyncio.timeout(_SECONDS):
            sound, _ = await process.communicate(text.encode("ascii", "replace") + b"\n")
    except TimeoutError as cause:
        raise EngineUnavailable(NAME, f"no speech within {_SECONDS:.0f} s") from cause
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise EngineUnavailable(NAME, f"the program ended with {process.returncode}")
    return _telephone(sound)


def voice_of(name: str) -> str:
    """The voice of ours for a name of ours or of the provider's (`aura-2-orion-en`)."""
    if name in _OWN:
        return name
    return next((own for part, own in _STANDS_FOR.items() if part in name), _DEFAULT)


def _telephone(sound: bytes) -> bytes:
    try:
        with wave.open(io.BytesIO(sound)) as wav:
            rate = wav.getframerate()
            # Written to a pipe, the header's length is a guess: read to the end of what is there.
            samples = np.frombuffer(wav.readframes(len(sound)), np.int16)
    except (wave.Error, EOFError) as cause:
        raise EngineUnavailable(NAME, f"the program's output is no sound: {cause}") from cause
    if rate == 2 * RATE_HZ:
        samples = halved(samples)
    elif rate != RATE_HZ:
        raise EngineUnavailable(NAME, f"speech at {rate} Hz")
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 100)
    if not loud.size:
        return b""
    lead = _LEAD_MS * RATE_HZ // 1000
    return encode(samples[max(0, loud[0] - lead) : loud[-1] + lead])


class _Stream:
    """One call's sentences, in order; the next one is made while the last one plays."""

    def __init__(self, voice: str, listener: VoiceListener) -> None:
        self._voice = voice
        self._listener: VoiceListener | None = listener
        self._waiting: deque[tuple[int, str, bool]] = deque()
        self._work = asyncio.Event()
        self._generation = 0
        self._speaking = asyncio.create_task(self._speak(), name="flite stream")

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        self._waiting.append((utterance, text, flush))
        self._work.set()

    def clear(self) -> None:
        self._waiting.clear()
        self._generation += 1

    async def close(self) -> None:
        self._listener = None
        self._speaking.cancel()
        await asyncio.wait({self._speaking})

    async def _speak(self) -> None:
        while True:
            while not self._waiting:
                self._work.clear()
                await self._work.wait()
            utterance, text, flush = self._waiting.popleft()
            generation = self._generation
            try:
                mulaw = await synthesise(text, voice=self._voice) if text.strip() else b""
            except EngineUnavailable as failed:
                self._tell(EngineFailed(engine=failed.engine, reason=failed.reason))
                return
            if generation != self._generation:
                continue
            if mulaw:
                self._tell(VoiceAudio(mulaw=mulaw))
            if flush:
                self._tell(VoiceFlushed(utterance=utterance))

    def _tell(self, delivered: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
        if self._listener is not None:
            self._listener(delivered)


class Flite:
    """`realtime.ports.TextToSpeech`, in the place of Deepgram's Aura-2 and priced as it."""

    name = "deepgram/aura-2"
    embedded = True

    async def connect(self, *, voice: str, listener: VoiceListener) -> _Stream:
        """Speaks one sentence first, so that a machine without the program is found out before the caller waits."""
        await synthesise("a", voice=voice)
        return _Stream(voice, listener)
