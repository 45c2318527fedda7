"""What every call begins with is at hand before it begins, and is paid for once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from events.calls.talking import AgentTurn
from infra.adapters.flite import Flite
from realtime.machine import effects as do
from realtime.machine.briefing import Wording, said_ahead
from realtime.machine.signals import Signal, VoiceArrived, VoiceDelivered
from realtime.ports import EngineFailed, EngineUnavailable, VoiceAudio, VoiceFlushed, VoiceListener
from realtime.speaking.mouth import Mouth
from realtime.speaking.prepared import Prepared
from tests.realtime.scene import Scene


@dataclass(slots=True)
class Said:
    """A voice that counts what it is asked: each text becomes its own bytes."""

    name: str = "voice"
    embedded: bool = True
    texts: list[str] = field(default_factory=list)
    streams: int = 0
    closed: int = 0
    fails_at: str = ""
    unreachable: bool = False
    listener: VoiceListener | None = None

    async def connect(self, *, voice: str, listener: VoiceListener) -> "Said":
        if self.unreachable:
            raise EngineUnavailable(self.name, "down")
        self.streams += 1
        self.listener = listener
        return self

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        assert flush
        assert self.listener is not None
        self.texts.append(text)
        if text == self.fails_at:
            asyncio.get_running_loop().call_soon(self.listener, EngineFailed(engine=self.name, reason="broke"))
            return
        for told in (VoiceAudio(mulaw=text.encode()), VoiceAudio(mulaw=b"!"), VoiceFlushed(utterance=utterance)):
            asyncio.get_running_loop().call_soon(self.listener, told)

    def clear(self) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1


class TestPrepared:
    async def test_is_said_once_and_played_from_memory(self) -> None:
        voice = Said()
        prepared = Prepared(voice)
        await prepared.prepare("v", ["one", "two", "one", " "])
        await prepared.prepare("v", ["two"])
        assert (voice.texts, voice.streams, voice.closed) == (["one", "two"], 1, 1)
        assert prepared.take("v", "two") == (b"two!", True)

    async def test_is_accounted_for_by_the_call_that_plays_it_first(self) -> None:
        prepared = Prepared(Said())
        await prepared.prepare("v", ["one"])
        assert [prepared.take("v", "one") for _ in range(3)] == [(b"one!", True), (b"one!", False), (b"one!", False)]

    async def test_belongs_to_a_voice_and_to_these_very_words(self) -> None:
        prepared = Prepared(Said())
        await prepared.prepare("v", ["one"])
        assert prepared.take("w", "one") is None
        assert prepared.take("v", "One") is None

    async def test_has_bounded_room_and_lets_go_what_was_not_played_for_longest(self) -> None:
        prepared = Prepared(Said(), most_bytes=10)
        await prepared.prepare("v", ["aaaa"])
        await prepared.prepare("v", ["bbbb"])
        assert prepared.take("v", "aaaa") is not None
        await prepared.prepare("v", ["cc"])
        assert [prepared.take("v", text) is not None for text in ("aaaa", "bbbb", "cc")] == [True, False, True]

    async def test_keeps_below_what_a_voice_delivers_on_demand(self) -> None:
        voice = Said()
        await Prepared(voice).prepare("v", [f"text {n}" for n in range(20)])
        assert (voice.streams, len(voice.texts)) == (2, 20)

    @pytest.mark.parametrize("voice", [Said(unreachable=True), Said(fails_at="two")])
    async def test_is_not_when_the_voice_fails(self, voice: Said) -> None:
        prepared = Prepared(voice)
        with pytest.raises(EngineUnavailable):
            await prepared.prepare("v", ["one", "two"])
        assert prepared.take("v", "two") is None
        assert voice.closed == voice.streams

    async def test_speaks_with_a_real_voice(self) -> None:
        prepared = Prepared(Flite())
        await prepared.prepare("slt", ["Welcome.", "How can I help you?"])
        sounds = [prepared.take("slt", text) for text in ("Welcome.", "How can I help you?")]
        assert [4000 < len(sound[0]) < 20_000 for sound in sounds if sound] == [True, True]


def mouth(voice: Any, prepared: Prepared | None) -> tuple[Mouth, list[tuple[Signal, bytes]]]:
    given: list[tuple[Signal, bytes]] = []

    give: Callable[[Signal, bytes], None] = lambda signal, audio: given.append((signal, audio))  # noqa: E731
    return Mouth(voice, give, lambda: 7, None if prepared is None else prepared.take, first="v"), given


class TestMouth:
    async def test_says_what_is_at_hand_before_the_voice_is_reached(self) -> None:
        prepared = Prepared(Said())
        await prepared.prepare("v", ["one", "two"])
        said, given = mouth(Said(unreachable=True), prepared)
        said.speak(1, "one")
        said.speak(2, "two")
        assert given == [
            (VoiceArrived(at_ms=7, samples=4), b"one!"), (VoiceDelivered(at_ms=7, utterance=1), b""),
            (VoiceArrived(at_ms=7, samples=4), b"two!"), (VoiceDelivered(at_ms=7, utterance=2), b""),
        ]  # fmt: skip

    async def test_says_nothing_then_when_it_is_not(self) -> None:
        said, given = mouth(Said(unreachable=True), None)
        said.speak(1, "one")
        assert given == []

    async def test_lets_nothing_overtake_what_the_voice_still_owes(self) -> None:
        prepared, voice = Prepared(Said()), Said()
        await prepared.prepare("v", ["two"])
        said, given = mouth(voice, prepared)
        said.speak(1, "one")
        said.speak(2, "two")
        assert given == []
        await said.connect()
        assert voice.texts == ["one", "two"]
        for _ in range(10):
            await asyncio.sleep(0)
        said.speak(3, "two")
        assert voice.texts == ["one", "two"]
        assert given[-1] == (VoiceDelivered(at_ms=7, utterance=3), b"")
        await said.close()

    async def test_forgets_what_was_owed_with_what_is_cleared(self) -> None:
        prepared = Prepared(Said())
        await prepared.prepare("v", ["two"])
        said, given = mouth(Said(), prepared)
        said.speak(1, "one")
        said.clear()
        said.speak(2, "two")
        assert len(given) == 2


class TestAccount:
    def test_has_no_characters_of_what_came_from_memory(self) -> None:
        scene = Scene(voice_speaks=False).begin()
        for speak in scene.all(do.Speak):
            scene.tell(VoiceArrived, samples=8000)
            scene.tell(VoiceDelivered, utterance=speak.utterance, from_memory=speak.utterance > 1)
        scene.hears_all()
        assert scene.fact(AgentTurn)[0].spent.characters == len(scene.spoken[0])

    def test_begins_with_what_every_call_says(self) -> None:
        scene = Scene().begin()
        assert set(scene.spoken) <= set(said_ahead(scene.briefing.wording))
        assert Wording(disclosure="d", greeting="g").permission_question not in said_ahead(scene.briefing.wording, ask_to_record=False)
