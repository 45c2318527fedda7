"""What the facts of a call make of its row, its timeline, and the list of calls in progress."""

from datetime import timedelta

import pytest

from events.calls.ending import EndedBy, Stage
from events.calls.late import LateFact
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.talking import DisclosureSpoken, Evidence
from projections.calls import CALL_TIMELINE, CALLS, LIVE_CALLS, CallStatus, Recording, TimelineEntry
from projections.table import BrokenHistory
from tests.projections.facts import CALL, CALLER_REF, answered, caller_turn, ended, received, sealed, whole_call
from tests.projections.told import DAY, told

STARTED = RecordingStarted(caller_ref=CALLER_REF, consent_version=1, at_ms=7000)
ORDERED = RecordingStopOrdered(reason="consent-revoked", revoked_version=2)


class TestCall:
    def test_sums_up_what_happened(self) -> None:
        row = CALLS.fold(told(CALL, *whole_call()))
        assert row is not None
        assert (row.status, row.version, row.turns, row.interruptions) == (CallStatus.ENDED, 34, 3, 1)
        assert (row.disclosed_ms, row.disclosures, row.failures, row.facts_lost) == (2900, 1, 1, 2)
        assert (row.received_at, row.answered_at, row.ended_at) == (DAY, DAY + timedelta(seconds=1), DAY + timedelta(seconds=31))
        assert (row.end_reason, row.ended_by, row.stage, row.billable, row.duration_ms) == (
            "goodbye", EndedBy.AGENT, Stage.CONVERSATION, True, 54_001,
        )  # fmt: skip
        assert (row.recording, row.consent_version, row.recording_object) == (Recording.STOPPED, 1, "rec_1")
        assert (row.stream_sid, row.worker) == ("MZ2", "worker-2")

    def test_keeps_numbers_sealed_as_they_came(self) -> None:
        row = CALLS.fold(told(CALL, received()))
        assert row is not None
        assert row.caller == sealed("+14165550100")

    @pytest.mark.parametrize(
        ("history", "standing"),
        [
            ((), Recording.NEVER),
            ((STARTED,), Recording.ON),
            ((STARTED, ORDERED), Recording.STOPPING),
            ((ORDERED,), Recording.NEVER),
            ((STARTED, RecordingStopped(caller_ref=CALLER_REF, reason="asked", at_ms=9)), Recording.STOPPED),
        ],
    )
    def test_says_whether_it_is_recorded(self, history: tuple[object, ...], standing: Recording) -> None:
        row = CALLS.fold(told(CALL, received(), answered(), *history))
        assert row is not None
        assert row.recording is standing

    def test_has_the_first_disclosure_that_was_heard_whole(self) -> None:
        heard = [DisclosureSpoken(started_ms=n, heard_ms=n + 1, evidence=Evidence.PLAYED, attempt=n) for n in (2, 3)]
        row = CALLS.fold(told(CALL, received(), answered(), *heard))
        assert row is not None
        assert (row.disclosed_ms, row.disclosures) == (3, 3)

    def test_counts_what_came_late_and_does_not_stand_by_it(self) -> None:
        stopped = RecordingStopped(caller_ref=CALLER_REF, reason="caller-asked", at_ms=8000)
        late = [LateFact.of("MZ0", n, fact) for n, fact in enumerate((answered(), caller_turn(3), stopped, ended()), 1)]
        row = CALLS.fold(told(CALL, received(), answered(), STARTED, *late))
        assert row is not None
        assert (row.status, row.recording, row.turns, row.ended_at) == (CallStatus.IN_PROGRESS, Recording.ON, 1, None)

    def test_cannot_begin_in_the_middle(self) -> None:
        with pytest.raises(BrokenHistory, match="before it rang"):
            CALLS.fold(told(CALL, answered()))


class TestTimeline:
    def test_has_an_entry_for_every_fact_with_its_place_on_the_log(self) -> None:
        history = told(CALL, *whole_call())
        entries = [entry for fact in history for entry in CALL_TIMELINE.entries(fact)]
        assert [entry.version for entry in entries] == list(range(1, 35))
        assert [entry.position for entry in entries] == [str(fact.position) for fact in history]
        assert [entry.kind for entry in entries][:6] == [
            "call-received", "call-answered", "disclosure-spoken", "agent-turn", "caller-turn", "recording-started",
        ]  # fmt: skip

    def test_tells_what_was_said_from_what_was_heard(self) -> None:
        turn = self.entry_of(11)
        assert (turn.kind, turn.turn, turn.words, turn.heard) == ("agent-turn", 2, sealed("it is ready since noon"), sealed("it i"))
        assert (turn.interrupted, turn.evidence) == (True, Evidence.FLUSH_BOUNDED)
        assert turn.latency is not None
        assert turn.spent is not None
        assert (turn.latency.on_wire_ms, turn.spent.output_tokens) == (12_000, 30)

    def test_tells_the_rule_that_chose_the_model_and_what_a_tool_answered(self) -> None:
        chosen, answer = self.entry_of(6), self.entry_of(10)
        assert (chosen.rule, chosen.logical, chosen.model) == ("short questions", "fast", "m-small")
        assert (answer.tool, answer.words, answer.failed) == ("order", sealed("ready"), False)

    def test_tells_what_came_late_as_what_it_is_and_late(self) -> None:
        (entry,) = CALL_TIMELINE.entries(told(CALL, LateFact.of("MZ0", 1, caller_turn(3)))[0])
        assert (entry.kind, entry.turn, entry.words) == ("late-caller-turn", 3, caller_turn(3).words)

    def test_names_the_consent_that_a_recording_rests_on_and_the_one_that_ended_it(self) -> None:
        assert self.entry_of(5).consent_version == 1
        assert self.entry_of(14).consent_version == 2

    def entry_of(self, index: int) -> TimelineEntry:
        (entry,) = CALL_TIMELINE.entries(told(CALL, *whole_call())[index])
        return entry


class TestLiveCalls:
    def test_show_a_call_from_the_ring_to_the_end(self) -> None:
        history = told(CALL, received(), answered(), STARTED, caller_turn(1))
        row = LIVE_CALLS.table.fold(history)
        assert row is not None
        assert (row.status, row.recording, row.turn, row.speaking, row.last_kind) == (
            CallStatus.IN_PROGRESS, Recording.ON, 1, "caller", "caller-turn",
        )  # fmt: skip
        assert LIVE_CALLS.table.fold(told(CALL, ended(), after=4), row) is None

    def test_do_not_show_a_call_whose_ring_nobody_saw(self) -> None:
        assert LIVE_CALLS.table.fold(told(CALL, answered())) is None
