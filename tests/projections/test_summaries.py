"""What each fact of a call adds to what became of all."""

from typing import Any

from events.calls.ending import EndedBy, Stage
from projections.summaries import CALL_SUMMARIES, CallSummary
from tests.projections.facts import CALL, CALLER_REF, NUMBER_REF, agent_turn, answered, caller_turn, ended, received, whole_call
from tests.projections.told import AYB, DAY, told


def summed(*facts: Any) -> CallSummary:
    (row,) = CALL_SUMMARIES.fold(told(CALL, *facts))
    return row


class TestACall:
    def test_counts_for_its_agent_and_its_number_from_its_ring_on(self) -> None:
        row = summed(received())
        assert (row.tenant, row.agent_id, row.number_ref) == (AYB, "agt_1", NUMBER_REF)
        assert (row.calls, row.answered, row.ended, row.longest_ms) == (1, 0, 0, None)
        assert row.first_call_at is not None
        assert row.last_call_at == row.first_call_at >= DAY

    def test_counts_with_all_that_happened_in_it(self) -> None:
        row = summed(*whole_call())
        assert (row.calls, row.answered, row.ended, row.billable, row.transferred) == (1, 1, 1, 1, 1)
        assert (row.answers, row.response_ms, row.slowest_ms) == (3, 1500, 500)
        assert (row.interruptions, row.failures, row.callbacks, row.short) == (1, 1, 0, 0)
        assert (row.duration_ms, row.longest_ms) == (54_001, 54_001)

    def test_is_short_when_it_was_answered_and_over_within_six_seconds(self) -> None:
        assert summed(received(), answered(), ended(duration_ms=5_999)).short == 1
        assert summed(received(), answered(), ended(duration_ms=6_000)).short == 0
        assert summed(received(), ended(duration_ms=0, stage=Stage.RINGING, ended_by=EndedBy.CALLER)).short == 0

    def test_adds_nothing_once_it_is_over(self) -> None:
        assert summed(received(), answered(), ended(), agent_turn(3), ended()) == summed(received(), answered(), ended())

    def test_that_never_rang_is_nobodys(self) -> None:
        assert CALL_SUMMARIES.fold(told(CALL, answered(), caller_turn(1))) == []

    def test_keeps_no_word_and_no_caller(self) -> None:
        assert CALLER_REF not in repr(summed(*whole_call()))
