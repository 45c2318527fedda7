"""What may happen to a phone call that lost its worker: another takes it over, and the first decides nothing any more."""

from dataclasses import replace

import pytest

from commands.calls.deciding import CALLS, MOST_RESUMES
from commands.calls.orders import AskToResume, CallCommand, ResumeCall, Witness, WitnessLate
from commands.calls.refusals import CallNotAnswered, CallOver, ResumedElsewhere, ResumedTooOften
from commands.decider import NotFound
from commands.spool.late import as_late
from events.calls.late import LateFact
from events.calls.recording import RecordingStopped
from events.calls.ringing import CallLeft, CallResumed
from tests.commands.test_calls import CALL, END, ENDED, RECEIVED, START, STARTED, STOP_ORDERED, TURN
from tests.given import given

RESUME = ResumeCall(
    after="MZ1", stream_sid="MZ2", worker="w2", recogniser="deepgram/nova-3", model_provider="bedrock", voice="deepgram/aura-2",
    embedded=True, at_ms=20_000, cause="worker-lost",
)  # fmt: skip
RESUMED = CallResumed(
    stream_sid="MZ2", worker="w2", recogniser="deepgram/nova-3", model_provider="bedrock", voice="deepgram/aura-2", embedded=True,
    attempt=1, at_ms=20_000, cause="worker-lost",
)  # fmt: skip
ALL_OF_THEM = tuple(replace(RESUMED, stream_sid=f"MZ{number + 1}", attempt=number) for number in range(1, MOST_RESUMES + 1))


class TestResumeCall:
    def test_is_a_fact_that_counts_the_attempts(self) -> None:
        given(CALLS, *CALL).when(RESUME).then(RESUMED)
        given(CALLS, *CALL, RESUMED).when(replace(RESUME, after="MZ2", stream_sid="MZ3")).then(
            replace(RESUMED, stream_sid="MZ3", attempt=2)
        )

    def test_changes_nothing_for_the_same_media_stream(self) -> None:
        given(CALLS, *CALL, RESUMED).when(RESUME).then()

    def test_ends_the_recording_of_the_lost_stream_with_it(self) -> None:
        stopped = RecordingStopped(caller_ref="c1", reason="worker-lost", at_ms=20_000)
        given(CALLS, *CALL, STARTED).when(RESUME).then(stopped, RESUMED)
        given(CALLS, *CALL, STARTED, STOP_ORDERED).when(RESUME).then(stopped, RESUMED)

    def test_is_refused_when_another_stream_was_quicker(self) -> None:
        given(CALLS, *CALL, RESUMED).when(replace(RESUME, stream_sid="MZ3")).then_refused(ResumedElsewhere)

    @pytest.mark.parametrize("command", [AskToResume(), replace(RESUME, after=ALL_OF_THEM[-1].stream_sid, stream_sid="MZ9")])
    def test_is_refused_after_the_last_attempt(self, command: CallCommand) -> None:
        given(CALLS, *CALL, *ALL_OF_THEM).when(command).then_refused(ResumedTooOften)

    def test_may_be_asked_for_after_that_by_who_only_wants_to_end_it(self) -> None:
        given(CALLS, *CALL, *ALL_OF_THEM).when(AskToResume(anyhow=True)).then()
        given(CALLS, *CALL, ENDED).when(AskToResume(anyhow=True)).then_refused(CallOver)

    @pytest.mark.parametrize("command", [AskToResume(), RESUME])
    def test_is_refused_where_there_is_nothing_to_go_on_with(self, command: CallCommand) -> None:
        given(CALLS).when(command).then_refused(NotFound)
        given(CALLS, RECEIVED).when(command).then_refused(CallNotAnswered)
        given(CALLS, *CALL, ENDED).when(command).then_refused(CallOver)

    def test_may_be_asked_for_and_changes_nothing(self) -> None:
        given(CALLS, *CALL).when(AskToResume()).then()


class TestTheStreamThatLostTheCall:
    def test_decides_nothing_any_more(self) -> None:
        for command in (Witness(fact=TURN, stream_sid="MZ1"), replace(START, stream_sid="MZ1"), replace(END, stream_sid="MZ1")):
            given(CALLS, *CALL, RESUMED).when(command).then_refused(ResumedElsewhere)

    def test_is_heard_late(self) -> None:
        witnessed = as_late(Witness(fact=TURN, stream_sid="MZ1"), "MZ1", 7)
        given(CALLS, *CALL, RESUMED).when(witnessed).then(LateFact(incarnation="MZ1", sequence=7, caller_turn=TURN))
        ended = as_late(replace(END, stream_sid="MZ1"), "MZ1", 8)
        given(CALLS, *CALL, RESUMED).when(ended).then(LateFact(incarnation="MZ1", sequence=8, call_ended=ENDED))

    def test_is_not_the_one_that_has_it(self) -> None:
        given(CALLS, *CALL, RESUMED).when(Witness(fact=TURN, stream_sid="MZ2")).then(TURN)
        given(CALLS, *CALL, RESUMED).when(replace(END, stream_sid="MZ2")).then(ENDED)

    def test_may_say_that_it_lets_go(self) -> None:
        left = CallLeft(reason="media-lost", at_ms=19_000)
        given(CALLS, *CALL).when(Witness(fact=left, stream_sid="MZ1")).then(left)

    def test_leaves_a_resume_that_came_too_late_on_the_record(self) -> None:
        late = as_late(RESUME, "MZ2", 1)
        assert isinstance(late, WitnessLate)
        given(CALLS, *CALL).when(late).then(LateFact(incarnation="MZ2", sequence=1, call_resumed=replace(RESUMED, attempt=0)))
