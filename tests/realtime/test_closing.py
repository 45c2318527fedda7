"""How calls end: once, typed, with the last words played out and nothing half done."""

import pytest

from events.calls.control import HangUpOrdered
from events.calls.ending import EndedBy, EngineFailure, Stage
from events.calls.talking import AgentTurn, CallerTurn
from events.calls.thinking import ToolAnswered
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.briefing import Thresholds
from realtime.machine.signals import Engine
from realtime.ports import ToolUse
from tests.realtime.scene import WORDING, Scene, briefing, opened

BYE = ToolUse(tool_use_id="e1", name="end_call", arguments={})


class TestGoodbye:
    def test_ends_the_call_after_the_last_words_were_played(self) -> None:
        scene = Scene().agreed().says("that is all goodbye").wait(1)
        scene.model_answers("Have a nice day.", BYE)
        assert scene.all(do.Finish) == []
        scene.wait(500)
        assert scene.all(do.Finish) == []
        scene.hears_all()
        assert (scene.end.reason, scene.end.ended_by, scene.end.billable) == ("goodbye", EndedBy.CALLER, True)
        assert scene.all(do.CloseMedia) == [do.CloseMedia()]
        assert scene.all(do.HangUp) == [do.HangUp()]

    def test_is_the_agents_when_the_caller_did_not_say_it(self) -> None:
        scene = Scene().agreed().says("I have everything I need.").wait(1)
        scene.model_answers("Then goodbye.", BYE).hears_all()
        assert scene.end.ended_by is EndedBy.AGENT

    def test_is_said_for_a_model_that_says_nothing(self) -> None:
        scene = Scene().agreed().says("goodbye").wait(1)
        scene.model_answers("", BYE).hears_all()
        assert scene.spoken[-1] == WORDING.goodbye

    def test_is_taken_back_when_the_caller_goes_on(self) -> None:
        scene = Scene().agreed().says("goodbye").wait(1)
        scene.model_answers("Thank you for calling us today, and have a very nice day.", BYE).wait(500)
        scene.says("wait what about Saturday").wait(600)
        assert not scene.over
        scene.model_answers("We are open.").hears_all()
        assert not scene.over

    def test_ends_by_the_clock_when_no_mark_comes_back(self) -> None:
        scene = Scene().agreed().says("goodbye").wait(1)
        scene.carrier_plays = False
        scene.model_answers("Bye now.", BYE).wait(5000)
        assert scene.end.reason == "goodbye"
        assert scene.fact(AgentTurn)[-1].evidence == "estimated"


class TestHangUp:
    def test_by_the_caller_closes_nothing_that_is_closed(self) -> None:
        scene = Scene().agreed().hangs_up()
        assert (scene.end.reason, scene.end.ended_by, scene.end.stage) == ("caller-hung-up", EndedBy.CALLER, Stage.CONVERSATION)
        assert scene.all(do.CloseMedia) == []
        assert scene.all(do.StopRecorder)

    def test_in_the_middle_of_a_sentence_keeps_what_was_heard(self) -> None:
        scene = Scene().begin().wait(1000).hangs_up()
        (turn,) = scene.fact(AgentTurn)
        assert turn.interrupted
        assert opened(turn.heard)
        assert len(opened(turn.heard)) < len(opened(turn.said))
        assert scene.end.stage is Stage.GREETING

    def test_keeps_the_callers_last_words(self) -> None:
        scene = Scene().agreed().starts_speaking().wait(500)
        scene.recognised("never mind", started_ms=scene.at_ms - 500, ended_ms=scene.at_ms, is_final=False)
        scene.hangs_up()
        assert opened(scene.fact(CallerTurn)[-1].words) == "never mind"

    def test_by_an_operator_is_obeyed_at_once(self) -> None:
        scene = Scene().agreed()
        scene.tell(signals.FactRecorded, fact=HangUpOrdered(reason="abuse"), version=30)
        assert (scene.end.reason, scene.end.ended_by) == ("hung-up-by-operator", EndedBy.OPERATOR)
        assert scene.all(do.HangUp)

    def test_waits_for_a_tool_that_cannot_be_taken_back(self) -> None:
        scene = Scene().agreed().says("book it please").wait(1)
        scene.model_answers("", ToolUse(tool_use_id="b1", name="book_slot", arguments={})).wait(100)
        ended_ms = scene.at_ms
        scene.hangs_up()
        assert scene.all(do.Finish) == []
        scene.wait(500)
        scene.tell(signals.ToolReturned, tool_use_id="b1", content={"booked": True}, failed=False)
        assert scene.end.duration_ms == ended_ms
        assert [fact.failed for fact in scene.fact(ToolAnswered)] == [False]

    def test_waits_for_such_a_tool_no_longer_than_twice_its_time(self) -> None:
        scene = Scene().agreed().says("book it please").wait(1)
        scene.model_answers("", ToolUse(tool_use_id="b1", name="book_slot", arguments={})).wait(100)
        scene.hangs_up().wait(6000)
        assert scene.over
        assert [fact.failed for fact in scene.fact(ToolAnswered)] == [True]

    def test_of_a_call_that_ended_changes_nothing(self) -> None:
        scene = Scene().agreed().hangs_up()
        before = len(scene.effects)
        scene.hangs_up().wait(60_000)
        assert len(scene.effects) == before


