"""Nothing is recorded before a yes is on the log; nothing after a no."""

import pytest

from commands.calls.orders import StartRecording
from commands.consents import GrantConsent, RevokeConsent
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.talking import CallerTurn
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import ToolUse
from realtime.thinking.tooling import END_CALL
from tests.realtime.scene import WORDING, Scene, briefing


def recording(scene: Scene) -> bool:
    return len(scene.all(do.StartRecorder)) > len(scene.all(do.StopRecorder))


class TestPermission:
    def test_is_asked_after_the_greeting(self) -> None:
        assert Scene().begin().spoken == [WORDING.disclosure, WORDING.greeting, WORDING.permission_question]

    def test_is_not_asked_where_the_business_wants_no_recordings(self) -> None:
        assert WORDING.permission_question not in Scene(briefing(ask_to_record=False)).greeted().spoken

    def test_starts_the_recorder_only_after_consent_and_start_are_on_the_log(self) -> None:
        scene = Scene().greeted().says("yes please")
        (grant,) = [effect for effect in scene.all(do.Commit) if isinstance(effect.command, GrantConsent)]
        assert not recording(scene)
        scene.wait(2)
        (start,) = [effect for effect in scene.all(do.Commit) if isinstance(effect.command, StartRecording)]
        assert scene.effects.index(grant) < scene.effects.index(start)
        assert not recording(scene)
        scene.wait(2)
        assert recording(scene)

    def test_names_the_version_of_the_consent_and_the_words_that_prove_it(self) -> None:
        scene = Scene().greeted().says("yes please").wait(10)
        grant, start = (effect.command for effect in scene.all(do.Commit)[1:])
        (turn,) = scene.fact(CallerTurn)
        assert isinstance(grant, GrantConsent)
        assert grant.evidence == f"call call_1, turn 1, {turn.started_ms}-{turn.ended_ms} ms"
        assert isinstance(start, StartRecording)
        assert start.consent_version == 3

    @pytest.mark.parametrize("words", ["no thank you", "I would rather you didn't", "please do not record this", "no"])
    def test_is_not_taken_from_a_no(self, words: str) -> None:
        scene = Scene().greeted().says(words).wait(600)
        assert not [effect for effect in scene.all(do.Commit) if isinstance(effect.command, GrantConsent)]
        assert WORDING.permission_refused in scene.spoken
        assert not recording(scene.hears_all())

    def test_is_asked_once_more_after_an_unclear_answer_and_then_no_more(self) -> None:
        scene = Scene().greeted().says("well maybe").wait(1000).hears_all()
        assert scene.spoken[-1] == WORDING.permission_again
        scene.says("hm who knows").wait(1000)
        scene.model_answers("How can I help?").hears_all()
        assert not recording(scene)
        assert scene.spoken.count(WORDING.permission_again) == 1

    def test_answers_the_request_that_came_with_the_yes(self) -> None:
        scene = Scene().greeted().says("yes and what are your opening hours").wait(600)
        scene.model_answers("Nine to five.").hears_all()
        assert scene.spoken[-2:] == [WORDING.permission_thanks, "Nine to five."]
        assert recording(scene)

    def test_is_asked_again_when_a_request_came_instead_of_an_answer(self) -> None:
        scene = Scene().greeted().says("what are your opening hours please").wait(600)
        scene.model_answers("Nine to five.").hears_all()
        assert scene.spoken[-2:] == ["Nine to five.", WORDING.permission_again]

    def test_is_not_asked_again_of_a_caller_who_takes_their_leave(self) -> None:
        scene = Scene().greeted().says("goodbye").wait(600)
        scene.model_answers("Goodbye.", ToolUse(tool_use_id="e", name=END_CALL.name, arguments={})).wait(3000)
        assert scene.spoken[-1] == "Goodbye."
        assert scene.over

    def test_is_not_taken_from_a_yes_to_a_question_that_was_not_heard(self) -> None:
        scene = Scene().begin().wait(3000)
        scene.says("yes hello").wait(600)
        assert not [effect for effect in scene.all(do.Commit) if isinstance(effect.command, GrantConsent)]

    def test_is_declined_in_a_sentence_while_the_log_is_away(self) -> None:
        scene = Scene().greeted().log_goes_away().says("yes please").wait(2100)
        assert scene.spoken[-2:] == [WORDING.recording_impossible, WORDING.how_can_i_help]
        assert not recording(scene.hears_all())

    def test_that_comes_true_after_it_was_declined_is_stopped_at_once(self) -> None:
        scene = Scene().greeted().log_goes_away().says("yes please").wait(2100)
        scene.tell(signals.FactRecorded, fact=RecordingStarted(caller_ref="ref", consent_version=1, at_ms=0), version=9)
        assert not recording(scene)
        assert [fact.reason for fact in scene.fact(RecordingStopped)] == ["not-wanted"]


