"""What may happen to a phone call."""

from dataclasses import replace

import pytest

from commands.calls.deciding import CALL_SIDS, CALLS
from commands.calls.orders import (
    AnswerCall,
    CallCommand,
    EndCall,
    OrderHangUp,
    OrderRecordingStop,
    ReceiveCall,
    ReserveCallSid,
    StartRecording,
    Witness,
    WitnessedLate,
    WitnessLate,
)
from commands.calls.refusals import AlreadyAnswered, CallIdTaken, CallNotAnswered, CallOver, CallSidReservedAlready, RecordingNotAllowed
from commands.decider import NotFound
from events.calls.control import HangUpOrdered
from events.calls.ending import CallEnded, EndedBy, FactsLost, Stage
from events.calls.every import CallEvent
from events.calls.late import LateFact
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallReceived, CallSidReserved
from events.calls.talking import AgentInterrupted, CallerTurn
from tests.given import given, sealed

RECEIVED = CallReceived(
    call_sid="CA1", caller=sealed("+15550100"), caller_ref="c1", number=sealed("+15550199"), number_ref="n1",
    agent_id="agt_1", agent_version="1.0.0", agent_version_hash="ab", flags={"brief-greeting": "on"},
)  # fmt: skip
RECEIVE = ReceiveCall(
    call_sid="CA1", caller=sealed("+15550100"), caller_ref="c1", number=sealed("+15550199"), number_ref="n1",
    agent_id="agt_1", agent_version="1.0.0", agent_version_hash="ab", flags={"brief-greeting": "on"},
)  # fmt: skip
ANSWERED = CallAnswered(
    stream_sid="MZ1", worker="w1", recogniser="deepgram/nova-3", model_provider="bedrock", voice="deepgram/aura-2", embedded=True
)
ANSWER = AnswerCall(
    stream_sid="MZ1", worker="w1", recogniser="deepgram/nova-3", model_provider="bedrock", voice="deepgram/aura-2", embedded=True
)
ENDED = CallEnded(
    reason="goodbye", ended_by=EndedBy.AGENT, stage=Stage.CONVERSATION, billable=True, duration_ms=50_000, recognition_ms=48_000
)
END = EndCall(reason="goodbye", ended_by=EndedBy.AGENT, stage=Stage.CONVERSATION, billable=True, duration_ms=50_000, recognition_ms=48_000)
START = StartRecording(caller_ref="c1", consent_version=1, at_ms=9_000)
STARTED = RecordingStarted(caller_ref="c1", consent_version=1, at_ms=9_000)
STOPPED = RecordingStopped(caller_ref="c1", reason="caller-asked", at_ms=30_000)
WITHDRAWN = OrderRecordingStop(reason="consent-revoked", revoked_version=2)
STOP_ORDERED = RecordingStopOrdered(reason="consent-revoked", revoked_version=2)
TURN = CallerTurn(turn=1, words=sealed("hello"), started_ms=5_000, ended_ms=6_000, recognised_ms=6_200, confidence=0.9)
CALL = (RECEIVED, ANSWERED)


class TestReserveCallSid:
    RESERVED = CallSidReserved(call_id="call_1", organisation_id="AYB-1")

    def test_gives_the_carriers_name_to_the_first_call(self) -> None:
        given(CALL_SIDS).when(ReserveCallSid(call_id="call_1", organisation_id="AYB-1")).then(self.RESERVED)

    def test_changes_nothing_for_the_same_call(self) -> None:
        given(CALL_SIDS, self.RESERVED).when(ReserveCallSid(call_id="call_1", organisation_id="AYB-1")).then()

    def test_is_refused_for_another_call_and_names_the_first(self) -> None:
        refusal = given(CALL_SIDS, self.RESERVED).when(ReserveCallSid(call_id="call_2", organisation_id="AYB-1"))
        refused = refusal.then_refused(CallSidReservedAlready)
        assert (refused.call_id, refused.organisation_id) == ("call_1", "AYB-1")


