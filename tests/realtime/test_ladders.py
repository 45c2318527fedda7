"""Which engine does the work when others do not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest

from realtime.engines import ladders
from realtime.engines.breakers import CAUTION
from realtime.engines.ladders import ModelLadder, RecogniserLadder, Rung, VoiceLadder, engine_of
from realtime.machine import signals
from realtime.ports import (
    EngineChanged,
    EngineFailed,
    EngineUnavailable,
    EngineUnsuited,
    HearingListener,
    HearingStream,
    ModelEvent,
    ModelRequest,
    ModelStopped,
    TextDelta,
    TokenUsage,
    Transcript,
    VoiceAudio,
    VoiceFlushed,
)
from realtime.speaking.mouth import Mouth
from tests.realtime.world import PlainVoice, TextEars

E = TypeVar("E")

QUESTION = ModelRequest(model="us.small", system="", messages=(), tools=(), max_tokens=10, temperature=None)
DONE = ModelStopped(reason="end_turn", usage=TokenUsage(input_tokens=1, output_tokens=1))


def rung(name: str, engine: E, *, within_seconds: float = 1.0) -> Rung[E]:
    return Rung(name=name, engine=engine, within_seconds=within_seconds)


class Scripted:
    """A model that says these things; a float is a pause in seconds, None the end of its connection."""

    name = "scripted"
    embedded = True

    def __init__(self, *says: str | float | None) -> None:
        self.says, self.asked, self.closed = says, list[str](), 0

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append(request.model)
        try:
            for one in self.says:
                match one:
                    case str():
                        yield TextDelta(text=one)
                    case float():
                        await asyncio.sleep(one)
                    case None:
                        raise EngineUnavailable(self.name, "broke off")
            yield DONE
        finally:
            self.closed += 1


async def answer(ladder: ModelLadder) -> list[ModelEvent]:
    return [event async for event in ladder.converse(QUESTION)]


def texts(events: Sequence[ModelEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


class TestModelLadder:
    async def test_asks_the_first_while_it_answers(self) -> None:
        first, second = Scripted("hello"), Scripted("never")
        assert await answer(ModelLadder([rung("first", first), rung("second", second)])) == [TextDelta(text="hello"), DONE]
        assert second.asked == []

    async def test_asks_the_next_when_one_breaks_before_its_first_word_and_says_so_first(self) -> None:
        events = await answer(ModelLadder([rung("first", Scripted(None)), rung("second", Scripted("hello"))]))
        assert events[0] == EngineChanged(engine="second", instead_of="first", reason="broke off")
        assert texts(events) == ["hello"]

    async def test_asks_the_next_when_one_is_too_slow(self) -> None:
        slow = Scripted(30.0, "late")
        ladder = ModelLadder([rung("slow", slow), rung("second", Scripted("hello"))])
        events = [event async for event in ladder.converse(replace(QUESTION, first_token_within_ms=20))]
        assert texts(events) == ["hello"]
        assert slow.closed == 1, "its connection is freed at once"
        assert len(slow.asked) == 1
        [_ async for _ in ladder.converse(replace(QUESTION, first_token_within_ms=20))]
        assert len(slow.asked) == 2, "slow once is no reason to leave it alone"

    async def test_gives_the_last_as_long_as_it_needs(self) -> None:
        ladder = ModelLadder([rung("only", Scripted(0.05, "late"))])
        events = [event async for event in ladder.converse(replace(QUESTION, first_token_within_ms=20))]
        assert texts(events) == ["late"]

    async def test_repeats_nothing_that_was_said(self) -> None:
        ladder = ModelLadder([rung("first", Scripted("hel", None)), rung("second", Scripted("hello"))])
        with pytest.raises(EngineUnavailable, match="broke off"):
            await answer(ladder)

    async def test_leaves_one_alone_that_fails_always(self) -> None:
        first = Scripted(None)
        ladder = ModelLadder([rung("first", first), rung("second", Scripted("hello"))])
        for _ in range(10):
            assert texts(await answer(ladder)) == ["hello"]
        assert len(first.asked) == CAUTION.failures

    async def test_fails_when_every_rung_does(self) -> None:
        with pytest.raises(EngineUnavailable):
            await answer(ModelLadder([rung("first", Scripted(None)), rung("second", Scripted(None))]))

    async def test_calls_a_model_by_the_name_that_it_has_there(self) -> None:
        there = Scripted("hello")
        elsewhere = Rung(name="second", engine=there, within_seconds=1.0, translate=lambda model: model.replace("us.", "eu."))
        await answer(ModelLadder([rung("first", Scripted(None)), elsewhere]))
        assert there.asked == ["eu.small"]

    async def test_frees_the_connection_of_a_question_that_is_cancelled(self) -> None:
        hanging = Scripted(30.0)
        asking = asyncio.create_task(answer(ModelLadder([rung("first", hanging, within_seconds=40)])))
        while not hanging.asked:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert hanging.closed == 1


class TestRecogniserLadder:
    async def test_says_which_one_it_opened(self) -> None:
        first, second = TextEars(), TextEars()
        ladder = RecogniserLadder([rung("first", first), rung("second", second)])
        stream = await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        assert engine_of(stream, "?") == "first"
        first.unreachable = True
        for _ in range(CAUTION.failures):
            with pytest.raises(EngineUnavailable, match="first"):
                await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        stream = await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        assert engine_of(stream, "?") == "second"

    async def test_is_shared_so_that_one_calls_trouble_spares_the_others(self) -> None:
        first, second = TextEars(), TextEars()
        first.unreachable = True
        ladder = RecogniserLadder([rung("first", first), rung("second", second)])
        for _ in range(CAUTION.failures):
            with pytest.raises(EngineUnavailable):
                await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        assert len(second.streams) == 1

    async def test_passes_by_one_that_cannot_do_what_a_call_needs_and_keeps_it_for_others(self) -> None:
        class English:
            name, embedded, ears = "english", True, TextEars()

            async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> HearingStream:
                if language != "en":
                    raise EngineUnsuited(self.name, "no model for that")
                return await self.ears.connect(language=language, vocabulary=vocabulary, listener=listener)

        ladder = RecogniserLadder([rung("first", English()), rung("second", TextEars())])
        for _ in range(2 * CAUTION.failures):
            stream = await ladder.connect(language="de", vocabulary=(), listener=lambda _: None)
            assert engine_of(stream, "?") == "second"
        stream = await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        assert engine_of(stream, "?") == "first"

    async def test_counts_streams_that_die_before_they_did_anything(self) -> None:
        first, second = TextEars(), TextEars()
        ladder = RecogniserLadder([rung("first", first), rung("second", second)])
        told: list[Transcript | EngineFailed] = []
        for _ in range(CAUTION.failures):
            await ladder.connect(language="en", vocabulary=(), listener=told.append)
            first.streams[-1].break_off()
        assert told[0] == EngineFailed(engine="first", reason="broken off")
        await ladder.connect(language="en", vocabulary=(), listener=told.append)
        assert len(second.streams) == 1

    async def test_counts_no_stream_that_breaks_after_it_has_worked(self) -> None:
        first, second = TextEars(), TextEars()
        ladder = RecogniserLadder([rung("first", first), rung("second", second)])
        for _ in range(2 * CAUTION.failures):
            await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
            first.streams[-1].listener(
                Transcript(text="hi", is_final=False, from_finalize=False, start_ms=0, end_ms=9, confidence=1)
            )  # fmt: skip
            first.streams[-1].break_off()
        assert second.streams == []

    async def test_leaves_one_alone_at_once_that_was_asked_and_said_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ladders, "_HUNG_SECONDS", 0.0)
        first, second = TextEars(), TextEars()
        ladder = RecogniserLadder([rung("first", first), rung("second", second)])
        stream = await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        stream.finalize()
        await stream.close()
        await ladder.connect(language="en", vocabulary=(), listener=lambda _: None)
        assert len(second.streams) == 1


class TestAVoiceThatIsLost:
    async def test_is_replaced_and_the_call_is_told_before_anything_is_said(self) -> None:
        first, second = PlainVoice(), PlainVoice()
        first.unreachable = True
        given: list[signals.Signal] = []
        mouth = Mouth(VoiceLadder([rung("first", first), rung("second", second)]), lambda signal, _: given.append(signal), lambda: 7)
        keeping = asyncio.create_task(mouth.keep())
        mouth.speak(1, "hello")
        async with asyncio.timeout(120):
            while not given:
                await asyncio.sleep(0.001)
        (change,) = given
        assert isinstance(change, signals.EngineTaken)
        assert (change.name, change.reason) == ("second", "unreachable")
        assert second.spoken == [], "who is told says again what was not delivered"
        mouth.speak(1, "hello")
        assert second.spoken == ["hello"]
        keeping.cancel()
        await asyncio.wait([keeping])
        await mouth.close()

    async def test_that_hangs_is_let_go_and_nothing_of_it_is_heard_any_more(self) -> None:
        voice = PlainVoice()
        given: list[tuple[signals.Signal, bytes]] = []
        mouth = Mouth(voice, lambda signal, audio: given.append((signal, audio)), lambda: 7)
        keeping = asyncio.create_task(mouth.keep())
        mouth.speak(1, "hello")
        async with asyncio.timeout(120):
            while not voice.spoken:
                await asyncio.sleep(0)
            mouth.change("no audio in time")
            while not given:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert [type(signal) for signal, _ in given] == [signals.EngineTaken]
        keeping.cancel()
        await asyncio.wait([keeping])
        await mouth.close()

    async def test_delivers_as_ever_once_another_was_taken(self) -> None:
        voice = PlainVoice()
        told: list[VoiceAudio | VoiceFlushed | EngineFailed] = []
        stream = await VoiceLadder([rung("first", voice)]).connect(voice="", listener=told.append)
        stream.speak(1, "hello", flush=True)
        async with asyncio.timeout(120):
            while len(told) < 2:
                await asyncio.sleep(0.001)
        assert told[-1] == VoiceFlushed(utterance=1)
        await stream.close()
