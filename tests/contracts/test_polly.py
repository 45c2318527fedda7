"""Amazon Polly as a rung of the voice: what it refuses, how it breaks, and that it says the rest of what another one began."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from events.calls.ending import EngineSwitched
from events.calls.talking import AgentTurn
from infra.adapters.deepgram.speak import DeepgramSpeak
from infra.adapters.pocketsphinx.recogniser import Pocketsphinx, Recogniser
from infra.adapters.polly import LONGEST_TEXT, PollyVoice, requests
from infra.emulators.deepgram.faults import Faults
from infra.emulators.deepgram.server import deepgram_emulator
from infra.emulators.polly import Breaks, Fault, Hangs, Rejected
from realtime.audio import BYTES_PER_MS, silence
from realtime.engines.ladders import Rung, VoiceLadder
from realtime.machine import effects as do
from realtime.machine.signals import Signal
from realtime.ports import EngineUnsuited
from realtime.speaking import again
from realtime.speaking.mouth import Mouth as CallsMouth
from tests.contracts.polly import spoken_by_polly
from tests.contracts.spoken import VOCABULARY, Ears, Mouth, wrong_words
from tests.realtime.scene import WORDING, Scene, briefing

DEEPGRAM_KEY = "a key of the tests"
WORDS = "I would like to book an appointment on Tuesday morning please. How much is a cleaning? Are you open on Saturday?"


async def failure(polly: PollyVoice, text: str = "Good morning.", voice: str = "polly/Joanna") -> tuple[str, Mouth]:
    mouth = Mouth()
    stream = await polly.connect(voice=voice, listener=mouth)
    stream.speak(1, text, flush=True)
    await mouth.until(lambda: bool(mouth.failures))
    await stream.close()
    assert mouth.flushed == []
    return mouth.failures[0].reason, mouth


class TestPolly:
    async def test_is_refused_with_a_wrong_secret_or_for_another_region(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with spoken_by_polly(monkeypatch, secret="another") as (polly, _):
            assert (await failure(polly))[0] == "InvalidSignatureException"
        async with spoken_by_polly(monkeypatch, region="eu-west-1") as (polly, _):
            assert (await failure(polly))[0] == "UnrecognizedClientException"

    async def test_has_no_neural_engine_for_every_voice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with spoken_by_polly(monkeypatch) as (polly, _):
            assert (await failure(polly, voice="polly/Penelope"))[0] == "EngineNotSupportedException"

    async def test_is_asked_twice_when_it_throttles_and_then_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with spoken_by_polly(monkeypatch, Rejected(), None, Rejected(), Rejected()) as (polly, emulator):
            mouth = Mouth()
            stream = await polly.connect(voice="", listener=mouth)
            stream.speak(1, "Yes.", flush=True)
            await mouth.until(lambda: mouth.flushed == [1])
            await stream.close()
            assert (await failure(polly))[0] == "ThrottlingException"
            assert emulator.refusals == ["ThrottlingException"] * 3
            assert emulator.said == [("Joanna", "Yes.")]

    async def test_says_that_it_broke_off_in_the_middle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with spoken_by_polly(monkeypatch, Breaks(after_bytes=16_000)) as (polly, _):
            _, mouth = await failure(polly, WORDS)
        assert 0 < len(mouth.sound) <= 16_000

    async def test_lets_go_of_a_request_whose_text_was_cleared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with spoken_by_polly(monkeypatch, Hangs(after_bytes=1600)) as (polly, emulator):
            mouth = Mouth()
            stream = await polly.connect(voice="", listener=mouth)
            stream.speak(1, WORDS, flush=True)
            await mouth.until(lambda: bool(mouth.sound))
            stream.clear()
            stream.speak(2, "Yes.", flush=True)
            await mouth.until(lambda: mouth.flushed == [2])
            async with asyncio.timeout(120):
                while emulator.streaming:
                    await asyncio.sleep(0.001)
            await stream.close()

    async def test_is_given_no_more_than_it_takes_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pieces = list(requests("so many words " * 500))
        assert " ".join(pieces).split() == ("so many words " * 500).split()
        assert max(map(len, pieces)) <= LONGEST_TEXT
        assert list(requests("x" * (LONGEST_TEXT + 1))) == ["x" * LONGEST_TEXT, "x"]
        assert list(requests("  ")) == []
        monkeypatch.setattr("infra.adapters.polly.LONGEST_TEXT", 10_000)
        async with spoken_by_polly(monkeypatch) as (polly, _):
            assert (await failure(polly, "so many words " * 500))[0] == "TextLengthExceededException"

    async def test_has_a_voice_for_the_language_of_the_one_whose_place_it_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with spoken_by_polly(monkeypatch) as (polly, emulator):
            for voice in ("aura-2-celeste-es", "aura-2-thalia-en", "", "aura-2-orion-en|polly/Matthew"):
                mouth = Mouth()
                stream = await polly.connect(voice=voice, listener=mouth)
                stream.speak(1, "Si.", flush=True)
                await mouth.until(lambda mouth=mouth: mouth.flushed == [1])  # type: ignore[misc]
                await stream.close()
            assert [voice for voice, _ in emulator.said] == ["Lupe", "Joanna", "Joanna", "Matthew"]
            with pytest.raises(EngineUnsuited):
                await polly.connect(voice="aura-2-nobody-xx", listener=Mouth())


class Call:
    """A call's machine with a real mouth: what it wants said is said, and what it plays is kept. Nothing sounds, and no mark returns."""

    def __init__(self, ladder: VoiceLadder) -> None:
        words = replace(WORDING, disclosure="Hello.", greeting=WORDS)
        self.scene = Scene(briefing=briefing(voice="deepgram/aura-2", wording=words, ask_to_record=False), voice_speaks=False)
        self.sound, self.news, self._audio = bytearray(), asyncio.Event(), b""
        self.mouth = CallsMouth(ladder, self.give, lambda: self.scene.at_ms, first="aura-2-orion-en")
        self.scene.watchers.append(self._follow)

    def give(self, signal: Signal, audio: bytes) -> None:
        self._audio = audio
        self.scene.give(signal)
        self.news.set()

    def _follow(self, _: Signal, effects: tuple[do.Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case do.Play():
                    self.sound += self._audio
                case do.Speak(utterance=utterance, text=text):
                    self.mouth.speak(utterance, text)
                case do.ClearVoice():
                    self.mouth.clear()
                case _:
                    pass

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(120):
            while not happened():
                self.news.clear()
                await self.news.wait()


async def told(recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch, *faults: Fault) -> tuple[Call, list[str]]:
    """A call that begins with WORDS, and what Polly was asked for, when Deepgram's voice is gone in the middle of them."""
    breaks = Faults(close_speak_after_bytes=3000 * BYTES_PER_MS, only_first=1, afterwards=Faults(refuse_speak_status=503))
    async with (
        deepgram_emulator(recogniser=recogniser, api_key=DEEPGRAM_KEY, faults=breaks) as address,
        spoken_by_polly(monkeypatch, *faults) as (polly, emulator),
    ):
        aura = DeepgramSpeak(DEEPGRAM_KEY, base_url=address)
        call = Call(VoiceLadder([Rung(name=each.name, engine=each, within_seconds=5.0) for each in (aura, polly)]))
        keeping = asyncio.create_task(call.mouth.keep())
        try:
            call.scene.begin()
            await call.until(lambda: call.scene.state.speech.all_delivered)
            call.scene.wait(60_000)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await call.mouth.close()
    return call, [text for _, text in emulator.said]


async def heard(recogniser: Recogniser, call: Call) -> str:
    """What its caller understands."""
    ears = Ears()
    hearing = await Pocketsphinx(recogniser).connect(language="en-US", vocabulary=VOCABULARY, listener=ears)
    await ears.hear(hearing, silence(300) + bytes(call.sound) + silence(300))
    await hearing.close()
    return ears.text


class TestACallWhoseVoiceBreaksInMidSentence:
    async def test_hears_the_rest_from_the_second_provider_and_accounts_for_it_there(
        self, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call, said = await told(recogniser, monkeypatch)
        assert wrong_words(WORDS, await heard(recogniser, call)) <= 0.3
        (switched,) = call.scene.fact(EngineSwitched)
        assert (switched.engine, switched.instead_of, switched.kind) == ("polly/neural", "deepgram/aura-2", "voice")
        (rest,) = said
        assert WORDS.endswith(rest)
        assert rest != WORDS, "what was delivered is not said again"
        turn, *_ = call.scene.fact(AgentTurn)
        assert turn.spent.elsewhere == {"polly/neural": len(rest)}
        assert turn.spent.characters == len("Hello.") + len(WORDS) + len(rest)

    async def test_loses_it_where_nobody_says_again_what_was_not_delivered(
        self, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(again, "left_to_say", lambda *_: "")
        call, said = await told(recogniser, monkeypatch)
        assert said == []
        assert wrong_words(WORDS, await heard(recogniser, call)) > 0.3

    async def test_hears_all_of_it_when_the_second_provider_breaks_as_well(
        self, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call, said = await told(recogniser, monkeypatch, Breaks(after_bytes=16_000))
        assert [fact.engine for fact in call.scene.fact(EngineSwitched)] == ["polly/neural", "polly/neural"]
        assert len(said) == 2
        assert said[0].endswith(said[1])
