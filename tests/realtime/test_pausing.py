"""A sound over the agent silences it; what was no interruption costs the caller not a word of it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.consents import GrantConsent
from events.calls.talking import AgentInterrupted, AgentTurn, CallerTurn, Dismissal, Evidence, InterruptionDismissed
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.briefing import Wording
from realtime.ports import ToolUse
from realtime.turns.back_channels import is_back_channel, question_put
from tests.realtime.scene import Scene, opened
from tests.realtime.test_barge_in import LONG, SENTENCES, talking, turns

LISTED = Wording(disclosure="", greeting="").back_channels
BOOK = ToolUse(tool_use_id="b1", name="book_slot", arguments={})


def dismissed(scene: Scene) -> InterruptionDismissed:
    (fact,) = scene.fact(InterruptionDismissed)
    return fact


def repeats(scene: Scene, utterance: int) -> list[int]:
    """How much of an utterance came twice to the caller's ear, at each seam, in ms. Fails when something was skipped."""
    pieces = [sound for sound in scene.sounds if sound.utterance == utterance]
    seams = []
    for one, two in pairwise(pieces):
        assert two.first <= one.first + one.samples, "something was skipped"
        seams.append((one.first + one.samples - two.first) // 8)
    return seams


class TestCough:
    def test_is_followed_by_the_rest_and_nothing_is_skipped(self) -> None:
        scene = talking().starts_speaking().wait(200)
        scene.falls_silent("").hears_all()
        turn = turns(scene)[-1]
        assert (opened(turn.heard), turn.interrupted, turn.evidence) == (LONG, False, Evidence.PLAYED)
        assert scene.fact(AgentInterrupted) == []
        (repeated,) = repeats(scene, scene.sounds[-3].utterance)
        assert 0 < repeated <= 400

    def test_is_a_fact_of_its_own(self) -> None:
        scene = talking()
        began = scene.at_ms
        scene.starts_speaking().wait(200)
        scene.falls_silent("").hears_all()
        fact = dismissed(scene)
        assert (fact.turn, fact.why, fact.words) == (2, Dismissal.NO_WORDS, None)
        assert (fact.speech_started_ms, fact.cleared_ms, fact.resumed_ms) == (began, began + 150, began + 64 + 200 + 400)
        assert fact.repeated_ms <= 400

    def test_without_a_last_word_of_the_recogniser_is_over_in_time(self) -> None:
        scene = talking().starts_speaking().wait(200)
        scene.tell(signals.SpeechStopped, ended_ms=scene.at_ms - 100)
        scene.wait(499)
        assert scene.all(do.Replay) == []
        scene.wait(1)
        assert scene.all(do.Replay) != []

    def test_after_which_words_come_late_was_an_interruption_after_all(self) -> None:
        scene = talking().starts_speaking().wait(200)
        scene.tell(signals.SpeechStopped, ended_ms=scene.at_ms - 100)
        scene.wait(700)
        scene.recognised("on Sunday please", started_ms=scene.at_ms - 1000, ended_ms=scene.at_ms - 700)
        assert turns(scene)[-1].interrupted
        assert scene.request.messages[-1].text == "on Sunday please"

    def test_sends_nothing_while_it_lasts_and_keeps_what_the_voice_brings(self) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        scene.tell(signals.ModelSaid, asked=scene.asked, text=f"{SENTENCES[0]} ")
        scene.wait(1900).starts_speaking().wait(70)
        scene.tell(signals.ModelSaid, asked=scene.asked, text=f"{SENTENCES[1]} ")
        played = len(scene.all(do.Play))
        scene.wait(130)
        scene.tell(signals.ModelSaid, asked=scene.asked, text=f"{SENTENCES[2]} ")
        assert len(scene.all(do.Keep)) == 1
        assert SENTENCES[2] not in scene.spoken
        scene.falls_silent("")
        assert (len(scene.all(do.Play)), len(scene.all(do.Replay))) == (played, 2)
        scene.model_answers("").hears_all()
        assert opened(turns(scene)[-1].heard) == LONG

    def test_by_the_word_that_the_sound_shows_begins_again_there(self) -> None:
        scene = talking().starts_speaking().wait(100)
        (pause,) = scene.all(do.PausePlayout)
        scene.tell(signals.WordFound, utterance=pause.utterance, sample=pause.sample - 1000)
        scene.falls_silent("")
        assert scene.all(do.Replay)[0].first == pause.sample - 1000

    @pytest.mark.parametrize("sample", [-1, 0, 10**9])
    def test_goes_nowhere_that_is_out_of_reach(self, sample: int) -> None:
        scene = talking().starts_speaking().wait(100)
        (pause,) = scene.all(do.PausePlayout)
        scene.tell(signals.WordFound, utterance=pause.utterance, sample=sample)
        scene.falls_silent("")
        assert pause.sample - 300 * 8 <= scene.all(do.Replay)[0].first <= pause.sample

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 2500), st.integers(100, 600), st.integers(0, 5000)), min_size=1, max_size=5))
    def test_as_often_as_it_comes_costs_no_word_and_repeats_little(self, coughs: list[tuple[int, int, int]]) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        scene.model_answers(LONG).wait(100)
        for wait_ms, lasting_ms, found in coughs:
            scene.wait(wait_ms).starts_speaking().wait(lasting_ms)
            if pauses := scene.all(do.PausePlayout):
                scene.tell(signals.WordFound, utterance=pauses[-1].utterance, sample=pauses[-1].sample - found)
            scene.falls_silent("")
        scene.hears_all()
        turn = turns(scene)[-1] if opened(turns(scene)[-1].said) == LONG else turns(scene)[-2]
        assert (opened(turn.heard), turn.interrupted) == (LONG, False)
        for utterance in {sound.utterance for sound in scene.sounds}:
            assert all(0 <= repeated <= 400 for repeated in repeats(scene, utterance))
        ears = [sound for sound in scene.sounds if sound.samples > 0]
        assert all(one.from_sample + one.samples <= two.from_sample for one, two in pairwise(ears))