class TestSilence:
    def test_is_asked_about_and_then_ends_the_call(self) -> None:
        scene = Scene(briefing(thresholds=Thresholds(silence_ms=5000))).agreed().wait(5100)
        assert scene.spoken[-1] == WORDING.still_there
        scene.hears_all().wait(5100)
        assert scene.spoken[-1] == WORDING.silent_goodbye
        scene.hears_all()
        assert (scene.end.reason, scene.end.ended_by) == ("silence", EndedBy.AGENT)

    def test_is_broken_by_any_word(self) -> None:
        scene = Scene(briefing(thresholds=Thresholds(silence_ms=5000))).agreed().wait(5100).hears_all()
        scene.says("yes I am here.").wait(1)
        scene.model_answers("Good.").hears_all().wait(5100)
        assert scene.spoken[-1] == WORDING.still_there


class TestLength:
    def test_has_an_end_that_is_announced(self) -> None:
        scene = Scene(briefing(thresholds=Thresholds(max_call_ms=60_000, silence_ms=100_000))).agreed()
        scene.wait(60_000 - scene.at_ms)
        assert scene.spoken[-1] == WORDING.time_is_up
        scene.says("but I am not done").hears_all()
        assert (scene.end.reason, scene.end.ended_by) == ("time-limit", EndedBy.PLATFORM)


class TestEngines:
    def test_without_ears_the_caller_is_told_and_the_call_ends(self) -> None:
        scene = Scene().agreed()
        scene.tell(signals.EngineBroke, engine=Engine.RECOGNISER, name="deepgram/nova-3", reason="1011")
        assert scene.spoken[-1] == WORDING.cannot_hear
        scene.hears_all()
        assert (scene.end.reason, scene.end.billable) == ("recogniser-failed", False)
        assert [(fact.engine, fact.reason) for fact in scene.fact(EngineFailure)] == [("deepgram/nova-3", "1011")]

    def test_without_a_voice_the_carrier_speaks_for_us(self) -> None:
        scene = Scene().agreed()
        scene.tell(signals.EngineBroke, engine=Engine.VOICE, name="deepgram/aura-2", reason="1011")
        assert scene.all(do.CloseMedia) == [do.CloseMedia(words=WORDING.cannot_go_on, language="en-US")]
        assert scene.all(do.HangUp) == []
        assert scene.end.reason == "voice-failed"

    def test_a_voice_that_gives_no_audio_in_time_has_failed(self) -> None:
        assert Scene(voice_speaks=False).begin().wait(5100).end.reason == "voice-failed"

    def test_a_model_that_fails_once_is_excused(self) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        scene.tell(signals.EngineBroke, engine=Engine.MODEL, name="bedrock", reason="throttled", asked=scene.asked)
        scene.hears_all()
        assert scene.spoken[-1] == WORDING.trouble_thinking
        assert not scene.over

    def test_a_model_that_fails_twice_in_a_row_ends_the_call(self) -> None:
        scene = Scene().agreed()
        for _ in range(2):
            scene.says("when are you open please").wait(1)
            scene.tell(signals.EngineBroke, engine=Engine.MODEL, name="bedrock", reason="throttled", asked=scene.asked)
            scene.hears_all()
        assert scene.spoken[-1] == WORDING.cannot_go_on
        assert (scene.end.reason, scene.end.billable) == ("model-failed", False)

    def test_a_model_without_a_word_in_time_has_failed(self) -> None:
        scene = Scene().agreed().says("when are you open please").wait(2600)
        assert scene.spoken[-1] == WORDING.thinking
        scene.wait(6000)
        assert [effect.asked for effect in scene.all(do.CancelModel)] == [scene.asked]
        assert WORDING.trouble_thinking in scene.spoken

    @pytest.mark.parametrize("late", [signals.ModelSaid, signals.EngineBroke])
    def test_of_a_question_that_nobody_waits_for_change_nothing(self, late: type) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        asked = scene.asked
        scene.model_answers("At nine.").hears_all()
        before = len(scene.effects)
        if late is signals.ModelSaid:
            scene.tell(late, asked=asked, text="And at ten. ")
        else:
            scene.tell(late, engine=Engine.MODEL, name="bedrock", reason="late", asked=asked)
        assert len(scene.effects) == before


class TestSecondStream:
    def test_of_a_call_that_has_one_is_let_go_and_the_call_is_left_as_it_is(self) -> None:
        scene = Scene(log_answers=False).begin()
        scene.tell(signals.CommandDeclined, request=1, code="call-already-answered")
        assert scene.all(do.Abandon)
        assert scene.all(do.Finish) == []
        assert scene.all(do.HangUp) == []
