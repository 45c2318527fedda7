"""A few spoken turns with pauses, noise and echo, by the very detector: nobody is cut off, and nobody is kept waiting."""

import asyncio
import random

import pytest

from realtime.machine.briefing import Thresholds
from tests.benchmarks.speech.listening import Listener
from tests.benchmarks.speech.sentences import line
from tests.benchmarks.speech.sounds import LINES
from tests.benchmarks.turns import USUAL, Heard, Rule, Score, calls_of, naive, score

SENTENCES = tuple(
    line(marked)
    for marked in (
        "I would like to | book a table for four people please",
        "what are your | opening hours on Saturday",
        "could you tell me | if you have anything free tomorrow",
        "no I meant the | other one in the evening",
        "when are you open",
        "yes please",
    )
)


@pytest.fixture(scope="module")
def heard() -> Heard:
    """A caller of each kind on every kind of line."""
    return asyncio.run(calls_of(SENTENCES, 2 * len(LINES), seed=3))


def by(rule: Rule, heard: Heard) -> Score:
    return score(rule, heard, seed=1)


class TestTurnsByEar:
    def test_are_not_cut_off_in_the_midst_of_a_thought(self, heard: Heard) -> None:
        found = by(USUAL, heard)
        assert sum(found.pauses.values()) >= 12
        assert sum(found.decided.values()) == 0

    def test_would_be_by_a_stop_that_does_not_mind_the_words(self, heard: Heard) -> None:
        found = by(naive(USUAL.thresholds.speech_stop_ms), heard)
        assert sum(found.decided.values()) >= 0.9 * sum(found.pauses.values())

    def test_are_answered_every_one_within_a_breath_of_the_providers(self, heard: Heard) -> None:
        found = by(USUAL, heard.of(lambda call: not call.hesitant))
        assert found.missed == 0
        assert found.added(50) <= 150

    def test_are_answered_later_when_the_detector_is_asked_to_wait(self, heard: Heard) -> None:
        later = by(Rule(name="a long stop", thresholds=Thresholds(speech_stop_ms=500)), heard.of(lambda call: not call.hesitant))
        assert later.added(50) > 300

    def test_are_each_one_turn(self, heard: Heard) -> None:
        for call, windows in zip(heard.calls, heard.windows, strict=True):
            listener = Listener(call=call, thresholds=USUAL.thresholds, hearing=USUAL.hearing, draws=random.Random(1))
            listener.run(windows)
            said = [" ".join(piece.text for piece in pieces) for pieces in call.turns]
            assert [one.words.replace(".", "").replace("?", "").lower() for one in listener.taken] == [text.lower() for text in said]
