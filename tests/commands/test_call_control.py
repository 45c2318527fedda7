"""What may be ordered of a call from outside, and what becomes of the leg to the person a caller was put through to."""

from itertools import permutations

import pytest
from hypothesis import given as holds_for
from hypothesis import strategies as st

from commands.calls.deciding import CALLS, Call
from commands.calls.orders import NoteListening, NoteTransferLeg, OrderHold, OrderHoldEnd, OrderTransfer, Witness
from commands.calls.refusals import CallNotAnswered, CallOver
from commands.decider import NotFound
from events.calls.control import (
    CallTransferred,
    HoldBegan,
    HoldEnded,
    HoldEndOrdered,
    HoldOrdered,
    TransferFailed,
    TransferLegChanged,
    TransferOrdered,
)
from events.calls.ending import EndedBy
from events.calls.recording import RecordingListened
from tests.commands.test_calls import ANSWERED, ENDED, RECEIVED
from tests.given import given, sealed

TRANSFER = OrderTransfer(destination="front desk", reason="asked for a person")
TRANSFER_ORDERED = TransferOrdered(destination="front desk", reason="asked for a person")
TRANSFERRED = CallTransferred(destination="front desk", number=sealed("+15550111"), by=EndedBy.OPERATOR, at_ms=9_000)
FAILED = TransferFailed(destination="front desk", reason="carrier-refused", at_ms=9_000)
HOLD, HOLD_END = OrderHold(reason="a colleague is asked"), OrderHoldEnd(reason="she knows")
HOLD_ORDERED, HOLD_END_ORDERED = HoldOrdered(reason="a colleague is asked"), HoldEndOrdered(reason="she knows")
LEG = (("initiated", 0), ("ringing", 1), ("in-progress", 2), ("completed", 3))


class TestOrderTransfer:
    def test_is_a_fact_once(self) -> None:
        given(CALLS, RECEIVED, ANSWERED).when(TRANSFER).then(TRANSFER_ORDERED)
        given(CALLS, RECEIVED, ANSWERED, TRANSFER_ORDERED).when(TRANSFER).then()
        given(CALLS, RECEIVED, ANSWERED, TRANSFER_ORDERED, TRANSFERRED).when(TRANSFER).then()

    def test_may_be_tried_again_after_it_failed(self) -> None:
        given(CALLS, RECEIVED, ANSWERED, TRANSFER_ORDERED, FAILED).when(TRANSFER).then(TRANSFER_ORDERED)

    def test_is_refused_when_nobody_is_on_the_line(self) -> None:
        given(CALLS).when(TRANSFER).then_refused(NotFound)
        given(CALLS, RECEIVED).when(TRANSFER).then_refused(CallNotAnswered)
        given(CALLS, RECEIVED, ANSWERED, ENDED).when(TRANSFER).then_refused(CallOver)


class TestOrderHold:
    def test_is_a_fact_once(self) -> None:
        given(CALLS, RECEIVED, ANSWERED).when(HOLD).then(HOLD_ORDERED)
        given(CALLS, RECEIVED, ANSWERED, HOLD_ORDERED).when(HOLD).then()
        given(CALLS, RECEIVED, ANSWERED, HOLD_ORDERED, HoldBegan(at_ms=1)).when(HOLD).then()

    def test_can_be_taken_back(self) -> None:
        given(CALLS, RECEIVED, ANSWERED, HOLD_ORDERED).when(HOLD_END).then(HOLD_END_ORDERED)
        given(CALLS, RECEIVED, ANSWERED).when(HOLD_END).then()

    def test_is_over_when_the_caller_has_waited_long_enough(self) -> None:
        waited = HoldEnded(reason="waited-long-enough", at_ms=9)
        given(CALLS, RECEIVED, ANSWERED, HOLD_ORDERED, HoldBegan(at_ms=1), waited).when(HOLD_END).then()
        given(CALLS, RECEIVED, ANSWERED, HOLD_ORDERED, HoldBegan(at_ms=1), waited).when(HOLD).then(HOLD_ORDERED)


class TestNoteTransferLeg:
    def test_is_a_fact_also_after_the_call_has_ended(self) -> None:
        note = NoteTransferLeg(leg_sid="CA2", status="completed", sequence=3, duration_seconds=61)
        told = TransferLegChanged(leg_sid="CA2", status="completed", sequence=3, duration_seconds=61)
        given(CALLS, RECEIVED, ANSWERED, TRANSFERRED, ENDED).when(note).then(told)

    @pytest.mark.parametrize("order", list(permutations(LEG)))
    def test_ends_equal_in_whatever_order_it_comes(self, order: tuple[tuple[str, int], ...]) -> None:
        assert statuses(order)[-1] == "completed"

    @holds_for(st.lists(st.sampled_from(LEG), max_size=12))
    def test_never_goes_back(self, told: list[tuple[str, int]]) -> None:
        said = statuses(told)
        rank = [[status for status, _ in LEG].index(status) for status in said]
        assert rank == sorted(set(rank))
        assert bool(said) == bool(told)
        assert ("completed" in said) == (("completed", 3) in told)

    def test_is_refused_for_a_call_that_never_was(self) -> None:
        given(CALLS).when(NoteTransferLeg(leg_sid="CA2", status="ringing", sequence=1)).then_refused(NotFound)


class TestNoteListening:
    def test_is_a_fact_each_time_and_once_each(self) -> None:
        told = RecordingListened(listening="1", by="operator", reason="a complaint")
        again = RecordingListened(listening="2", by="operator", reason="a complaint")
        given(CALLS, RECEIVED, ANSWERED, ENDED, told).when(NoteListening(listening="2", by="operator", reason="a complaint")).then(again)
        given(CALLS, RECEIVED, ANSWERED, ENDED, told).when(NoteListening(listening="1", by="operator", reason="a complaint")).then()

    def test_is_refused_for_a_call_that_never_was(self) -> None:
        given(CALLS).when(NoteListening(listening="1", by="operator", reason="x")).then_refused(NotFound)


class TestWitness:
    @pytest.mark.parametrize("fact", [TRANSFERRED, FAILED, HoldBegan(at_ms=1), HoldEnded(reason="ordered", at_ms=2)])
    def test_of_control_is_a_fact_once(self, fact: CallTransferred | TransferFailed | HoldBegan | HoldEnded) -> None:
        given(CALLS, RECEIVED, ANSWERED).when(Witness(fact=fact)).then(fact)
        given(CALLS, RECEIVED, ANSWERED, fact).when(Witness(fact=fact)).then()


def statuses(told: tuple[tuple[str, int], ...] | list[tuple[str, int]]) -> list[str]:
    """What of it becomes a fact, in order."""
    call: Call = CALLS.evolve(CALLS.initial, RECEIVED)
    said = []
    for status, sequence in told:
        for fact in CALLS.decide(NoteTransferLeg(leg_sid="CA2", status=status, sequence=sequence), call):
            assert isinstance(fact, TransferLegChanged)
            said.append(fact.status)
            call = CALLS.evolve(call, fact)
    return said