class TestReceiveCall:
    def test_is_a_fact_with_all_that_the_carrier_said(self) -> None:
        given(CALLS).when(RECEIVE).then(RECEIVED)

    @pytest.mark.parametrize("history", [(RECEIVED,), CALL, (*CALL, ENDED)])
    def test_changes_nothing_when_the_webhook_repeats(self, history: tuple[CallReceived, ...]) -> None:
        given(CALLS, *history).when(RECEIVE).then()

    def test_is_refused_when_the_id_is_another_call_of_the_carriers(self) -> None:
        given(CALLS, RECEIVED).when(replace(RECEIVE, call_sid="CA2")).then_refused(CallIdTaken)


class TestAnswerCall:
    def test_is_a_fact_once_the_media_stream_starts(self) -> None:
        given(CALLS, RECEIVED).when(ANSWER).then(ANSWERED)

    def test_changes_nothing_for_the_same_media_stream(self) -> None:
        given(CALLS, *CALL).when(ANSWER).then()

    def test_is_refused_for_a_second_media_stream(self) -> None:
        given(CALLS, *CALL).when(replace(ANSWER, stream_sid="MZ2")).then_refused(AlreadyAnswered)

    def test_is_refused_when_the_call_has_ended(self) -> None:
        given(CALLS, *CALL, ENDED).when(ANSWER).then_refused(CallOver)


class TestWitness:
    def test_puts_what_the_worker_saw_on_the_log(self) -> None:
        given(CALLS, *CALL).when(Witness(fact=TURN)).then(TURN)

    def test_changes_nothing_when_it_is_said_again(self) -> None:
        interrupted = AgentInterrupted(turn=1, speech_started_ms=8_000, cleared_ms=8_200)
        given(CALLS, *CALL, TURN, interrupted).when(Witness(fact=TURN)).then()

    def test_keeps_what_was_said_otherwise(self) -> None:
        other = replace(TURN, words=sealed("hullo"))
        given(CALLS, *CALL, TURN).when(Witness(fact=other)).then(other)

    def test_counts_equal_losses_twice(self) -> None:
        given(CALLS, *CALL, FactsLost(count=3)).when(Witness(fact=FactsLost(count=3))).then(FactsLost(count=3))

    def test_stops_a_recording(self) -> None:
        given(CALLS, *CALL, STARTED).when(Witness(fact=STOPPED)).then(STOPPED)

    def test_of_a_stop_changes_nothing_when_nothing_records(self) -> None:
        given(CALLS, *CALL).when(Witness(fact=STOPPED)).then()
        given(CALLS, *CALL, STARTED, STOPPED).when(Witness(fact=STOPPED)).then()

    def test_is_refused_before_the_media_stream_starts(self) -> None:
        given(CALLS, RECEIVED).when(Witness(fact=TURN)).then_refused(CallNotAnswered)

    def test_is_refused_after_the_end(self) -> None:
        given(CALLS, *CALL, TURN, ENDED).when(Witness(fact=TURN)).then_refused(CallOver)


def late(fact: WitnessedLate, *, sequence: int = 7, incarnation: str = "MZ1") -> WitnessLate:
    return WitnessLate(incarnation=incarnation, sequence=sequence, fact=fact)


