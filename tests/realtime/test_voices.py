"""Several voices of one call: each text in its own, in order, over one stream at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from realtime.engines.ladders import Rung, VoiceLadder, engine_of
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import EngineUnavailable, EngineUnsuited, VoiceAudio, VoiceFlushed, VoiceListener, VoiceStream
from realtime.speaking.mouth import Lookup, Mouth


class Stream:
    """Says what it was given when it is told to."""

    def __init__(self, voice: str, listener: VoiceListener) -> None:
        self.voice, self.listener = voice, listener
        self.owed: list[tuple[int, str]] = []
        self.cleared = self.closed = False

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        assert flush
        self.owed.append((utterance, text))

    def deliver(self) -> None:
        utterance, text = self.owed.pop(0)
        self.listener(VoiceAudio(mulaw=f"{self.voice}:{text}".encode()))
        self.listener(VoiceFlushed(utterance=utterance))

    def clear(self) -> None:
        self.cleared = True
        self.owed.clear()

    async def close(self) -> None:
        self.closed = True


class Voices:
    """Which voices were asked for, and how many streams were open at once at most."""

    name = "voices"
    embedded = True

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.failing = 0

    async def connect(self, *, voice: str, listener: VoiceListener) -> VoiceStream:
        await asyncio.sleep(0)
        if self.failing:
            self.failing -= 1
            raise EngineUnavailable(self.name, "not now")
        assert all(stream.closed for stream in self.streams), "one stream at a time"
        self.streams.append(Stream(voice, listener))
        return self.streams[-1]


class Told:
    def __init__(self) -> None:
        self.given: list[tuple[signals.Signal, bytes]] = []

    def __call__(self, signal: signals.Signal, audio: bytes) -> None:
        self.given.append((signal, audio))

    @property
    def sound(self) -> list[str]:
        return [audio.decode() for _, audio in self.given if audio]


@asynccontextmanager
async def speaking(voices: Voices, prepared: Lookup | None = None) -> AsyncIterator[tuple[Mouth, Told]]:
    told = Told()
    mouth = Mouth(voices, told, lambda: 7, prepared, first="en")
    keeping = asyncio.create_task(mouth.keep())
    try:
        yield mouth, told
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await mouth.close()


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not happened():
            await asyncio.sleep(0)


class TestAnotherVoice:
    async def test_waits_until_the_one_before_has_delivered(self) -> None:
        voices = Voices()
        async with speaking(voices) as (mouth, told):
            await until(lambda: voices.streams)
            mouth.perform(do.Speak(utterance=1, text="hello"))
            mouth.perform(do.UseVoice(voice="es"))
            mouth.perform(do.Speak(utterance=2, text="hola"))
            first = voices.streams[0]
            assert [text for _, text in first.owed] == ["hello"]
            first.deliver()
            await until(lambda: len(voices.streams) == 2 and voices.streams[1].owed)
            voices.streams[1].deliver()
            assert told.sound == ["en:hello", "es:hola"]
            assert [signal.utterance for signal, _ in told.given if isinstance(signal, signals.VoiceDelivered)] == [1, 2]
            assert not any(isinstance(signal, signals.EngineTaken) for signal, _ in told.given), "nothing broke"

    async def test_is_reached_before_it_has_anything_to_say(self) -> None:
        voices = Voices()
        async with speaking(voices) as (mouth, _):
            await until(lambda: voices.streams)
            mouth.use("es")
            await until(lambda: len(voices.streams) == 2)
            assert voices.streams[1].voice == "es"

    async def test_used_while_the_first_is_being_reached_is_the_one_that_speaks(self) -> None:
        voices = Voices()
        async with speaking(voices) as (mouth, told):
            mouth.use("es")
            mouth.speak(1, "hola")
            await until(lambda: voices.streams and voices.streams[-1].owed)
            voices.streams[-1].deliver()
            assert told.sound == ["es:hola"]

    async def test_speaks_at_once_when_what_was_owed_is_cleared(self) -> None:
        voices = Voices()
        async with speaking(voices) as (mouth, told):
            await until(lambda: voices.streams)
            mouth.speak(1, "hello")
            mouth.use("es")
            mouth.clear()
            mouth.speak(2, "hola")
            await until(lambda: len(voices.streams) == 2 and voices.streams[1].owed)
            voices.streams[0].listener(VoiceAudio(mulaw=b"late"))
            voices.streams[1].deliver()
            assert told.sound == ["es:hola"]

    async def test_that_is_not_there_at_once_is_tried_again_and_the_call_is_told(self) -> None:
        voices = Voices()
        async with speaking(voices) as (mouth, told):
            await until(lambda: voices.streams)
            voices.failing = 1
            mouth.use("es")
            mouth.speak(1, "hola")
            await until(lambda: any(isinstance(signal, signals.EngineTaken) for signal, _ in told.given))
            assert voices.streams[-1].owed == [], "who is told says it again"
            mouth.speak(1, "hola")
            voices.streams[-1].deliver()
            assert told.sound == ["es:hola"]

    async def test_says_from_memory_what_was_spoken_ahead_in_it(self) -> None:
        known = {("es", "hola"): (b"es!", True), ("en", "hello"): (b"en!", True)}
        voices = Voices()
        async with speaking(voices, lambda voice, text: known.get((voice, text))) as (mouth, told):
            await until(lambda: voices.streams)
            mouth.speak(1, "hello")
            mouth.use("es")
            mouth.speak(2, "hola")
            assert told.sound == ["en!", "es!"]


class TestVoiceLadder:
    async def test_goes_on_to_who_has_the_voice(self) -> None:
        class Foreign(Voices):
            async def connect(self, *, voice: str, listener: VoiceListener) -> VoiceStream:
                raise EngineUnsuited(self.name, f"{voice} is not ours")

        here = Voices()
        ladder = VoiceLadder([Rung(name="a", engine=Foreign(), within_seconds=1), Rung(name="b", engine=here, within_seconds=1)])
        for _ in range(4):
            assert engine_of(await ladder.connect(voice="b/one", listener=lambda _: None), "") == "b"
            here.streams.clear()
        with pytest.raises(EngineUnsuited):
            await VoiceLadder([Rung(name="a", engine=Foreign(), within_seconds=1)]).connect(voice="b/one", listener=lambda _: None)
