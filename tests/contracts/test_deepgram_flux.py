"""Flux by the unmodified SDK, over its emulated wire: turns are told as they go on, are likely over, go on after all, and are over."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.adapters.deepgram.flux import DeepgramFlux, FluxStream
from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.emulators.deepgram.faults import Faults
from infra.emulators.deepgram.server import deepgram_emulator
from realtime.audio import BYTES_PER_MS, FRAME_BYTES, silence
from realtime.hearing.marks import TurnMark
from realtime.ports import EngineFailed, EngineUnavailable, Transcript
from tests.contracts.spoken import VOCABULARY, Ears, said, wrong_words

KEY = "a key of the tests"


@pytest.fixture
async def flux(recogniser: Recogniser) -> AsyncIterator[DeepgramFlux]:
    async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
        yield DeepgramFlux(KEY, base_url=address, no_turn_seconds=0.3)


async def connected(engine: DeepgramFlux, ears: Ears) -> FluxStream:
    return await engine.connect(language="en-US", vocabulary=VOCABULARY, listener=ears)


def give(stream: FluxStream, mulaw: bytes) -> None:
    for at in range(0, len(mulaw), FRAME_BYTES):
        stream.send(mulaw[at : at + FRAME_BYTES])


def marks(ears: Ears) -> list[TurnMark]:
    """What was said of the turn, words that only grew left out."""
    return [heard.turn for heard in ears.told if isinstance(heard, Transcript) and heard.turn is not TurnMark.GOING]


class TestFlux:
    async def test_says_by_itself_when_a_turn_is_likely_over_and_when_it_is(self, flux: DeepgramFlux) -> None:
        ears = Ears()
        stream = await connected(flux, ears)
        give(stream, await said("what are your opening hours", before_ms=500, after_ms=1500))
        await ears.until(lambda: bool(ears.finals))
        await stream.close()
        (final,) = ears.finals
        assert marks(ears) == [TurnMark.LIKELY_OVER, TurnMark.OVER]
        assert wrong_words("what are your opening hours", final.text) <= 0.2
        assert not final.from_finalize
        assert final.start_ms == pytest.approx(500, abs=200)
        assert 0 < final.confidence <= 1
        (likely,) = [heard for heard in ears.told if isinstance(heard, Transcript) and heard.turn is TurnMark.LIKELY_OVER]
        assert likely.text == final.text

    async def test_says_that_it_goes_on_after_all(self, flux: DeepgramFlux) -> None:
        ears = Ears()
        stream = await connected(flux, ears)
        give(stream, await said("I would like to book an appointment", before_ms=500, after_ms=260))
        give(stream, await said("on Tuesday morning please", before_ms=0, after_ms=1500))
        await ears.until(lambda: bool(ears.finals))
        await stream.close()
        assert marks(ears) == [TurnMark.LIKELY_OVER, TurnMark.GOES_ON, TurnMark.LIKELY_OVER, TurnMark.OVER]
        assert wrong_words("I would like to book an appointment on Tuesday morning please", ears.text) <= 0.3

    async def test_ends_a_turn_that_it_is_asked_to_end(self, flux: DeepgramFlux) -> None:
        ears = Ears()
        stream = await connected(flux, ears)
        give(stream, await said("please stop recording", before_ms=500, after_ms=60))
        await ears.until(lambda: bool(ears.told))
        stream.finalize()
        await ears.until(lambda: bool(ears.finals))
        await stream.close()
        assert ears.finals[0].turn is TurnMark.OVER
        assert ears.finals[0].from_finalize
        assert "recording" in ears.text.lower()

    async def test_answers_each_finalize_once_also_where_no_turn_is(self, flux: DeepgramFlux) -> None:
        ears = Ears()
        stream = await connected(flux, ears)
        for _ in range(3):
            await ears.hear(stream, silence(100))
        stream.finalize()
        stream.finalize()
        await ears.until(lambda: ears.answered == 5)
        await stream.close()
        assert ears.text == ""
        assert ears.answered == 5

    async def test_keeps_turns_apart(self, flux: DeepgramFlux) -> None:
        ears = Ears()
        stream = await connected(flux, ears)
        for number, words in enumerate(("how much is a cleaning", "thank you goodbye"), 1):
            give(stream, await said(words, after_ms=1500))
            await ears.until(lambda number=number: len(ears.finals) == number)  # type: ignore[misc]
        await stream.close()
        assert "cleaning" in ears.finals[0].text
        assert "cleaning" not in ears.finals[1].text
        assert ears.finals[1].start_ms > ears.finals[0].end_ms

    async def test_counts_no_time_for_what_it_fills_in(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, patience_seconds=1.5) as address:
            ears = Ears()
            stream = await connected(DeepgramFlux(KEY, base_url=address, fill_seconds=0.2), ears)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ears.news.wait(), 2)
            audio = await said("please stop recording", before_ms=400, after_ms=1500)
            give(stream, audio)
            await ears.until(lambda: bool(ears.finals))
            await stream.close()
        assert ears.finals[0].end_ms <= len(audio) // BYTES_PER_MS

    async def test_is_unavailable_in_a_language_that_it_does_not_know(self, flux: DeepgramFlux) -> None:
        with pytest.raises(EngineUnavailable, match="de-DE"):
            await flux.connect(language="de-DE", vocabulary=(), listener=Ears())

    async def test_is_unavailable_with_a_wrong_key(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
            with pytest.raises(EngineUnavailable, match="401"):
                await connected(DeepgramFlux("another", base_url=address), Ears())

    async def test_says_once_that_the_stream_broke_off(self, recogniser: Recogniser) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=Faults(close_listen_after_ms=400)) as address:
            ears = Ears()
            stream = await connected(DeepgramFlux(KEY, base_url=address), ears)
            stream.send(silence(600))
            await ears.until(lambda: bool(ears.told))
            stream.send(silence(600))
            stream.finalize()
            await stream.close()
        assert [type(told) for told in ears.told] == [EngineFailed]

    async def test_is_silent_after_its_close(self, flux: DeepgramFlux) -> None:
        ears = Ears()
        stream = await connected(flux, ears)
        stream.finalize()
        await stream.close()
        await stream.close()
        stream.send(silence(100))
        stream.finalize()
        follower = Ears()
        after = await connected(flux, follower)
        await follower.hear(after, silence(100))
        await after.close()
        assert ears.told == []
