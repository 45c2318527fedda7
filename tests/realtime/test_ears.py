"""What reaches recogniser and detector: call time without gaps, also while the recogniser is still being reached."""

import asyncio

from realtime.audio import FRAME_BYTES
from realtime.hearing import vad
from realtime.hearing.ears import Ears
from realtime.machine import signals
from tests.realtime.world import LevelActivity, TextEars, spoken

FRAME = b"\xff" * FRAME_BYTES


def ears(engine: TextEars) -> tuple[Ears, list[signals.Signal]]:
    given: list[signals.Signal] = []
    return Ears(engine, LevelActivity(), vad.Thresholds(), given.append, lambda: 5000), given


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
        assert hearing.heard_ms == 100

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

    async def test_say_once_that_they_are_broken(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        await hearing.connect(language="en", vocabulary=())
        engine.streams[0].break_off()
        engine.streams[0].break_off()
        assert [type(signal) for signal in given] == [signals.EngineBroke]

    async def test_hear_nothing_after_they_were_closed(self) -> None:
        engine = TextEars()
        hearing, given = ears(engine)
        await hearing.connect(language="en", vocabulary=())
        await hearing.close()
        hearing.frame(0, spoken("hello"))
        assert given == []
