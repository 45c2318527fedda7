"""A call's facts alone say how it goes on with another worker."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from commands.calls.orders import StartRecording
from events.calls.control import (
    CaptureBegan,
    CaptureOutcome,
    DigitsCaptured,
    HangUpOrdered,
    HoldBegan,
    HoldEnded,
    HoldEndOrdered,
    HoldOrdered,
)
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallLeft, CallResumed
from events.calls.talking import AgentHeard, AgentTurn, CallerTurn, DisclosureSpoken, Evidence, Latency, Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated, ToolAnswered, ToolRequested
from realtime.consent.permission import Standing
from realtime.machine import effects as do
from realtime.machine import resuming, signals
from realtime.machine.briefing import Thresholds
from realtime.machine.resuming import Past
from realtime.ports import ToolUse
from tests.realtime.scene import CARRIER_LAG_MS, WORDING, Scene, briefing, opened, sealed
from tests.realtime.test_machine import acceptable

ANSWERED = CallAnswered(stream_sid="MZ1", worker="w1", recogniser="ears", model_provider="mind", voice="voice", embedded=True)
DISCLOSED = DisclosureSpoken(started_ms=100, heard_ms=2900, evidence=Evidence.PLAYED, attempt=1)
RESUMED = CallResumed(
    stream_sid="MZ2", worker="w2", recogniser="ears", model_provider="mind", voice="voice", embedded=True, attempt=1, at_ms=30_000,
    cause="worker-lost",
)  # fmt: skip
STARTED = RecordingStarted(caller_ref="ref", consent_version=3, at_ms=8000)
LOST = RecordingStopped(caller_ref="ref", reason="worker-lost", at_ms=30_000)
BOOK = ToolRequested(turn=2, tool_use_id="b", tool="book_slot", arguments=sealed('{"day": "friday"}'), idempotent=False, at_ms=20_000)
FIND = ToolRequested(turn=2, tool_use_id="f", tool="find_slot", arguments=sealed("{}"), idempotent=True, at_ms=20_000)


def heard(turn: int, said: str, part: str | None = None) -> AgentTurn:
    whole = part is None
    return AgentTurn(
        turn=turn, said=sealed(said), heard=sealed(said if part is None else part), interrupted=not whole, started_ms=turn * 10_000,
        evidence=Evidence.PLAYED if whole else Evidence.ESTIMATED, ended_ms=turn * 10_000 + 4000, latency=Latency(), spent=Spent(),
    )  # fmt: skip


def said(turn: int, words: str) -> CallerTurn:
    at = turn * 10_000 - 3000
    return CallerTurn(turn=turn, words=sealed(words), started_ms=at, ended_ms=at + 1000, recognised_ms=at + 1200, confidence=0.9)


GREETED = (ANSWERED, DISCLOSED, heard(0, f"{WORDING.disclosure} {WORDING.greeting} {WORDING.permission_question}"))
AGREED = (*GREETED, said(1, "yes please"), STARTED, heard(1, f"{WORDING.permission_thanks} {WORDING.how_can_i_help}"))


def past(*facts: Any) -> Past:
    return resuming.fold(enumerate(facts, 1), WORDING, opened)


def resumed(*facts: Any, **changes: Any) -> Scene:
    scene = Scene(briefing=briefing(**changes), at_ms=30_500, _versions=100)
    scene.tell(signals.MediaResumed, stream_sid="MZ2", past=past(*facts))
    return scene


class TestTheTalk:
    def test_is_what_was_heard_and_what_was_said(self) -> None:
        talk = past(*AGREED, said(2, "when are you open"), heard(2, "From nine to five.", "From nine"), said(3, "and on sunday")).talk
        assert [message.text for message in talk.messages[-4:]][1:] == ["when are you open", "From nine", "and on sunday"]
        assert talk.turn == 3

    def test_goes_on_with_the_answer_that_was_lost(self) -> None:
        scene = resumed(*AGREED, said(2, "when are you open"), LOST, RESUMED)
        assert scene.spoken == [WORDING.back]
        assert scene.request.messages[-1].text.splitlines()[-1] == "when are you open"
        scene.model_answers("From nine to five. ").hears_all()
        (turn,) = scene.fact(AgentTurn)
        assert (turn.turn, opened(turn.heard)) == (2, f"{WORDING.back} From nine to five.")
        assert not scene.fact(CallerTurn)

    def test_goes_on_with_the_words_that_were_cut_by_us(self) -> None:
        reply = heard(2, "From nine to five. On Sunday never.", "From nine to five.")
        left = CallLeft(reason="worker-stops", at_ms=29_000)
        scene = resumed(*AGREED, said(2, "when are you open"), reply, left, replace(RESUMED, cause="worker-stops"))
        assert scene.spoken == [WORDING.back, "On Sunday never."]

    def test_waits_for_the_caller_who_had_the_floor(self) -> None:
        scene = resumed(*AGREED, said(2, "when are you open"), heard(2, "From nine to five."), RESUMED).hears_all()
        assert scene.spoken == [WORDING.back_listening]
        assert scene.all(do.AskModel) == []


def part(turn: int, words: str, to_come: str, *, complete: bool = True) -> AgentHeard:
    """As a lost worker told it."""
    return AgentHeard(turn=turn, heard=sealed(words), to_come=sealed(to_come), complete=complete, at_ms=turn * 10_000 + 2000)


class TestAReplyOfWhichPartWasHeard:
    ASKED = (*AGREED, said(2, "when are you open"))

    def test_goes_on_with_the_next_sentence_and_asks_no_model(self) -> None:
        scene = resumed(*self.ASKED, part(2, "From nine to five.", "On Sunday never. Not in May either."), LOST, RESUMED)
        assert scene.spoken == [WORDING.back, "On Sunday never.", "Not in May either."]
        assert scene.all(do.AskModel) == []

    def test_is_answered_anew_where_nobody_told_of_it(self) -> None:
        assert len(resumed(*self.ASKED, LOST, RESUMED).all(do.AskModel)) == 1

    def test_has_been_said_as_far_as_all_its_parts_for_the_model(self) -> None:
        scene = resumed(*self.ASKED, part(2, "One.", "Two. Three."), part(2, "Two.", "Three."), LOST, RESUMED).hears_all()
        assert scene.state.talk.messages[-1].text == f"One. Two. {WORDING.back} Three."
        scene.says("thank you")
        assert acceptable(scene.request.messages)

    def test_goes_on_with_the_model_where_that_had_not_ended(self) -> None:
        scene = resumed(*self.ASKED, part(2, "From nine to five.", "On", complete=False), RESUMED)
        assert scene.spoken == [WORDING.back]
        *_, heard_so_far, told = scene.request.messages
        assert (heard_so_far.text, "Go on from there" in told.text) == ("From nine to five.", True)
        assert acceptable(scene.request.messages)

    def test_is_told_whole_by_its_turn_where_the_worker_lived(self) -> None:
        whole = heard(2, "From nine to five. On Sunday never.")
        facts = (*self.ASKED, part(2, "From nine to five.", "On Sunday never."), whole)
        assert past(*facts).talk == past(*self.ASKED, whole).talk
        assert not past(*facts).part_heard

    def test_keeps_its_tools_and_their_answers(self) -> None:
        answered = ToolAnswered(turn=2, tool_use_id="f", tool="find_slot", answer=sealed("nine"), failed=False, at_ms=21_000)
        facts = (*self.ASKED, FIND, answered, part(2, "There is one at nine.", "Shall I book it?"))
        for more in ((), (LOST, RESUMED)):
            scene = resumed(*facts, *more)
            assert scene.spoken == [WORDING.back, "Shall I book it?"]
            assert [outcome.content for message in scene.state.talk.messages for outcome in message.tool_outcomes] == ["nine"]

    def test_is_no_answer_to_our_question_a_second_time(self) -> None:
        facts = (*GREETED, said(1, "no thank you"), part(1, "All right.", "How can I help you?"), RESUMED)
        assert past(*facts).permission.standing is Standing.CLOSED

    def test_is_told_of_while_more_of_it_is_to_come(self) -> None:
        first, rest = "We are open from nine to five.", "On Sunday we are closed, and so we are in May."
        scene = Scene(briefing(resumable=True)).agreed().says("when are you open please").model_answers(f"{first} {rest}").hears_all()
        (fact,) = scene.fact(AgentHeard)
        assert (opened(fact.heard), opened(fact.to_come), fact.complete, fact.turn) == (first, rest, True, 2)
        sounded = scene.sounds[-2]
        assert fact.at_ms * 8 >= sounded.from_sample + sounded.samples - 8 * CARRIER_LAG_MS
        lone = Scene(briefing()).agreed().says("when are you open please").model_answers(f"{first} {rest}").hears_all()
        assert lone.fact(AgentHeard) == []


class TestTheDisclosure:
    def test_is_not_said_again_once_it_was_heard(self) -> None:
        assert WORDING.disclosure not in resumed(*GREETED, RESUMED).spoken

    def test_comes_first_where_it_was_not_heard(self) -> None:
        assert resumed(ANSWERED, RESUMED).spoken[0] == WORDING.disclosure


class TestPermission:
    def test_is_not_asked_for_twice(self) -> None:
        for answer in ("yes please", "no thank you"):
            facts = (*GREETED, said(1, answer), heard(1, "All right."), said(2, "when are you open"))
            assert past(*facts).permission.standing is Standing.CLOSED
            assert WORDING.permission_question not in resumed(*facts, RESUMED).spoken

    def test_is_granted_by_the_yes_that_was_lost_with_the_worker(self) -> None:
        scene = resumed(*GREETED, said(1, "yes please"), RESUMED)
        assert scene.state.permission.standing is Standing.GRANTING
        scene.wait(20)
        assert scene.all(do.StartRecorder)

    def test_is_asked_for_again_where_nobody_answered(self) -> None:
        assert resumed(*GREETED, RESUMED).spoken[-1] == WORDING.permission_again


class TestTheRecording:
    def test_goes_on_once_its_consent_is_confirmed(self) -> None:
        scene = resumed(*AGREED, said(2, "when are you open"), LOST, RESUMED)
        (start,) = [each for each in scene.facts if isinstance(each, StartRecording)]
        assert (start.consent_version, scene.all(do.StartRecorder)) == (3, [])
        scene.wait(5)
        assert len(scene.all(do.StartRecorder)) == 1

    def test_does_not_go_on_when_that_is_refused(self) -> None:
        scene = resumed(*AGREED, said(2, "when are you open"), LOST, RESUMED)
        commit = next(effect for effect in scene.all(do.Commit) if isinstance(effect.command, StartRecording))
        scene.log_answers = False
        scene.tell(signals.CommandDeclined, request=commit.request, code="recording-not-allowed")
        scene.wait(100)
        assert scene.all(do.StartRecorder) == []

    def test_does_not_go_on_once_a_stop_was_ordered_or_the_caller_asked_for_it(self) -> None:
        ordered = RecordingStopOrdered(reason="consent-revoked", revoked_version=4)
        withdrawn = RecordingStopped(caller_ref="ref", reason="consent-withdrawn", at_ms=20_000)
        assert past(*AGREED, ordered, LOST, RESUMED).consent_version == 0
        assert past(*AGREED, withdrawn, RESUMED).consent_version == 0
        assert past(*AGREED, LOST, RESUMED).consent_version == 3


class TestTools:
    def test_that_answered_are_known(self) -> None:
        answered = ToolAnswered(turn=2, tool_use_id="f", tool="find_slot", answer=sealed("nine"), failed=False, at_ms=21_000)
        scene = resumed(*AGREED, said(2, "a slot please"), FIND, answered, LOST, RESUMED)
        assert scene.all(do.RunTool) == []
        assert [outcome.content for outcome in scene.request.messages[-1].tool_outcomes] == ["nine"]

    def test_that_may_be_asked_again_are_under_the_same_key(self) -> None:
        scene = resumed(*AGREED, said(2, "a slot please"), FIND, LOST, RESUMED)
        (run,) = scene.all(do.RunTool)
        assert run.idempotency_key == "call_1:2:f"
        assert scene.all(do.AskModel) == []
        scene.tell(signals.ToolReturned, tool_use_id="f", content="nine", failed=False)
        assert [outcome.content for outcome in scene.request.messages[-1].tool_outcomes] == ["nine"]

    def test_that_are_done_for_ever_are_never_run_again(self) -> None:
        scene = resumed(*AGREED, said(2, "book it please"), BOOK, LOST, RESUMED)
        assert scene.all(do.RunTool) == []
        (outcome,) = scene.request.messages[-1].tool_outcomes
        assert outcome.failed
        scene.model_answers("", ToolUse(tool_use_id="b2", name="book_slot", arguments={"day": "friday"})).wait(50)
        assert scene.all(do.RunTool) == []
        assert not scene.fact(ToolRequested)


class TestTheCall:
    def test_is_hung_up_when_that_was_ordered(self) -> None:
        scene = resumed(*AGREED, HangUpOrdered(reason="operator"), RESUMED)
        assert (scene.over, scene.end.reason) == (True, "hung-up-by-operator")

    def test_is_as_long_as_from_its_first_answer(self) -> None:
        scene = resumed(*AGREED, LOST, RESUMED).hears_all()
        assert scene.at_ms > 30_500
        scene.hangs_up()
        assert scene.end.duration_ms == scene.at_ms
        assert past(*AGREED, LOST, RESUMED).recognised_ms == 30_000

    def test_is_left_to_another_stream_that_has_it(self) -> None:
        scene = Scene().agreed()
        scene.tell(signals.FactRecorded, fact=RESUMED, version=9)
        assert scene.over
        assert scene.all(do.Abandon)
        assert scene.all(do.Finish) == []

    def test_is_let_go_of_without_an_end(self) -> None:
        scene = Scene(briefing=briefing(resumable=True)).agreed().says("when are you open please")
        scene.model_answers("From nine to five on every day of the week. ").wait(1500)
        scene.tell(signals.LeaveCall, reason="worker-stops")
        assert scene.all(do.Leave)
        assert scene.all(do.Finish) == []
        assert [type(fact) for fact in scene.facts[-2:]] == [AgentTurn, CallLeft]


class TestTheCaps:
    """The call had this much: 20 tokens in the turn, 30 dropped, and 10 more than the 20 told, at a tenth of a cent each: 6 cents."""

    SPENT = (
        *GREETED, said(1, "when are you open"), replace(heard(1, "From nine."), spent=Spent(model="m", output_tokens=20, estimated=True)),
        AnswerSpeculated(turn=2, attempt=1, outcome="went-on", words=sealed("and"), asked_ms=1, settled_ms=2,
            spent=Spent(model="m", output_tokens=30)),
        AnswerAccounted(turn=1, at_ms=1, estimate=Spent(model="m", output_tokens=20), spent=Spent(model="m", output_tokens=30)), RESUMED,
    )  # fmt: skip
    LISTED: Mapping[str, int] = {"second": 0, "character": 0, "m/output_tokens": 1_000_000}

    def test_count_the_money_that_was_spent_before(self) -> None:
        scene = resumed(*self.SPENT, prices=self.LISTED, thresholds=Thresholds(max_cost_cents=6), ask_to_record=False)
        assert scene.state.cost == 60_000_000
        scene.hears_all()
        assert (scene.end.reason, scene.spoken[-1]) == ("cost-limit", scene.briefing.wording.cost_is_up)
        scene = resumed(*self.SPENT, prices=self.LISTED, thresholds=Thresholds(max_cost_cents=7), ask_to_record=False).hears_all()
        assert not scene.over

    def test_count_the_time_from_the_first_answer(self) -> None:
        scene = resumed(*AGREED, RESUMED, thresholds=Thresholds(max_call_ms=120_000, silence_ms=300_000)).hears_all()
        scene.wait(90_100 - scene.at_ms)
        assert scene.spoken[-1] == scene.briefing.wording.time_almost_up
        scene.wait(119_900 - scene.at_ms)
        assert scene.spoken[-1] == scene.briefing.wording.time_almost_up
        scene.wait(200)
        assert scene.spoken[-1] == scene.briefing.wording.time_is_up

    def test_warn_once(self) -> None:
        words, cap = briefing().wording, Thresholds(max_call_ms=60_400, silence_ms=300_000)
        scene = resumed(*AGREED, RESUMED, thresholds=cap)
        assert scene.spoken == [f"{words.back_listening} {words.time_almost_up}"]
        scene = resumed(*AGREED, heard(1, words.time_almost_up), RESUMED, thresholds=cap)
        assert scene.spoken == [words.back_listening]
        scene.hears_all().wait(60_500 - scene.at_ms)
        assert scene.spoken == [words.back_listening, words.time_is_up]
        scene = resumed(*AGREED, heard(1, words.time_almost_up, "I have to"), RESUMED, thresholds=cap)
        assert words.time_almost_up in scene.spoken[0]


class TestHold:
    HELD = (*AGREED, HoldOrdered(reason="asks"), HoldBegan(at_ms=20_000))

    def test_goes_on_for_as_long_as_it_would_have(self) -> None:
        scene = resumed(*self.HELD, LOST, RESUMED, thresholds=Thresholds(max_hold_ms=60_000)).hears_all()
        assert scene.spoken == [WORDING.back, WORDING.still_on_hold]
        assert not scene.fact(HoldBegan)
        scene.wait(79_900 - scene.at_ms)
        assert not scene.fact(HoldEnded)
        scene.wait(200)
        assert [fact.reason for fact in scene.fact(HoldEnded)] == ["waited-long-enough"]

    def test_keeps_what_the_caller_says_meanwhile(self) -> None:
        scene = resumed(*self.HELD, said(2, "is anybody there"), RESUMED).hears_all()
        assert scene.all(do.AskModel) == []
        scene.tell(signals.FactRecorded, fact=HoldEndOrdered(reason="knows"), version=110)
        assert scene.spoken[-1] == WORDING.back_from_hold
        assert any("is anybody there" in message.text for message in scene.request.messages)

    def test_that_was_ordered_and_not_begun_begins(self) -> None:
        scene = resumed(*AGREED, HoldOrdered(reason="asks"), RESUMED)
        assert (scene.spoken[-1], len(scene.fact(HoldBegan))) == (WORDING.please_hold, 1)

    def test_is_over_when_it_was_or_when_that_was_ordered(self) -> None:
        ended = HoldEnded(reason="ordered", at_ms=25_000)
        scene = resumed(*self.HELD, HoldEndOrdered(reason="knows"), ended, RESUMED)
        assert (scene.state.held, scene.fact(HoldEnded), scene.spoken) == (False, [], [WORDING.back_listening])
        scene = resumed(*self.HELD, HoldEndOrdered(reason="knows"), RESUMED)
        assert (scene.state.held, len(scene.fact(HoldEnded))) == (False, 1)


class TestDigits:
    ASKED = (*AGREED, said(2, "I want to pay"), CaptureBegan(label="card", at_ms=18_000), heard(2, "Key in your card number please."))
    KEYED = DigitsCaptured(label="card", count=16, outcome=CaptureOutcome.COMPLETE, started_ms=18_000, ended_ms=28_000)

    def test_that_were_being_keyed_in_are_told_as_lost_and_asked_for_again(self) -> None:
        scene = resumed(*self.ASKED, LOST, RESUMED, captures_digits=True)
        (fact,) = scene.fact(DigitsCaptured)
        assert (fact.label, fact.count, fact.outcome, fact.started_ms, fact.ended_ms) == ("card", 0, CaptureOutcome.ABORTED, 18_000, 30_500)
        assert scene.spoken == [WORDING.back]
        assert "ask for it again" in scene.request.messages[-1].text
        again = ToolUse(tool_use_id="c", name="capture_digits", arguments={"label": "card", "digits": 16})
        scene.model_answers("Key it in once more please.", again)
        assert scene.all(do.BeginCapture)
        assert [fact.label for fact in scene.fact(CaptureBegan)] == ["card"]

    def test_whose_reference_went_with_the_worker_are_asked_for_again(self) -> None:
        scene = resumed(*self.ASKED, self.KEYED, LOST, RESUMED, captures_digits=True)
        assert not scene.fact(DigitsCaptured)
        assert "ask for it again" in scene.request.messages[-1].text

    def test_that_were_answered_are_done(self) -> None:
        scene = resumed(*self.ASKED, self.KEYED, heard(2, "It is paid."), RESUMED, captures_digits=True)
        assert (scene.fact(DigitsCaptured), scene.all(do.AskModel), scene.spoken) == ([], [], [WORDING.back_listening])


class TestACrashAtAnyFact:
    HISTORY = (
        *AGREED, said(2, "a slot please"), FIND,
        ToolAnswered(turn=2, tool_use_id="f", tool="find_slot", answer=sealed("nine"), failed=False, at_ms=1),
        heard(2, "At nine. Or at ten.", "At nine."), said(3, "book it please"), replace(BOOK, turn=3),
        heard(3, "One moment. I book", "One moment."), said(4, "hello"),
        ToolAnswered(turn=3, tool_use_id="b", tool="book_slot", answer=sealed("booked"), failed=False, at_ms=1),
        heard(4, "It is booked.", ""), said(5, "thank you"), heard(5, "You are welcome."), LOST, RESUMED, STARTED, said(6, "and on sunday"),
        CallLeft(reason="media-lost", at_ms=60_000), replace(LOST, reason="media-lost"), replace(RESUMED, attempt=2, cause="media-lost"),
    )  # fmt: skip

    @pytest.mark.parametrize("count", range(1, len(HISTORY) + 1))
    def test_leads_to_a_talk_that_goes_on(self, count: int) -> None:
        known = self.HISTORY[:count]
        scene = resumed(*known).wait(50)
        assert all(acceptable(effect.request.messages) for effect in scene.all(do.AskModel))
        assert "book_slot" not in [run.use.name for run in scene.all(do.RunTool)]
        assert scene.spoken
        disclosed = any(isinstance(fact, DisclosureSpoken) for fact in known)
        assert (WORDING.disclosure in scene.spoken) is not disclosed
        answered = any(isinstance(fact, CallerTurn) for fact in known)
        assert not (answered and WORDING.permission_question in scene.spoken)
        assert not scene.fact(CallerTurn)
        if scene.state.reply is not None and scene.state.reply.asked:
            scene.model_answers("All right. ")
        scene.hears_all().says("when are you open please")
        assert scene.fact(CallerTurn)[-1].turn == sum(isinstance(fact, CallerTurn) for fact in known) + 1