class TestWithdrawal:
    @pytest.mark.parametrize(
        "words",
        [
            "please stop recording",
            "could you stop the recording now",
            "I don't want to be recorded",
            "I withdraw my consent",
            "turn off the recording",
        ],
    )
    def test_stops_the_recorder_with_the_words_themselves(self, words: str) -> None:
        scene = Scene().agreed()
        scene.starts_speaking().wait(800)
        scene.falls_silent(words, from_finalize=False)
        assert not recording(scene)
        (stopped,) = scene.fact(RecordingStopped)
        assert (stopped.reason, stopped.at_ms) == ("consent-withdrawn", scene.at_ms)
        assert len(scene.fact(RevokeConsent)) == 1

    def test_is_confirmed_in_a_sentence_without_asking_the_model(self) -> None:
        scene = Scene().agreed().says("please stop recording").wait(1000)
        assert scene.spoken[-1] == WORDING.recording_stopped
        assert scene.all(do.AskModel) == []

    def test_with_a_request_in_it_is_answered_as_well(self) -> None:
        scene = Scene().agreed().says("please stop recording and tell me your opening hours").wait(1000)
        scene.model_answers("Nine to five.").hears_all()
        assert scene.spoken[-2:] == [WORDING.recording_stopped, "Nine to five."]

    def test_by_a_paraphrase_goes_through_the_model(self) -> None:
        scene = Scene().agreed().says("I feel uneasy about being taped in here").wait(600)
        scene.model_answers("Of course.", ToolUse(tool_use_id="t1", name="withdraw_recording_consent", arguments={}))
        assert not recording(scene)
        assert scene.request.messages[-1].tool_outcomes[0].content == {"recording": "stopped", "consent": "withdrawn"}

    @pytest.mark.parametrize("words", ["please don't stop recording", "did you stop recording", "my records show something else"])
    def test_is_not_heard_where_there_is_none(self, words: str) -> None:
        assert recording(Scene().agreed().says(words).wait(600))

    def test_while_the_log_is_away_stops_the_recorder_all_the_same(self) -> None:
        scene = Scene().agreed().log_goes_away().says("please stop recording").wait(600)
        assert not recording(scene)
        assert WORDING.recording_stopped in scene.spoken

    def test_before_the_start_is_on_the_log_lets_it_start_nothing(self) -> None:
        scene = Scene().greeted().log_goes_away().says("yes please").wait(10)
        scene.says("please stop recording").wait(600)
        (grant,) = [effect for effect in scene.all(do.Commit) if isinstance(effect.command, GrantConsent)]
        scene.tell(signals.CommandAccepted, request=grant.request, version=2)
        assert not [effect for effect in scene.all(do.Commit) if isinstance(effect.command, StartRecording)]
        assert not recording(scene)


class TestOrders:
    def test_stop_the_recorder_whoever_gave_them(self) -> None:
        scene = Scene().agreed()
        scene.tell(signals.FactRecorded, fact=RecordingStopOrdered(reason="consent-revoked", revoked_version=5), version=20)
        assert not recording(scene)
        assert [fact.reason for fact in scene.fact(RecordingStopped)] == ["consent-revoked"]

    def test_that_come_before_our_own_answer_hold_against_the_older_start(self) -> None:
        scene = Scene().greeted().says("yes please").wait(2)
        (start,) = [effect for effect in scene.all(do.Commit) if isinstance(effect.command, StartRecording)]
        scene.tell(signals.FactRecorded, fact=RecordingStarted(caller_ref="ref", consent_version=2, at_ms=1), version=7)
        scene.tell(signals.FactRecorded, fact=RecordingStopOrdered(reason="consent-revoked", revoked_version=5), version=8)
        scene.tell(signals.CommandAccepted, request=start.request, version=7)
        assert not recording(scene)

    def test_find_nothing_to_stop_where_nothing_records(self) -> None:
        scene = Scene().greeted()
        scene.tell(signals.FactRecorded, fact=RecordingStopOrdered(reason="consent-revoked", revoked_version=5), version=20)
        assert scene.fact(RecordingStopped) == []
