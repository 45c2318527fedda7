"""A voice, whichever it is, keeps the port's word: text in, sound out that can be understood, and silence after a clear."""

from collections.abc import AsyncIterator

import pytest

from infra.adapters.deepgram.speak import DeepgramSpeak
from infra.adapters.flite import Flite
from infra.adapters.pocketsphinx.recogniser import Pocketsphinx, Recogniser
from infra.emulators.deepgram.faults import Faults
from infra.emulators.deepgram.server import deepgram_emulator
from infra.emulators.deepgram.speaking import MOST_FLUSHES
from realtime.audio import BYTES_PER_MS, level_dbfs, silence
from realtime.ports import EngineFailed, EngineUnavailable, TextToSpeech, VoiceAudio, VoiceFlushed
from tests.contracts.polly import spoken_by_polly
from tests.contracts.spoken import VOCABULARY, Ears, Mouth, wrong_words

KEY = "a key of the tests"
VOICE = "aura-2-orion-en"
LONG = "We are open from Monday to Friday. On Saturday we are open until noon. On Sunday we are closed, and there is nobody here at all."


@pytest.fixture(params=["flite", "deepgram", "polly"])
async def engine(request: pytest.FixtureRequest, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TextToSpeech]:
    if request.param == "flite":
        yield Flite()
        return
    if request.param == "polly":
        async with spoken_by_polly(monkeypatch) as (polly, _):
            yield polly
        return
    async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
        yield DeepgramSpeak(KEY, base_url=address)


class TestVoice:
    async def test_says_words_that_can_be_understood(self, engine: TextToSpeech, recogniser: Recogniser) -> None:
        words = "I would like to book an appointment on Tuesday morning please"
        mouth, ears = Mouth(), Ears()
        stream = await engine.connect(voice=VOICE, listener=mouth)
        stream.speak(1, words, flush=True)
        await mouth.until(lambda: mouth.flushed == [1])
        await stream.close()
        hearing = await Pocketsphinx(recogniser).connect(language="en-US", vocabulary=VOCABULARY, listener=ears)
        await ears.hear(hearing, silence(300) + mouth.sound + silence(300))
        await hearing.close()
        assert wrong_words(words, ears.text) <= 0.3
        assert level_dbfs(mouth.sound) > -35

    async def test_says_when_all_sound_of_an_utterance_is_there(self, engine: TextToSpeech) -> None:
        mouth = Mouth()
        stream = await engine.connect(voice=VOICE, listener=mouth)
        stream.speak(1, "Good morning.", flush=True)
        stream.speak(2, "How can I help you?", flush=True)
        await mouth.until(lambda: mouth.flushed == [1, 2])
        await stream.close()
        kinds = [type(told) for told in mouth.told]
        first = kinds.index(VoiceFlushed)
        assert set(kinds[:first]) == {VoiceAudio}
        assert set(kinds[first + 1 : -1]) == {VoiceAudio}
        assert kinds[-1] is VoiceFlushed

    async def test_says_texts_without_a_flush_together_with_the_next_that_has_one(self, engine: TextToSpeech) -> None:
        mouth, alone = Mouth(), Mouth()
        stream = await engine.connect(voice=VOICE, listener=mouth)
        stream.speak(1, "Good morning.", flush=False)
        stream.speak(2, "How can I help you?", flush=True)
        await mouth.until(lambda: mouth.flushed == [2])
        await stream.close()
        stream = await engine.connect(voice=VOICE, listener=alone)
        stream.speak(1, "How can I help you?", flush=True)
        await alone.until(lambda: alone.flushed == [1])
        await stream.close()
        assert len(mouth.sound) > len(alone.sound) + 300 * BYTES_PER_MS

    async def test_answers_a_flush_of_nothing(self, engine: TextToSpeech) -> None:
        mouth = Mouth()
        stream = await engine.connect(voice=VOICE, listener=mouth)
        stream.speak(1, "", flush=True)
        await mouth.until(lambda: mouth.flushed == [1])
        await stream.close()
        assert mouth.sound == b""

    async def test_gives_nothing_of_what_was_cleared(self, engine: TextToSpeech) -> None:
        mouth = Mouth()
        stream = await engine.connect(voice=VOICE, listener=mouth)
        for utterance in range(1, 4):
            stream.speak(utterance, LONG, flush=True)
        await mouth.until(lambda: len(mouth.sound) > 0)
        stream.clear()
        mouth.told.clear()
        stream.speak(4, "Yes?", flush=True)
        await mouth.until(lambda: 4 in mouth.flushed)
        await stream.close()
        assert mouth.flushed == [4]
        assert len(mouth.sound) < 1500 * BYTES_PER_MS

    async def test_can_be_cleared_again_and_again(self, engine: TextToSpeech) -> None:
        mouth = Mouth()
        stream = await engine.connect(voice=VOICE, listener=mouth)
        for utterance in range(1, 6):
            stream.speak(utterance, LONG, flush=True)
            stream.clear()
            stream.clear()
        stream.speak(6, "Yes?", flush=True)
        await mouth.until(lambda: bool(mouth.flushed))
        await stream.close()
        assert mouth.flushed == [6]
        assert len(mouth.sound) < 1500 * BYTES_PER_MS

    async def test_is_silent_after_its_close(self, engine: TextToSpeech) -> None:
        mouth, follower = Mouth(), Mouth()
        stream = await engine.connect(voice=VOICE, listener=mouth)
        stream.speak(1, LONG, flush=True)
        await mouth.until(lambda: len(mouth.sound) > 0)
        await stream.close()
        await stream.close()
        told = len(mouth.told)
        after = await engine.connect(voice=VOICE, listener=follower)
        after.speak(1, "Yes?", flush=True)
        await follower.until(lambda: follower.flushed == [1])
        await after.close()
        assert len(mouth.told) == told


class TestDeepgram:
    async def test_is_unavailable_with_a_wrong_key(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
            with pytest.raises(EngineUnavailable, match="401"):
                await DeepgramSpeak("another", base_url=address).connect(voice=VOICE, listener=Mouth())

    async def test_says_once_that_the_stream_broke_off(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=Faults(close_speak_after_bytes=8000)) as address:
            mouth = Mouth()
            stream = await DeepgramSpeak(KEY, base_url=address).connect(voice=VOICE, listener=mouth)
            stream.speak(1, LONG, flush=True)
            await mouth.until(lambda: bool(mouth.failures))
            stream.speak(2, LONG, flush=True)
            await stream.close()
        assert isinstance(mouth.told[-1], EngineFailed)
        assert [failure.engine for failure in mouth.failures] == ["deepgram/aura-2"]

    async def test_says_that_a_flush_too_many_will_stay_silent(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
            mouth = Mouth()
            stream = await DeepgramSpeak(KEY, base_url=address).connect(voice=VOICE, listener=mouth)
            for utterance in range(1, MOST_FLUSHES + 2):
                stream.speak(utterance, "Yes.", flush=True)
            await mouth.until(lambda: bool(mouth.failures))
            await stream.close()
        assert "Flush" in mouth.failures[0].reason
