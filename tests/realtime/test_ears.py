"""What reaches recogniser and detector: call time without gaps, also while the recogniser is still being reached."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from realtime.audio import FRAME_BYTES
from realtime.engines.ladders import RecogniserLadder, Rung
from realtime.hearing import vad
from realtime.hearing.ears import Ears
from realtime.machine import signals
from realtime.ports import EngineUnsuited, HearingListener, SpeechToText, Transcript
from tests.realtime.world import LevelActivity, TextEars, spoken

FRAME = b"\xff" * FRAME_BYTES


def ears(engine: SpeechToText, *, answers_within_seconds: float = 1.0) -> tuple[Ears, list[signals.Signal]]:
    given: list[signals.Signal] = []
    made = Ears(
        engine, LevelActivity(), vad.Thresholds(), given.append, lambda: 5000, answers_within_seconds=answers_within_seconds
    )  # fmt: skip
    return made, given


def finals(given: Sequence[signals.Signal]) -> list[tuple[str, int, int]]:
    return [(each.text, each.start_ms, each.end_ms) for each in given if isinstance(each, signals.WordsRecognised) and each.is_final]


def taken(given: Sequence[signals.Signal]) -> list[signals.EngineTaken]:
    return [each for each in given if isinstance(each, signals.EngineTaken)]


@asynccontextmanager
async def kept(hearing: Ears) -> AsyncIterator[None]:
    """As a call keeps them: reached, and reached again."""
    keeping = asyncio.create_task(hearing.keep(language="en", vocabulary=()))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await hearing.close()


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not happened():
            await asyncio.sleep(0.001)


def reached(engine: TextEars, times: int) -> bool:
    return len(engine.streams) == times


def say(hearing: Ears, at_ms: int, text: str) -> int:
    """Frame by frame; returns when it ends."""
    audio = spoken(text)
    for at in range(0, len(audio), FRAME_BYTES):
        hearing.frame(at_ms, audio[at : at + FRAME_BYTES])
        at_ms += 20
    return at_ms


class TestAnotherLanguage:
    async def test_is_heard_from_the_words_on_that_nobody_has_settled(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        async with kept(hearing):
            await until(lambda: reached(engine, 1))
            at_ms = say(hearing, 0, "hello there")
            hearing.finalize()
            await until(lambda: finals(given))
            at_ms = say(hearing, at_ms, "quisiera una")
            hearing.change_language("es")
            at_ms = say(hearing, at_ms, "cita")
            await until(lambda: reached(engine, 2))
            say(hearing, at_ms, "manana")
            hearing.finalize()
            await until(lambda: len(finals(given)) == 2)
        assert [stream.language for stream in engine.streams] == ["en", "es"]
        assert [text for text, *_ in finals(given)] == ["hello there", "quisiera una cita manana"], "no word is lost, and none comes twice"
        assert engine.streams[0].closed
        assert taken(given) == [], "nothing broke"

    async def test_is_told_of_the_words_as_the_recogniser_tells_it(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        await hearing.connect(language="en,es", vocabulary=())
        told = Transcript(
            text="una cita", is_final=True, from_finalize=True, start_ms=0, end_ms=500, confidence=1.0, languages=(("es", 2),)
        )  # fmt: skip
        engine.streams[0].listener(told)
        assert [each.languages for each in given if isinstance(each, signals.WordsRecognised)] == [(("es", 2),)]
        await hearing.close()

    async def test_that_is_heard_already_changes_nothing(self) -> None:
        engine = TextEars()
        hearing, _ = ears(engine)
        async with kept(hearing):
            await until(lambda: reached(engine, 1))
            hearing.change_language("en")
            await asyncio.sleep(0.01)
        assert reached(engine, 1)

    async def test_that_nobody_can_hear_leaves_all_as_it_was(self) -> None:
        class English(TextEars):
            async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> Any:
                if language != "en":
                    raise EngineUnsuited(self.name, "English only")
                return await super().connect(language=language, vocabulary=vocabulary, listener=listener)

        engine = English()
        hearing, given = ears(engine)
        async with kept(hearing):
            await until(lambda: reached(engine, 1))
            hearing.change_language("es")
            await until(lambda: reached(engine, 2))
            say(hearing, 0, "hello")
            hearing.finalize()
            await until(lambda: finals(given))
        assert [each for each in given if isinstance(each, signals.EngineBroke | signals.EngineTaken)] == []


class TestEars:
    async def test_keep_what_is_said_before_the_recogniser_is_there(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        hearing.frame(0, spoken("hello"))
        hearing.finalize()
        await hearing.connect(language="en", vocabulary=())
        await asyncio.sleep(0.02)
        finals = [signal.text for signal in given if isinstance(signal, signals.WordsRecognised) and signal.is_final]
        assert finals == ["hello"]
        assert hearing.heard_ms == 120

    async def test_fill_lost_frames_with_silence_and_drop_repeated_ones(self) -> None:
        engine = TextEars()
        hearing, _ = ears(engine)
        await hearing.connect(language="en", vocabulary=())
        assert hearing.frame(0, FRAME) == FRAME
        assert hearing.frame(60, FRAME) == FRAME * 3
        assert hearing.frame(60, FRAME) == b""
        assert hearing.frame(80, FRAME) == FRAME
        hearing.finalize()
        assert hearing.heard_ms == 100

    async def test_give_a_recogniser_quiet_in_pieces_and_speech_at_once(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        await hearing.connect(language="en", vocabulary=())
        heard = []
        for at_ms in range(0, 400, 20):
            hearing.frame(at_ms, FRAME)
            heard.append(hearing.heard_ms)
        assert sorted(set(heard)) == [0, 200, 400]
        hearing.frame(400, FRAME)
        ends_ms = say(hearing, 420, "hello")
        assert isinstance(given[0], signals.SpeechStarted)
        assert hearing.heard_ms == ends_ms

    async def test_tell_times_of_the_call_though_the_stream_began_later(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        await hearing.connect(language="en", vocabulary=())
        hearing.frame(1000, spoken("hello"))
        interim = next(signal for signal in given if isinstance(signal, signals.WordsRecognised))
        assert (interim.start_ms, interim.end_ms) == (1000, 1020)
        started = next(signal for signal in given if isinstance(signal, signals.SpeechStarted))
        assert 1000 <= started.since_ms <= 1040

    async def test_jump_with_the_carriers_clock(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        await hearing.connect(language="en", vocabulary=())
        hearing.frame(0, FRAME)
        assert hearing.frame(60_000, spoken("hello")) == spoken("hello")
        interim = next(signal for signal in given if isinstance(signal, signals.WordsRecognised))
        assert interim.end_ms == 60_020

    async def test_hear_nothing_after_they_were_closed(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        await hearing.connect(language="en", vocabulary=())
        await hearing.close()
        hearing.frame(0, spoken("hello"))
        assert given == []


class TestAStreamThatBreaks:
    async def test_loses_no_word_and_repeats_none(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        async with kept(hearing):
            await until(lambda: engine.streams)
            at_ms = say(hearing, 0, "one two")
            hearing.finalize()
            await until(lambda: finals(given))
            at_ms = say(hearing, at_ms, "three")
            engine.streams[0].break_off()
            at_ms = say(hearing, at_ms, "four")
            await until(lambda: len(engine.streams) == 2)
            at_ms = say(hearing, at_ms, "five")
            hearing.finalize()
            await until(lambda: len(finals(given)) == 2)
        assert finals(given) == [("one two", 0, 240), ("three four five", 240, 600)]
        (change,) = taken(given)
        assert (change.name, change.instead_of, change.reason, change.repeated_ms) == ("text-ears", "text-ears", "broken off", 240)
        assert hearing.heard_ms == 600 + 120, "what was given twice is counted twice, as the provider counts it"

    async def test_is_asked_again_for_the_last_word_that_it_owed(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        async with kept(hearing):
            await until(lambda: engine.streams)
            say(hearing, 1000, "hello there")
            hearing.finalize()
            engine.streams[0].break_off()
            await until(lambda: finals(given))
        assert finals(given) == [("hello there", 1000, 1240)]

    async def test_is_not_listened_to_any_more(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        async with kept(hearing):
            await until(lambda: engine.streams)
            engine.streams[0].break_off()
            await until(lambda: len(engine.streams) == 2)
            engine.streams[0].break_off()
            engine.streams[0].send(spoken("ghost"))
            say(hearing, 0, "hello")
            hearing.finalize()
            await until(lambda: finals(given))
            assert engine.streams[0].closed
        assert finals(given) == [("hello", 0, 120)]
        assert len(engine.streams) == 2

    async def test_that_hangs_is_as_good_as_broken(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine, answers_within_seconds=0.05)
        async with kept(hearing):
            await until(lambda: engine.streams)
            engine.streams[0].closed = True
            say(hearing, 0, "hello")
            hearing.finalize()
            await until(lambda: finals(given))
        assert finals(given) == [("hello", 0, 120)]
        assert [change.reason for change in taken(given)] == ["no answer in time"]

    async def test_that_answers_late_but_gives_signs_of_life_is_waited_for(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine, answers_within_seconds=0.2)
        async with kept(hearing):
            await until(lambda: engine.streams)
            for _ in range(5):
                hearing.finalize()
                await until(lambda: finals(given))
                given.clear()
        assert taken(given) == []

    async def test_too_often_is_told_once(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        async with kept(hearing):
            for count in range(1, 6):
                await until(partial(reached, engine, count))
                engine.streams[-1].break_off()
            await until(lambda: any(isinstance(each, signals.EngineBroke) for each in given))
        assert [type(each) for each in given] == [signals.EngineTaken] * 4 + [signals.EngineBroke]

    async def test_keeps_no_more_of_a_silence_than_a_moment(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        async with kept(hearing):
            await until(lambda: engine.streams)
            for at_ms in range(0, 30_000, 20):
                hearing.frame(at_ms, FRAME)
            engine.streams[0].break_off()
            await until(lambda: taken(given))
        assert 500 <= taken(given)[0].repeated_ms <= 2100


class TestALadder:
    @pytest.mark.parametrize("words", ["hello", "hello there you"])
    async def test_is_climbed_down_when_the_first_cannot_be_reached_for_a_while_and_no_word_is_lost(self, words: str) -> None:
        first, second = TextEars(), TextEars()
        rungs = [Rung(name=name, engine=engine, within_seconds=1.0) for name, engine in (("first", first), ("second", second))]
        hearing, given = ears(RecogniserLadder(rungs))
        async with kept(hearing):
            await until(lambda: first.streams)
            first.unreachable = True
            say(hearing, 0, words)
            first.streams[0].break_off()
            await until(lambda: second.streams)
            hearing.finalize()
            await until(lambda: finals(given))
        assert finals(given) == [(words, 0, 120 * len(words.split()))]
        (change,) = taken(given)
        assert (change.name, change.instead_of, change.reason) == ("second", "first", "unreachable")

    async def test_whose_first_breaks_once_goes_on_with_the_first(self) -> None:
        first, second = TextEars(), TextEars()
        rungs = [Rung(name=name, engine=engine, within_seconds=1.0) for name, engine in (("first", first), ("second", second))]
        hearing, _ = ears(RecogniserLadder(rungs))
        async with kept(hearing):
            await until(lambda: first.streams)
            say(hearing, 0, "hello")
            first.streams[0].break_off()
            await until(lambda: len(first.streams) == 2)
        assert second.streams == []
