"""No word is lost over Deepgram's own SDK when its sockets break, go dumb or have no flush left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from infra.adapters.deepgram.listen import DeepgramListen, key_terms
from infra.adapters.deepgram.speak import DeepgramSpeak
from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.emulators.deepgram.faults import NO_FAULTS, Faults
from infra.emulators.deepgram.server import deepgram_emulator
from infra.settings import Settings
from realtime.audio import FRAME_BYTES
from realtime.hearing import unsettled, vad
from realtime.hearing.ears import Ears
from realtime.machine import signals
from realtime.speaking.mouth import Mouth
from tests.contracts.spoken import VOCABULARY, said, wrong_words
from tests.realtime.world import LevelActivity

KEY = "a key of the tests"
WORDS = "I would like to book an appointment on Tuesday morning please"
BREAKS = Faults(close_listen_after_ms=1500, only_first=1)


@pytest.fixture
async def recogniser(settings: Settings) -> AsyncIterator[Recogniser]:
    recogniser = Recogniser(cache=settings.cache_dir / "pocketsphinx")
    await recogniser.prepare(key_terms(VOCABULARY))
    yield recogniser
    await recogniser.close()


async def heard(recogniser: Recogniser, faults: Faults, *, answers_within_seconds: float = 30.0) -> tuple[str, list[signals.EngineTaken]]:
    """What a call hears of WORDS, spoken frame by frame, and which streams it took for it."""
    given: list[signals.Signal] = []
    news = asyncio.Event()

    def give(signal: signals.Signal) -> None:
        given.append(signal)
        news.set()

    async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=faults) as address:
        engine = DeepgramListen(KEY, base_url=address)
        ears = Ears(engine, LevelActivity(), vad.Thresholds(), give, lambda: 0, answers_within_seconds=answers_within_seconds)
        keeping = asyncio.create_task(ears.keep(language="en", vocabulary=VOCABULARY))
        try:
            audio = await said(WORDS)
            for at in range(0, len(audio), FRAME_BYTES):
                ears.frame(at // 8, audio[at : at + FRAME_BYTES])
                await asyncio.sleep(0.002)
            ears.finalize()
            async with asyncio.timeout(120):
                while not any(isinstance(each, signals.WordsRecognised) and each.from_finalize for each in given):
                    news.clear()
                    await news.wait()
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await ears.close()
    finals = [each.text for each in given if isinstance(each, signals.WordsRecognised) and each.is_final]
    return " ".join(finals), [each for each in given if isinstance(each, signals.EngineTaken)]


class TestARecognisersSocketThatBreaks:
    async def test_loses_no_word_and_repeats_none(self, recogniser: Recogniser) -> None:
        whole, none = await heard(recogniser, NO_FAULTS)
        assert none == []
        words, (taken,) = await heard(recogniser, BREAKS)
        assert "1011" in taken.reason
        assert taken.repeated_ms >= 1000
        assert wrong_words(whole, words) == 0

    async def test_loses_words_where_nothing_is_kept_for_the_next_one(
        self, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unsettled.Unsettled, "audio", lambda _: b"")
        words, _ = await heard(recogniser, BREAKS)
        assert wrong_words(WORDS, words) > 0.2

    async def test_that_goes_dumb_is_replaced_and_loses_no_word(self, recogniser: Recogniser) -> None:
        whole, _ = await heard(recogniser, NO_FAULTS)
        words, taken = await heard(recogniser, Faults(dumb_listen_after_ms=700, only_first=1), answers_within_seconds=2.0)
        # On a busy machine the second one may seem to hang as well.
        assert {each.reason for each in taken} == {"no answer in time"}
        assert wrong_words(whole, words) == 0


class Telling:
    """What a mouth gives, and a wait for it."""

    def __init__(self) -> None:
        self.given: list[signals.Signal] = []
        self.samples = 0
        self.news = asyncio.Event()

    def __call__(self, signal: signals.Signal, audio: bytes) -> None:
        self.given.append(signal)
        self.samples += len(audio)
        self.news.set()

    def delivered(self) -> list[int]:
        return [each.utterance for each in self.given if isinstance(each, signals.VoiceDelivered)]

    def taken(self) -> list[signals.EngineTaken]:
        return [each for each in self.given if isinstance(each, signals.EngineTaken)]

    def answered(self, utterance: int) -> bool:
        return utterance in self.delivered() or bool(self.taken())

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(120):
            while not happened():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def speaking(recogniser: Recogniser, faults: Faults) -> AsyncIterator[tuple[Mouth, Telling]]:
    telling = Telling()
    async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=faults) as address:
        mouth = Mouth(DeepgramSpeak(KEY, base_url=address), telling, lambda: 0)
        keeping = asyncio.create_task(mouth.keep())
        try:
            yield mouth, telling
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await mouth.close()


class TestAVoiceThatSpeaksAhead:
    async def test_is_not_heard_before_it_is_said_and_never_when_it_is_not(self, recogniser: Recogniser) -> None:
        async with speaking(recogniser, NO_FAULTS) as (mouth, telling):
            mouth.speak(1, "Yes, we are open.")
            await telling.until(lambda: 1 in telling.delivered())
            once = telling.samples
            for asked, dropped in ((1, False), (2, True)):
                mouth.speak_ahead(asked, "Yes, we are open." if not dropped else "Never on Sunday, and not in May either.")
                await telling.until(lambda asked=asked: signals.VoiceReady(at_ms=0, asked=asked) in telling.given)  # type: ignore[misc]
                before = telling.samples
                assert before == once * asked
                mouth.speak(1 + asked, "Yes, we are open.")
                await telling.until(lambda asked=asked: 1 + asked in telling.delivered())  # type: ignore[misc]
                assert telling.samples == before + once, "as long as what is said, and nothing else with it"
            assert telling.taken() == []


class TestAVoicesSocket:
    async def test_without_a_flush_left_is_replaced_by_one_that_has_them(self, recogniser: Recogniser) -> None:
        async with speaking(recogniser, Faults(most_flushes=2, only_first=1)) as (mouth, telling):
            for utterance in (1, 2, 3):
                mouth.speak(utterance, "Yes, we are open.")
                await telling.until(partial(telling.answered, utterance))
            (taken,) = telling.taken()
            assert "Flush" in taken.reason
            samples = telling.samples
            mouth.speak(3, "Yes, we are open.")
            await telling.until(lambda: 3 in telling.delivered())
            assert telling.delivered() == [1, 2, 3]
            assert telling.samples == samples * 3 // 2, "the third is said once, and as long as the others"

    async def test_that_breaks_in_mid_sentence_is_replaced(self, recogniser: Recogniser) -> None:
        async with speaking(recogniser, Faults(close_speak_after_bytes=4000, only_first=1)) as (mouth, telling):
            mouth.speak(1, "We are open from nine to five on every day of the week.")
            await telling.until(telling.taken)
            assert "1011" in telling.taken()[0].reason
            assert telling.samples > 0
            mouth.speak(1, "on every day of the week.")
            await telling.until(telling.delivered)

    async def test_that_goes_dumb_is_let_go_and_says_nothing_afterwards(self, recogniser: Recogniser) -> None:
        async with speaking(recogniser, Faults(dumb_speak_after_bytes=4000, only_first=1)) as (mouth, telling):
            mouth.speak(1, "We are open from nine to five on every day of the week.")
            await telling.until(lambda: telling.samples >= 4000)
            mouth.change("no audio in time")
            await telling.until(telling.taken)
            before = telling.samples
            mouth.speak(2, "Yes.")
            await telling.until(telling.delivered)
            assert telling.delivered() == [2]
            assert telling.samples > before

    async def test_that_was_cleared_says_nothing_stale_and_goes_on(self, recogniser: Recogniser) -> None:
        async with speaking(recogniser, NO_FAULTS) as (mouth, telling):
            mouth.speak(1, "We are open from nine to five on every day of the week, and on Saturday until noon.")
            await telling.until(lambda: telling.samples > 0)
            mouth.clear()
            before = telling.samples
            mouth.speak(2, "Yes.")
            await telling.until(telling.delivered)
            assert telling.delivered() == [2]
            assert telling.samples - before < 8 * 1500