class TestBackChannel:
    @pytest.mark.parametrize("words", ["mm-hm", "Yeah.", "okay, right", "Uh-huh.", "all right", "oh I see"])
    def test_ends_no_turn_and_is_none(self, words: str) -> None:
        scene = talking().starts_speaking().wait(300)
        before = len(scene.fact(CallerTurn))
        scene.falls_silent(words).wait(1000).hears_all()
        assert opened(turns(scene)[-1].heard) == LONG
        assert len(scene.fact(CallerTurn)) == before
        fact = dismissed(scene)
        assert fact.words is not None
        assert (fact.why, opened(fact.words)) == (Dismissal.BACK_CHANNEL, words)

    def test_that_was_too_short_to_silence_anybody_is_noted_all_the_same(self) -> None:
        scene = talking().starts_speaking().wait(60)
        scene.tell(signals.SpeechStopped, ended_ms=scene.at_ms - 50)
        scene.recognised("yeah", started_ms=scene.at_ms - 150, ended_ms=scene.at_ms - 50).hears_all()
        assert scene.all(do.PausePlayout) == []
        assert dismissed(scene).cleared_ms is None
        assert opened(turns(scene)[-1].heard) == LONG

    def test_that_goes_on_to_something_else_is_an_interruption(self) -> None:
        scene = talking().starts_speaking().wait(300)
        scene.recognised("yeah", started_ms=scene.at_ms - 300, ended_ms=scene.at_ms, from_finalize=False, is_final=False)
        assert not turns(scene)[-1].interrupted
        scene.recognised("yeah but on Sunday", started_ms=scene.at_ms - 300, ended_ms=scene.at_ms, from_finalize=False, is_final=False)
        assert turns(scene)[-1].interrupted

    def test_is_noted_once_though_the_interims_said_it_before_the_final(self) -> None:
        scene = talking().starts_speaking().wait(300)
        scene.recognised("yeah", started_ms=scene.at_ms - 300, ended_ms=scene.at_ms, from_finalize=False, is_final=False)
        scene.tell(signals.SpeechStopped, ended_ms=scene.at_ms - 100)
        scene.wait(600)
        assert scene.all(do.Replay) != []
        scene.recognised("Yeah.", started_ms=scene.at_ms - 900, ended_ms=scene.at_ms - 600).hears_all()
        assert dismissed(scene).why is Dismissal.BACK_CHANNEL
        assert opened(turns(scene)[-1].heard) == LONG

    def test_is_the_list_of_the_agents_version(self) -> None:
        assert not is_back_channel("claro", LISTED)
        assert is_back_channel("Claro.", "sí, claro")
        assert not is_back_channel("", LISTED)
        assert not is_back_channel("yeah yeah yeah yeah yeah yeah", LISTED)

    def test_after_a_question_is_its_answer(self) -> None:
        scene = Scene().agreed().says("a check up please").wait(1)
        question = "I have Friday at nine. Shall I book that for you? It takes half an hour."
        scene.model_answers(question).wait(40 + (question.index("?") - 3) * 500 // 8 - 150)
        scene.starts_speaking().wait(300)
        scene.falls_silent("yes")
        assert turns(scene)[-1].interrupted
        assert scene.request.messages[-1].text == "yes"

    def test_long_before_the_end_of_a_question_is_none(self) -> None:
        scene = Scene().agreed().says("a check up please").wait(1)
        scene.model_answers("I have Friday at nine in the morning. Shall I book that for you?").wait(1000)
        scene.starts_speaking().wait(300)
        scene.falls_silent("yes").hears_all()
        assert opened(turns(scene)[-1].heard).endswith("for you?")

    def test_is_told_from_an_answer_by_how_near_the_question_is(self) -> None:
        assert question_put(["Is it you?", "Fine."], ["Is it you?", ""])
        assert question_put(["Would that suit you well?"], ["Would that suit"])
        assert not question_put(["Would that suit you and your family well?"], ["Would that suit"])
        assert not question_put(["Is it you?", "x" * 60], ["Is it you?", "x" * 50])
        assert not question_put(["Is it you?"], [""])

    def test_before_a_sound_of_the_reply_belongs_to_what_the_caller_said(self) -> None:
        scene = Scene().agreed().says("um").wait(700)
        asked = len(scene.all(do.AskModel))
        assert asked == 1
        scene.starts_speaking().wait(300)
        scene.falls_silent("yes")
        assert scene.request.messages[-1].text == "um\nyes"


class TestAnswerToTheRecordingQuestion:
    def test_counts_when_nearly_all_of_it_was_heard(self) -> None:
        scene = Scene().begin()
        question = scene.spoken[-1]
        before = sum(len(text) for text in scene.spoken[:-1])
        scene.wait(40 + (before + int(len(question) * 0.85)) * 500 // 8 - 150)
        scene.starts_speaking().wait(300)
        scene.falls_silent("yes").wait(10)
        assert scene.fact(GrantConsent) != []

    def test_does_not_when_it_was_said_to_the_greeting_and_the_question_is_asked_to_its_end(self) -> None:
        scene = Scene().begin().wait(2000)
        scene.starts_speaking().wait(300)
        scene.falls_silent("yes").hears_all()
        assert scene.fact(GrantConsent) == []
        assert scene.state.permission.heard_share == 1.0
        scene.says("yes").wait(10)
        assert scene.fact(GrantConsent) != []


class TestTool:
    def test_that_the_model_wants_in_a_pause_is_not_run_when_the_caller_means_it(self) -> None:
        scene = Scene().agreed().says("book friday please").wait(1)
        scene.tell(signals.ModelSaid, asked=scene.asked, text="I will book that for you now. Just a moment please. ")
        scene.wait(800).starts_speaking().wait(200)
        scene.model_answers("", BOOK)
        scene.falls_silent("no wait not friday").wait(1000)
        assert scene.all(do.RunTool) == []
        assert scene.request.messages[-1].text == "no wait not friday"

    def test_is_run_when_it_was_a_cough(self) -> None:
        scene = Scene().agreed().says("book friday please").wait(1)
        scene.tell(signals.ModelSaid, asked=scene.asked, text="I will book that for you now. Just a moment please. ")
        scene.wait(800).starts_speaking().wait(200)
        scene.model_answers("", BOOK)
        scene.falls_silent("").wait(100)
        assert [effect.use for effect in scene.all(do.RunTool)] == [BOOK]

    def test_costs_what_the_provider_said_though_it_was_said_in_a_pause(self) -> None:
        scene = Scene().agreed().says("book friday please").wait(1)
        scene.tell(signals.ModelSaid, asked=scene.asked, text="I will book that for you now. Just a moment please. ")
        scene.wait(800).starts_speaking().wait(200)
        scene.model_answers("Done.")
        scene.falls_silent("no wait not friday").wait(600)
        spent = turns(scene)[-1].spent
        assert (spent.input_tokens, spent.output_tokens, spent.estimated) == (100, 20, False)
        assert scene.all(do.CancelModel) == []


class TestDisclosure:
    def test_that_was_paused_is_heard_whole_in_the_end(self) -> None:
        scene = Scene().begin().wait(1000)
        scene.starts_speaking().wait(200)
        scene.falls_silent("").hears_all()
        assert scene.state.disclosure.heard
        assert [turn.interrupted for turn in scene.fact(AgentTurn)] == [False]
