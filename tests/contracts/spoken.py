"""Real speech for contracts: what the offline voice says, what the engines make of it, and how much of it is right."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.adapters.flite import synthesise
from realtime.audio import FRAME_BYTES, silence
from realtime.ports import EngineFailed, HearingStream, Transcript, VoiceAudio, VoiceFlushed

CALLER = "rms"
# A business's own phrases, and nothing that a test says beyond them.
VOCABULARY = (
    "what are your opening hours",
    "are you open on Saturday",
    "I would like to book an appointment",
    "how much is a cleaning",
    "on Tuesday morning please",
    "please stop recording",
    "thank you goodbye",
)
PATIENCE_SECONDS = 120.0


async def said(text: str, *, before_ms: int = 300, after_ms: int = 300) -> bytes:
    """Telephone audio of a caller's words between stretches of silence."""
    return silence(before_ms) + await synthesise(text, voice=CALLER) + silence(after_ms)


def plain(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def wrong_words(wanted: str, heard: str) -> float:
    """The share of words that are wrong, missing or too many."""
    reference, words = plain(wanted), plain(heard)
    row = list(range(len(words) + 1))
    for i, word in enumerate(reference, 1):
        above, row[0] = row[:], i
        for j, other in enumerate(words, 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other))
    return row[-1] / len(reference)


@dataclass
class Ears:
    """A listener that keeps what it was told, and can be waited for."""

    told: list[Transcript | EngineFailed] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, heard: Transcript | EngineFailed) -> None:
        self.told.append(heard)
        self.news.set()

    @property
    def finals(self) -> list[Transcript]:
        return [heard for heard in self.told if isinstance(heard, Transcript) and heard.is_final]

    @property
    def answered(self) -> int:
        return sum(final.from_finalize for final in self.finals)

    @property
    def text(self) -> str:
        return " ".join(final.text for final in self.finals if final.text)

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not enough():
                self.news.clear()
                await self.news.wait()

    async def hear(self, stream: HearingStream, mulaw: bytes) -> None:
        """Give audio in frames and wait for the final words of it."""
        for at in range(0, len(mulaw), FRAME_BYTES):
            stream.send(mulaw[at : at + FRAME_BYTES])
        before = self.answered
        stream.finalize()
        await self.until(lambda: self.answered > before)


@dataclass
class Mouth:
    """A listener that keeps the sound it was given, and can be waited for."""

    told: list[VoiceAudio | VoiceFlushed | EngineFailed] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, told: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
        self.told.append(told)
        self.news.set()

    @property
    def sound(self) -> bytes:
        return b"".join(told.mulaw for told in self.told if isinstance(told, VoiceAudio))

    @property
    def flushed(self) -> list[int]:
        return [told.utterance for told in self.told if isinstance(told, VoiceFlushed)]

    @property
    def failures(self) -> list[EngineFailed]:
        return [told for told in self.told if isinstance(told, EngineFailed)]

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not enough():
                self.news.clear()
                await self.news.wait()
