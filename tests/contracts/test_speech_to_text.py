"""A recogniser, whichever it is, keeps the port's word: real speech in, text and times out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from infra.adapters.deepgram.listen import DeepgramListen, key_terms
from infra.adapters.pocketsphinx.recogniser import Pocketsphinx, Recogniser
from infra.emulators.deepgram.faults import Faults
from infra.emulators.deepgram.server import deepgram_emulator
from realtime.audio import BYTES_PER_MS, silence
from realtime.ports import SEVERAL, EngineFailed, EngineUnavailable, HearingStream, SpeechToText, Transcript
from tests.contracts.spoken import VOCABULARY, Ears, said, wrong_words

KEY = "a key of the tests"


@pytest.fixture(params=["pocketsphinx", "deepgram"])
async def engine(request: pytest.FixtureRequest, recogniser: Recogniser) -> AsyncIterator[SpeechToText]:
    if request.param == "pocketsphinx":
        yield Pocketsphinx(recogniser)
        return
    async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
        yield DeepgramListen(KEY, base_url=address)


async def connected(engine: SpeechToText, ears: Ears) -> HearingStream:
    return await engine.connect(language="en-US", vocabulary=VOCABULARY, listener=ears)


class TestRecogniser:
    @pytest.mark.parametrize("words", ["what are your opening hours", "I would like to book an appointment", "please stop recording"])
    async def test_hears_the_phrases_of_the_business(self, engine: SpeechToText, words: str) -> None:
        ears = Ears()
        stream = await connected(engine, ears)
        await ears.hear(stream, await said(words))
        await stream.close()
        assert wrong_words(words, ears.text) <= 0.2

    async def test_hears_words_that_no_phrase_of_the_business_has(self, engine: SpeechToText) -> None:
        words = "the train was late again this morning"
        ears = Ears()
        stream = await connected(engine, ears)
        await ears.hear(stream, await said(words))
        await stream.close()
        assert wrong_words(words, ears.text) <= 0.3

    async def test_says_when_the_words_were_spoken(self, engine: SpeechToText) -> None:
        ears = Ears()
        stream = await connected(engine, ears)
        audio = await said("are you open on Saturday", before_ms=1000, after_ms=400)
        await ears.hear(stream, audio)
        await stream.close()
        final = next(final for final in ears.finals if final.text)
        assert final.start_ms == pytest.approx(1000, abs=150)
        assert final.end_ms == pytest.approx(len(audio) // BYTES_PER_MS - 400, abs=250)
        assert 0 < final.confidence <= 1

    async def test_tells_interim_words_before_the_final_ones(self, engine: SpeechToText) -> None:
        ears = Ears()
        stream = await connected(engine, ears)
        await ears.hear(stream, await said("I would like to book an appointment on Tuesday morning please"))
        await stream.close()
        interims = [heard for heard in ears.told if isinstance(heard, Transcript) and not heard.is_final]
        assert len(interims) >= 3
        assert all(interim.text for interim in interims)

    async def test_answers_every_finalize_once_also_when_nothing_was_said(self, engine: SpeechToText) -> None:
        ears = Ears()
        stream = await connected(engine, ears)
        for _ in range(20):
            await ears.hear(stream, silence(100))
        await stream.close()
        assert ears.answered == 20
        assert ears.text == ""

    async def test_keeps_turns_apart(self, engine: SpeechToText) -> None:
        ears = Ears()
        stream = await connected(engine, ears)
        turns = ["how much is a cleaning", "thank you goodbye"]
        heard = []
        for words in turns:
            before = len(ears.finals)
            await ears.hear(stream, await said(words))
            heard.append(" ".join(final.text for final in ears.finals[before:]))
        await stream.close()
        assert [wrong_words(words, text) <= 0.34 for words, text in zip(turns, heard, strict=True)] == [True, True]

    async def test_tells_two_calls_apart(self, engine: SpeechToText) -> None:
        first, second = Ears(), Ears()
        one, other = await connected(engine, first), await connected(engine, second)
        await asyncio.gather(
            first.hear(one, await said("what are your opening hours")), second.hear(other, await said("please stop recording"))
        )
        await one.close()
        await other.close()
        assert "opening" in first.text.lower()
        assert "recording" in second.text.lower()

    async def test_is_silent_after_its_close(self, engine: SpeechToText) -> None:
        ears = Ears()
        stream = await connected(engine, ears)
        await ears.hear(stream, silence(100))
        told = len(ears.told)
        for_later = await said("how much is a cleaning")
        stream.send(for_later)
        stream.finalize()
        await stream.close()
        await stream.close()
        stream.send(for_later)
        stream.finalize()
        follower = Ears()
        after = await connected(engine, follower)
        await follower.hear(after, for_later)
        await after.close()
        assert len(ears.told) == told


class TestPocketsphinx:
    async def test_has_no_ears_for_another_language(self, recogniser: Recogniser) -> None:
        with pytest.raises(EngineUnavailable, match="no offline model for de-DE"):
            await Pocketsphinx(recogniser).connect(language="de-DE", vocabulary=(), listener=Ears())

    async def test_says_once_that_its_process_is_gone_and_starts_another_for_the_next_call(self, recogniser: Recogniser) -> None:
        ears = Ears()
        engine = Pocketsphinx(recogniser)
        stream = await connected(engine, ears)
        recogniser.kill()
        await ears.until(lambda: bool(ears.told))
        stream.send(silence(100))
        await stream.close()
        assert [type(told) for told in ears.told] == [EngineFailed]
        follower = Ears()
        await follower.hear(await connected(engine, follower), await said("please stop recording"))
        assert "recording" in follower.text


class TestDeepgram:
    async def test_is_unavailable_with_a_wrong_key(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
            with pytest.raises(EngineUnavailable, match="401"):
                await connected(DeepgramListen("another", base_url=address), Ears())

    async def test_is_unavailable_when_it_refuses(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=Faults(refuse_listen_status=503)) as address:
            with pytest.raises(EngineUnavailable, match="503"):
                await connected(DeepgramListen(KEY, base_url=address), Ears())

    async def test_is_unavailable_when_nobody_is_there(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
            pass
        with pytest.raises(EngineUnavailable):
            await connected(DeepgramListen(KEY, base_url=address), Ears())

    async def test_says_once_that_the_stream_broke_off(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=Faults(close_listen_after_ms=400)) as address:
            ears = Ears()
            stream = await connected(DeepgramListen(KEY, base_url=address), ears)
            stream.send(silence(600))
            await ears.until(lambda: bool(ears.told))
            stream.send(silence(600))
            stream.finalize()
            await stream.close()
        assert [told.engine for told in ears.told if isinstance(told, EngineFailed)] == ["deepgram/nova-3"]
        assert len(ears.told) == 1

    async def test_keeps_a_stream_without_audio_open(self, recogniser: Recogniser) -> None:
        await recogniser.prepare(key_terms(VOCABULARY))
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, patience_seconds=1.5) as address:
            ears = Ears()
            stream = await connected(DeepgramListen(KEY, base_url=address, keep_alive_seconds=0.2), ears)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ears.news.wait(), 2)
            await ears.hear(stream, await said("please stop recording"))
            await stream.close()
        assert "recording" in ears.text.lower()

    async def test_tells_the_language_of_the_words_where_there_are_several(self, recogniser: Recogniser) -> None:
        spanish = "quisiera una cita para el martes"
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
            engine = DeepgramListen(KEY, base_url=address)
            heard = {}
            for language in (f"en-US{SEVERAL}es-ES", "en-US"):
                ears = Ears()
                stream = await engine.connect(language=language, vocabulary=(*VOCABULARY, spanish), listener=ears)
                await ears.hear(stream, await said(spanish))
                await stream.close()
                heard[language] = ears
        several, english = heard.values()
        assert wrong_words(spanish, several.text) <= 0.4
        told = Counter(language for final in several.finals for language, words in final.languages for _ in range(words))
        assert told["es"] >= 3
        assert told["es"] > told["en"]
        assert wrong_words(spanish, english.text) == 1, "a model of one language makes nothing of another's words"
        assert all(final.languages == () for final in english.finals), "it tells no language where it has one"

    def test_takes_the_short_terms_first_and_no_more_than_are_allowed(self) -> None:
        phrases = ["a phrase of more than a few words " * 3, "Lind", "root canal", *(f"term {n}" for n in range(400))]
        terms = key_terms(phrases)
        assert terms[:2] == ["Lind", "root canal"]
        assert sum(len(term.split()) for term in terms) < 500
