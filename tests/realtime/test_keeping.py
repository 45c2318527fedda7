"""What was sent is at hand to be sent again, byte for byte, from the beginning of a word."""

import numpy as np

from realtime.audio import encode
from realtime.hearing.echo import Echo, Thresholds
from realtime.machine import effects as do
from realtime.machine.signals import Signal, WordFound
from realtime.recording.recorder import Recorder
from realtime.speaking.keeping import Keeping
from realtime.speaking.playing import Playing


def tone(duration_ms: int, level: int = 8000) -> bytes:
    return encode((level * np.sin(np.arange(duration_ms * 8) * 0.4)).astype(np.int16))


def kept(*pieces: bytes) -> Keeping:
    keeping = Keeping()
    for piece in pieces:
        keeping.add(1, piece, at_ms=0, until_sample=0)
    return keeping


class TestWord:
    def test_begins_behind_the_silence_before_it(self) -> None:
        assert kept(tone(300), tone(60, 20), tone(200)).word_begins(1, 500 * 8) == 360 * 8

    def test_begins_behind_the_last_of_several(self) -> None:
        assert kept(tone(100), tone(50, 20), tone(100), tone(50, 20), tone(100)).word_begins(1, 390 * 8) == 300 * 8

    def test_begins_where_it_was_cut_when_that_is_silent(self) -> None:
        assert kept(tone(300), tone(100, 20)).word_begins(1, 400 * 8) == 400 * 8

    def test_is_not_looked_for_further_than_300_ms_back(self) -> None:
        assert 700 * 8 <= kept(tone(1000)).word_begins(1, 1000 * 8) <= 1000 * 8

    def test_of_which_nothing_was_kept_is_where_it_was_cut(self) -> None:
        assert Keeping().word_begins(1, 800) == 800
        assert kept(b"").word_begins(1, 0) == 0


class TestKeeping:
    def test_lets_go_what_ended_long_ago_when_something_new_comes(self) -> None:
        keeping = Keeping()
        for utterance, at_ms in ((1, 0), (2, 1000), (3, 4000)):
            keeping.add(utterance, bytes(800), at_ms=at_ms, until_sample=(at_ms + 100) * 8)
        keeping.add(4, bytes(800), at_ms=4100, until_sample=4200 * 8)
        assert [len(keeping.piece(utterance, 0, 800, until_sample=0)) for utterance in (1, 2, 3, 4)] == [0, 0, 800, 800]


class Wire:
    def __init__(self) -> None:
        self.sent: list[bytes | str] = []

    def play(self, mulaw: bytes) -> None:
        self.sent.append(mulaw)

    def clear(self) -> None:
        self.sent.append("clear")


class TestPlaying:
    def test_sends_again_what_was_cut_and_what_came_meanwhile(self) -> None:
        wire, given = Wire(), list[Signal]()
        playing = Playing(wire, Recorder(lambda _piece: None), Echo(Thresholds()), given.append, lambda: 1000)
        first, second = tone(300) + tone(100, 10) + tone(400), tone(200)
        playing.perform(do.Play(generation=1, utterance=1, samples=len(first), from_sample=0), first)
        playing.perform(do.PausePlayout(utterance=1, sample=600 * 8), b"")
        playing.perform(do.Keep(utterance=1), second)
        assert given == [WordFound(at_ms=1000, utterance=1, sample=400 * 8)]
        rest = 600 * 8
        playing.perform(do.Replay(generation=2, utterance=1, first=400 * 8, samples=rest, from_sample=8000), b"")
        assert wire.sent == [first, "clear", (first + second)[400 * 8 :]]