class TestWitnessLate:
    LATE_TURN = LateFact(incarnation="MZ1", sequence=7, caller_turn=TURN)

    @pytest.mark.parametrize("history", [(RECEIVED,), CALL, (*CALL, STARTED), (*CALL, ENDED)])
    def test_is_kept_beside_the_call_however_it_stands(self, history: tuple[CallEvent, ...]) -> None:
        given(CALLS, *history).when(late(TURN)).then(self.LATE_TURN)

    def test_changes_nothing_when_it_is_said_again(self) -> None:
        given(CALLS, *CALL, self.LATE_TURN).when(late(TURN)).then()

    def test_keeps_equal_facts_of_two_moments_and_of_two_streams(self) -> None:
        given(CALLS, *CALL, self.LATE_TURN).when(late(TURN, sequence=8)).then(replace(self.LATE_TURN, sequence=8))
        given(CALLS, *CALL, self.LATE_TURN).when(late(TURN, incarnation="MZ2")).then(replace(self.LATE_TURN, incarnation="MZ2"))

    def test_does_not_stop_a_recording_that_goes_on_elsewhere(self) -> None:
        stopped = LateFact(incarnation="MZ0", sequence=7, recording_stopped=STOPPED)
        given(CALLS, *CALL, STARTED).when(late(STOPPED, incarnation="MZ0")).then(stopped)
        given(CALLS, *CALL, STARTED, stopped).when(START).then()

    def test_does_not_answer_a_call(self) -> None:
        answered = LateFact(incarnation="MZ1", sequence=7, call_answered=ANSWERED)
        given(CALLS, RECEIVED).when(late(ANSWERED)).then(answered)
        given(CALLS, RECEIVED, answered).when(Witness(fact=TURN)).then_refused(CallNotAnswered)

    def test_of_an_end_leaves_a_call_alone_that_another_stream_has(self) -> None:
        of_another = LateFact(incarnation="MZ0", sequence=7, call_ended=ENDED)
        given(CALLS, *CALL).when(late(ENDED, incarnation="MZ0")).then(of_another)
        given(CALLS, *CALL, of_another).when(Witness(fact=TURN)).then(TURN)

    def test_of_an_end_is_kept_after_another_end(self) -> None:
        given(CALLS, RECEIVED, ENDED).when(late(ENDED)).then(LateFact(incarnation="MZ1", sequence=7, call_ended=ENDED))

    def test_of_an_end_ends_the_streams_own_call_for_nobody_else_would(self) -> None:
        at_end = RecordingStopped(caller_ref="c1", reason="call-ended", at_ms=50_000)
        own = LateFact(incarnation="MZ1", sequence=7, call_ended=ENDED)
        given(CALLS, *CALL, STARTED).when(late(ENDED)).then(own, at_end, ENDED)
        given(CALLS, *CALL, own, ENDED).when(late(ENDED)).then()

    def test_is_refused_for_a_call_that_never_was(self) -> None:
        given(CALLS).when(late(TURN)).then_refused(NotFound)


class TestStartRecording:
    def test_is_a_fact_that_names_the_consent(self) -> None:
        given(CALLS, *CALL).when(START).then(STARTED)

    def test_changes_nothing_while_it_records(self) -> None:
        given(CALLS, *CALL, STARTED).when(START).then()

    def test_is_a_fact_again_after_a_pause(self) -> None:
        given(CALLS, *CALL, STARTED, STOPPED).when(replace(START, at_ms=40_000)).then(replace(STARTED, at_ms=40_000))

    @pytest.mark.parametrize("version", [1, 2])
    def test_is_refused_on_a_consent_that_was_withdrawn(self, version: int) -> None:
        given(CALLS, *CALL, STOP_ORDERED).when(replace(START, consent_version=version)).then_refused(RecordingNotAllowed)

    def test_is_a_fact_on_a_consent_that_is_newer_than_the_withdrawal(self) -> None:
        given(CALLS, *CALL, STOP_ORDERED).when(replace(START, consent_version=3)).then(replace(STARTED, consent_version=3))

    def test_is_refused_while_a_stop_is_under_way(self) -> None:
        newer = replace(START, consent_version=3)
        given(CALLS, *CALL, STARTED, STOP_ORDERED).when(newer).then_refused(RecordingNotAllowed)
        given(CALLS, *CALL, STARTED, STOP_ORDERED, STOPPED).when(newer).then(replace(STARTED, consent_version=3))

    def test_is_refused_on_an_older_consent_than_one_that_was_used(self) -> None:
        newer = replace(STARTED, consent_version=3)
        given(CALLS, *CALL, newer, STOPPED).when(START).then_refused(RecordingNotAllowed)

    def test_is_refused_on_another_persons_consent(self) -> None:
        given(CALLS, *CALL).when(replace(START, caller_ref="c2")).then_refused(RecordingNotAllowed)

    def test_is_refused_before_the_media_stream_starts(self) -> None:
        given(CALLS, RECEIVED).when(START).then_refused(CallNotAnswered)

    def test_is_refused_after_the_end(self) -> None:
        given(CALLS, *CALL, ENDED).when(START).then_refused(RecordingNotAllowed)


