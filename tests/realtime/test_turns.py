"""When a turn is over."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from realtime.hearing.marks import TurnMark
from realtime.machine.briefing import Thresholds
from realtime.machine.effects import FinalizeHearing, SetTimer
from realtime.machine.signals import SpeechStarted, SpeechStopped, Timer, TimerFired, WordsRecognised
from realtime.turns.phrases import looks_complete, trails_off, without_repetition
from realtime.turns.turn_taking import Floor, FloorSignal, GoesOn, LikelyOver, NotUnderstood, SpokeOver, TurnOver, step

USUAL = Thresholds()


def words(
    text: str, *, at_ms: int, is_final: bool = True, from_finalize: bool = True, start_ms: int = 0, end_ms: int | None = None
) -> WordsRecognised:
    return WordsRecognised(
        at_ms=at_ms, text=text, is_final=is_final, from_finalize=from_finalize, start_ms=start_ms,
        end_ms=at_ms if end_ms is None else end_ms, confidence=0.8,
    )  # fmt: skip


def after(*happened: FloorSignal, agent_talks: bool = False) -> tuple[Floor, list[object]]:
    """The floor, and what the last signal led to."""
    floor = Floor()
    outcome: Sequence[object] = ()
    for signal in happened:
        floor, outcome = step(floor, signal, USUAL, agent_talks=agent_talks)
    return floor, list(outcome)


STARTED = SpeechStarted(at_ms=1064, since_ms=1000)
STOPPED = SpeechStopped(at_ms=2300, ended_ms=2000)


class TestEndOfTurn:
    def test_asks_the_recogniser_at_once_when_the_voice_stops(self) -> None:
        _, outcome = after(STARTED, STOPPED)
        assert FinalizeHearing() in outcome
        assert SetTimer(timer=Timer.FINAL, at_ms=3800) in outcome

    def test_is_decided_at_once_on_a_final_that_looks_complete(self) -> None:
        _, outcome = after(STARTED, STOPPED, words("When are you open?", at_ms=2400))
        assert outcome[-1] == TurnOver(words="When are you open?", started_ms=1000, ended_ms=2000, recognised_ms=2400, confidence=0.8)

    def test_waits_for_more_after_a_final_that_does_not(self) -> None:
        floor, outcome = after(STARTED, STOPPED, words("I would like to", at_ms=2400))
        assert SetTimer(timer=Timer.PATIENCE, at_ms=2000 + USUAL.open_end_ms) in outcome
        _, decided = step(floor, TimerFired(at_ms=3600, timer=Timer.PATIENCE), USUAL, agent_talks=False)
        assert isinstance(decided[-1], TurnOver)

    def test_waits_less_after_a_whole_statement_and_says_that_it_is_likely_over(self) -> None:
        _, outcome = after(STARTED, STOPPED, words("I want to book a table.", at_ms=2400))
        assert SetTimer(timer=Timer.PATIENCE, at_ms=2000 + USUAL.patience_ms) in outcome
        assert outcome[-1] == LikelyOver(words="I want to book a table.")

    def test_counts_the_silence_and_not_how_long_the_recogniser_took(self) -> None:
        _, outcome = after(STARTED, STOPPED, words("I want to book a table.", at_ms=3300))
        assert isinstance(outcome[-1], TurnOver)

    def test_joins_what_comes_within_the_patience(self) -> None:
        _, outcome = after(
            STARTED, STOPPED, words("I would like to", at_ms=2400), SpeechStarted(at_ms=2600, since_ms=2540),
            SpeechStopped(at_ms=3500, ended_ms=3200), words("book a table please.", at_ms=3600, start_ms=2400),
        )  # fmt: skip
        assert isinstance(outcome[-1], TurnOver)
        assert (outcome[-1].words, outcome[-1].started_ms, outcome[-1].ended_ms) == ("I would like to book a table please.", 1000, 3200)

    def test_joins_the_finals_of_one_breath(self) -> None:
        early = words("I would like", at_ms=1800, from_finalize=False, end_ms=1700)
        _, outcome = after(STARTED, early, STOPPED, words("a table please", at_ms=2400, start_ms=1700))
        assert isinstance(outcome[-1], TurnOver)
        assert outcome[-1].words == "I would like a table please"

    def test_believes_a_final_that_reaches_the_end_of_speech_though_it_does_not_say_that_it_answers_us(self) -> None:
        _, outcome = after(STARTED, STOPPED, words("When are you open?", at_ms=2400, from_finalize=False, end_ms=2000))
        assert isinstance(outcome[-1], TurnOver)

    def test_knows_the_words_since_they_came_and_not_since_a_final_without_any(self) -> None:
        own, answer = words("When are you open", at_ms=2350, from_finalize=False, end_ms=1900), words("", at_ms=2400)
        _, outcome = after(STARTED, STOPPED, own, answer)
        assert isinstance(outcome[-1], TurnOver)
        assert outcome[-1].recognised_ms == 2350

    def test_does_not_believe_one_that_ends_before(self) -> None:
        floor, outcome = after(STARTED, STOPPED, words("When are you open?", at_ms=2310, from_finalize=False, end_ms=1500))
        assert outcome == []
        assert floor.awaiting_final

    def test_takes_the_interims_when_no_final_comes(self) -> None:
        interim = words("when are you", at_ms=1900, is_final=False, from_finalize=False)
        _, outcome = after(STARTED, interim, STOPPED, TimerFired(at_ms=3800, timer=Timer.FINAL))
        assert isinstance(outcome[-1], TurnOver)
        assert outcome[-1].words == "when are you"

    def test_takes_a_late_final_for_no_second_turn(self) -> None:
        interim = words("when are you", at_ms=1900, is_final=False, from_finalize=False)
        floor, outcome = after(
            STARTED, interim, STOPPED, TimerFired(at_ms=3800, timer=Timer.FINAL), words("When are you", at_ms=3900, start_ms=900)
        )
        assert outcome == []
        assert not floor.open

    def test_takes_from_a_late_final_what_is_new(self) -> None:
        interim = words("when are you", at_ms=1900, is_final=False, from_finalize=False)
        _, outcome = after(
            STARTED, interim, STOPPED, TimerFired(at_ms=3800, timer=Timer.FINAL), words("When are you open?", at_ms=3900, start_ms=900)
        )
        assert isinstance(outcome[-1], TurnOver)
        assert outcome[-1].words == "open?"

    def test_asks_again_when_a_voice_had_no_words(self) -> None:
        _, outcome = after(STARTED, STOPPED, words("", at_ms=2400))
        assert outcome[-1] == NotUnderstood(started_ms=1000, ended_ms=2000)

    def test_comes_from_words_alone_when_the_detector_slept(self) -> None:
        _, outcome = after(words("When are you open?", at_ms=2400, start_ms=1000, end_ms=2200, from_finalize=False))
        assert outcome[-1] == TurnOver(words="When are you open?", started_ms=1000, ended_ms=2200, recognised_ms=2400, confidence=0.8)

    def test_is_not_decided_while_the_caller_speaks(self) -> None:
        _, outcome = after(STARTED, words("When are you open?", at_ms=1900, from_finalize=False))
        assert outcome == []


INTERIM = words("when are you open", at_ms=1900, is_final=False, from_finalize=False)


class TestLikelyOver:
    """What thinking ahead lives on: it is told early, and taken back when it was wrong."""

    def test_is_told_with_the_stop_when_the_interims_look_complete(self) -> None:
        _, outcome = after(STARTED, INTERIM, STOPPED)
        assert outcome[-1] == LikelyOver(words="when are you open")

    def test_is_not_told_of_what_trails_off(self) -> None:
        _, outcome = after(STARTED, words("I would like to", at_ms=1900, is_final=False, from_finalize=False), STOPPED)
        assert LikelyOver(words="I would like to") not in outcome
        _, outcome = after(STARTED, STOPPED, words("I would like to", at_ms=2400))
        assert not [one for one in outcome if isinstance(one, LikelyOver)]

    def test_holds_when_the_final_only_adds_punctuation(self) -> None:
        _, outcome = after(STARTED, INTERIM, STOPPED, words("When are you open?", at_ms=2400))
        assert GoesOn() not in outcome
        assert isinstance(outcome[-1], TurnOver)

    def test_is_taken_back_by_other_words(self) -> None:
        _, outcome = after(STARTED, INTERIM, STOPPED, words("When are you open tomorrow?", at_ms=2400))
        assert outcome[-2] == GoesOn()
        assert isinstance(outcome[-1], TurnOver)

    def test_is_taken_back_by_speech(self) -> None:
        _, outcome = after(STARTED, INTERIM, STOPPED, SpeechStarted(at_ms=2390, since_ms=2330))
        assert GoesOn() in outcome

    def test_is_taken_back_when_nothing_was_said_after_all(self) -> None:
        floor, outcome = after(STARTED, INTERIM, STOPPED, words("", at_ms=2400))
        assert outcome[-2:] == [GoesOn(), NotUnderstood(started_ms=1000, ended_ms=2000)]
        assert floor.likely == ""


def marked(text: str, turn: TurnMark, *, at_ms: int, end_ms: int = 1900) -> WordsRecognised:
    """Of a recogniser that follows turns."""
    final = turn is TurnMark.OVER
    return replace(words(text, at_ms=at_ms, is_final=final, from_finalize=False, start_ms=1000, end_ms=end_ms), turn=turn)


GOING = marked("are you open", TurnMark.GOING, at_ms=1700)


class TestARecogniserThatFollowsTurns:
    def test_is_asked_for_no_final(self) -> None:
        _, outcome = after(STARTED, GOING, STOPPED)
        assert FinalizeHearing() not in outcome
        assert SetTimer(timer=Timer.FINAL, at_ms=2300 + USUAL.turn_within_ms) in outcome

    def test_says_when_the_turn_is_likely_over_and_that_it_goes_on(self) -> None:
        likely = marked("are you open", TurnMark.LIKELY_OVER, at_ms=2400)
        _, outcome = after(STARTED, GOING, STOPPED, likely)
        assert outcome == [LikelyOver(words="are you open")]
        _, outcome = after(STARTED, GOING, STOPPED, likely, marked("are you open on", TurnMark.GOES_ON, at_ms=2600))
        assert outcome == [GoesOn()]

    def test_ends_the_turn_whatever_the_words_look_like(self) -> None:
        _, outcome = after(STARTED, GOING, STOPPED, marked("I would like to", TurnMark.OVER, at_ms=2500, end_ms=2000))
        assert outcome[-1] == TurnOver(words="I would like to", started_ms=1000, ended_ms=2000, recognised_ms=2500, confidence=0.8)

    def test_ends_it_also_when_the_detector_has_not_heard_the_end(self) -> None:
        floor, outcome = after(STARTED, GOING, marked("are you open", TurnMark.OVER, at_ms=2500))
        assert isinstance(outcome[-1], TurnOver)
        assert outcome[-1].ended_ms == 1900
        assert not floor.open

    def test_is_asked_to_come_to_an_end_when_it_never_does(self) -> None:
        overdue = TimerFired(at_ms=6300, timer=Timer.FINAL)
        floor, outcome = after(STARTED, GOING, STOPPED, overdue)
        assert outcome == [FinalizeHearing(), SetTimer(timer=Timer.FINAL, at_ms=6300 + USUAL.final_within_ms)]
        _, decided = step(floor, TimerFired(at_ms=7800, timer=Timer.FINAL), USUAL, agent_talks=False)
        assert isinstance(decided[-1], TurnOver)
        assert decided[-1].words == "are you open"

    def test_may_be_followed_by_one_that_does_not(self) -> None:
        over = marked("are you open", TurnMark.OVER, at_ms=2500)
        again = SpeechStarted(at_ms=9064, since_ms=9000), SpeechStopped(at_ms=9900, ended_ms=9800)
        _, outcome = after(STARTED, GOING, STOPPED, over, *again)
        assert FinalizeHearing() in outcome


class TestSpeakingOver:
    def test_waits_for_as_long_as_a_word_takes(self) -> None:
        _, outcome = after(STARTED, agent_talks=True)
        assert outcome[-1] == SetTimer(timer=Timer.BARGE_IN, at_ms=1150)
        _, outcome = after(STARTED, TimerFired(at_ms=1150, timer=Timer.BARGE_IN), agent_talks=True)
        assert outcome == [SpokeOver(since_ms=1000)]

    def test_is_decided_at_once_when_it_was_noticed_late(self) -> None:
        _, outcome = after(SpeechStarted(at_ms=1300, since_ms=1000), agent_talks=True)
        assert outcome[-1] == SpokeOver(since_ms=1000)

    def test_counts_from_the_first_sound_when_a_stop_was_within_a_word(self) -> None:
        _, outcome = after(
            STARTED, SpeechStopped(at_ms=1190, ended_ms=1100), SpeechStarted(at_ms=1230, since_ms=1170), agent_talks=True
        )  # fmt: skip
        assert outcome[-1] == SpokeOver(since_ms=1000)

    def test_is_no_matter_when_the_agent_is_silent(self) -> None:
        _, outcome = after(STARTED)
        assert not [one for one in outcome if isinstance(one, SetTimer | SpokeOver)]


class TestLooksComplete:
    @pytest.mark.parametrize(
        "text",
        [
            "When are you open?", "Yes.", "yes", "no thanks", "goodbye", "what are your opening hours", "I would like a table please",
            "how long does it take", "so when are you open", "When are you open, five three one?",
            "that is correct", "my number is 0 1 7 1 5 5 5 1 2 3",
        ],
    )  # fmt: skip
    def test_of_what_a_person_would_answer_at_once(self, text: str) -> None:
        assert looks_complete(text)

    @pytest.mark.parametrize(
        "text", ["", "I would like to", "my number is 0 1 7", "and", "I want to book a table", "well...", "I would like to come on Monday."]
    )
    def test_not_of_what_may_go_on(self, text: str) -> None:
        assert not looks_complete(text)


class TestTrailsOff:
    @pytest.mark.parametrize(
        "text",
        [
            "I would like to", "my number is 0 1 7", "my number is five five", "and", "well...", "Can you tell me?", "I want to book",
            "what are your", "if it rains", "I think", "it does not", "yes but", "I would like",
        ],
    )  # fmt: skip
    def test_where_no_sentence_ends(self, text: str) -> None:
        assert trails_off(text)

    @pytest.mark.parametrize(
        "text", ["", "yes please", "I want to book a table", "how long does it take", "at half past two", "a table for two", "thank you"]
    )
    def test_not_where_one_could(self, text: str) -> None:
        assert not trails_off(text)


class TestWithoutRepetition:
    @pytest.mark.parametrize(
        ("text", "known", "rest"),
        [
            ("When are you open", "when are you", "open"),
            ("open today", "are you open", "today"),
            ("yes", "no", "yes"),
            ("a b", "a b", ""),
            ("a b", "", "a b"),
        ],
    )
    def test_leaves_what_is_new(self, text: str, known: str, rest: str) -> None:
        assert without_repetition(text, known) == rest