class TestOrderRecordingStop:
    def test_is_a_fact_while_it_records(self) -> None:
        given(CALLS, *CALL, STARTED).when(WITHDRAWN).then(STOP_ORDERED)

    def test_is_a_fact_before_anything_records_so_that_a_late_start_is_refused(self) -> None:
        given(CALLS, *CALL).when(WITHDRAWN).then(STOP_ORDERED)
        given(CALLS, RECEIVED).when(WITHDRAWN).then(STOP_ORDERED)

    def test_is_a_fact_after_the_worker_stopped_by_itself(self) -> None:
        given(CALLS, *CALL, STARTED, STOPPED).when(WITHDRAWN).then(STOP_ORDERED)

    def test_changes_nothing_when_it_was_ordered(self) -> None:
        given(CALLS, *CALL, STARTED, STOP_ORDERED).when(WITHDRAWN).then()
        given(CALLS, *CALL, STARTED, STOP_ORDERED, STOPPED).when(WITHDRAWN).then()

    def test_leaves_a_recording_alone_that_rests_on_a_newer_consent(self) -> None:
        given(CALLS, *CALL, replace(STARTED, consent_version=3)).when(WITHDRAWN).then()

    def test_of_an_operator_stops_whatever_records(self) -> None:
        given(CALLS, *CALL, STARTED).when(OrderRecordingStop(reason="operator")).then(RecordingStopOrdered(reason="operator"))

    def test_of_an_operator_changes_nothing_when_nothing_records_or_a_stop_is_under_way(self) -> None:
        given(CALLS, *CALL).when(OrderRecordingStop(reason="operator")).then()
        given(CALLS, *CALL, STARTED, STOP_ORDERED).when(OrderRecordingStop(reason="operator")).then()

    def test_changes_nothing_after_the_end(self) -> None:
        given(CALLS, *CALL, ENDED).when(WITHDRAWN).then()


class TestOrderHangUp:
    def test_is_a_fact_while_the_call_rings_or_is_under_way(self) -> None:
        given(CALLS, RECEIVED).when(OrderHangUp(reason="operator")).then(HangUpOrdered(reason="operator"))
        given(CALLS, *CALL).when(OrderHangUp(reason="operator")).then(HangUpOrdered(reason="operator"))

    def test_changes_nothing_when_it_was_ordered(self) -> None:
        given(CALLS, *CALL, HangUpOrdered(reason="operator")).when(OrderHangUp(reason="fraud")).then()

    def test_is_refused_when_the_call_has_ended(self) -> None:
        given(CALLS, *CALL, ENDED).when(OrderHangUp(reason="operator")).then_refused(CallOver)


class TestEndCall:
    def test_is_a_fact_with_its_reason(self) -> None:
        given(CALLS, *CALL).when(END).then(ENDED)

    def test_ends_a_call_that_was_never_answered(self) -> None:
        gone = replace(END, reason="caller-hung-up", ended_by=EndedBy.CALLER, stage=Stage.RINGING, billable=False)
        given(CALLS, RECEIVED).when(gone).then(
            replace(ENDED, reason="caller-hung-up", ended_by=EndedBy.CALLER, stage=Stage.RINGING, billable=False)
        )

    def test_stops_what_still_records(self) -> None:
        given(CALLS, *CALL, STARTED).when(END).then(RecordingStopped(caller_ref="c1", reason="call-ended", at_ms=50_000), ENDED)

    def test_changes_nothing_the_second_time(self) -> None:
        given(CALLS, *CALL, ENDED).when(replace(END, reason="carrier-said-so")).then()


@pytest.mark.parametrize("command", [ANSWER, Witness(fact=TURN), START, WITHDRAWN, OrderHangUp(reason="operator"), END])
def test_nothing_can_be_done_with_a_call_that_never_rang(command: CallCommand) -> None:
    given(CALLS).when(command).then_refused(NotFound)
