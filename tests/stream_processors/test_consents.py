"""Recordings halt when a person takes their consent back, in whatever order the two topics are read."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from commands.calls.deciding import CALLS
from commands.calls.orders import OrderRecordingStop
from events.calls.recording import RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.consents import ConsentGranted, ConsentRevoked, Purpose
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId
from stream_processors.consents import HALT_RECORDINGS
from stream_processors.manager import Due, States
from tests.projections.facts import CALLER_REF, answered, received, sealed
from tests.projections.told import AYB, told

CALLER = StreamId(AYB, "consents", CALLER_REF)
FIRST, SECOND = StreamId(AYB, "calls", "call_1"), StreamId(AYB, "calls", "call_2")
KEY = f"{AYB}/{CALLER_REF}"
GRANTED = ConsentGranted(subject=sealed("+1"), purpose=Purpose.RECORDING, evidence="call_1")
REVOKED = ConsentRevoked(purpose=Purpose.RECORDING, evidence="call_1")


def started(consent_version: int) -> RecordingStarted:
    return RecordingStarted(caller_ref=CALLER_REF, consent_version=consent_version, at_ms=7)


STOPPED = RecordingStopped(caller_ref=CALLER_REF, reason="consent-revoked", at_ms=9)


def due_after(*facts: Recorded[Fact]) -> Sequence[Due]:
    states = States(HALT_RECORDINGS)
    for fact in facts:
        states.take(fact)
    return states.due(KEY)


class TestHaltRecordings:
    def test_orders_every_call_that_records_to_stop(self) -> None:
        word = told(CALLER, GRANTED, REVOKED)
        due = due_after(*told(FIRST, started(1)), *told(SECOND, started(1)), *word)
        assert [each.stream for each in due] == [FIRST, SECOND]
        assert {each.command for each in due} == {OrderRecordingStop(reason="consent-revoked", revoked_version=2)}
        assert {each.cause.event_id for each in due} == {word[1].event_id}

    def test_orders_a_recording_that_is_seen_to_start_after_the_withdrawal(self) -> None:
        assert [each.stream for each in due_after(*told(CALLER, GRANTED, REVOKED), *told(FIRST, started(1)))] == [FIRST]

    def test_leaves_a_recording_alone_that_rests_on_a_newer_consent(self) -> None:
        assert due_after(*told(CALLER, GRANTED, REVOKED, GRANTED), *told(FIRST, started(3))) == []

    def test_leaves_a_recording_alone_that_has_stopped(self) -> None:
        assert due_after(*told(FIRST, started(1), STOPPED), *told(CALLER, GRANTED, REVOKED)) == []

    def test_does_not_mind_other_purposes_and_other_people(self) -> None:
        other = replace(REVOKED, purpose=Purpose.MARKETING_CALLS)
        stranger = told(StreamId(AYB, "consents", "d" * 32), GRANTED, REVOKED)
        assert due_after(*told(FIRST, started(1)), *told(CALLER, GRANTED, other), *stranger) == ()

    def test_has_the_same_command_id_whatever_was_seen_first(self) -> None:
        word, call = told(CALLER, GRANTED, REVOKED), told(FIRST, started(1))
        (one,), (two,) = due_after(*word, *call), due_after(*call, *word)
        assert one.command_id("halt-recordings") == two.command_id("halt-recordings")


@st.composite
def interleavings(draw: st.DrawFn, streams: Sequence[Sequence[Recorded[Fact]]]) -> list[Recorded[Fact]]:
    """The streams in any common order that keeps each one's own."""
    left = [list(stream) for stream in streams]
    merged = []
    while any(left):
        merged.append(draw(st.sampled_from([stream for stream in left if stream])).pop(0))
    return merged


class TestAnyOrderOfTopics:
    HISTORIES = (
        told(CALLER, GRANTED, REVOKED, GRANTED, REVOKED, GRANTED),
        told(FIRST, started(1), STOPPED, started(3)),
        told(SECOND, started(5)),
    )

    @given(interleavings(HISTORIES))
    def test_ends_with_the_same_state_and_the_same_orders(self, facts: list[Recorded[Fact]]) -> None:
        states = States(HALT_RECORDINGS)
        for fact in facts:
            states.take(fact)
        expected = States(HALT_RECORDINGS)
        for fact in (fact for stream in self.HISTORIES for fact in stream):
            expected.take(fact)
        assert states.state(KEY) == expected.state(KEY)
        assert {each.command_id("") for each in states.due(KEY)} == {each.command_id("") for each in expected.due(KEY)}
        assert [each.stream for each in states.due(KEY)] == [FIRST]

    @given(data=st.data())
    def test_leaves_no_call_recording_on_a_consent_that_was_withdrawn(self, data: st.DataObject) -> None:
        """With the calls' own decider in the loop: orders are decided, their facts come back, late as they like."""
        word = told(CALLER, GRANTED, REVOKED)
        calls: dict[StreamId, list[Any]] = {call: [received(), answered(), started(1)] for call in (FIRST, SECOND)}
        unread: list[list[Recorded[Fact]]] = [word, *(told(call, *facts) for call, facts in calls.items())]
        states, sent = States(HALT_RECORDINGS), set[bytes]()
        while any(unread):
            states.take(data.draw(st.sampled_from([stream for stream in unread if stream])).pop(0))
            for due in states.due(KEY):
                if (command_id := due.command_id("p")) in sent:
                    continue
                sent.add(command_id)
                unread[1 + list(calls).index(due.stream)] += obeyed(due, calls[due.stream])
        assert [self.records(facts) for facts in calls.values()] == [False, False]
        assert not states.due(KEY)

    @staticmethod
    def records(facts: Iterable[Any]) -> bool:
        state = CALLS.initial
        for fact in facts:
            state = CALLS.evolve(state, fact)
        return bool(state.recording)


def obeyed(due: Due, history: list[Any]) -> list[Recorded[Fact]]:
    """What the call's stream gets of an order: the decider's facts, and the worker's word that it stopped."""
    state = CALLS.initial
    for fact in history:
        state = CALLS.evolve(state, fact)
    facts = [*due.decider.decide(due.command, state)]
    assert [type(fact) for fact in facts] == [RecordingStopOrdered]
    facts.append(STOPPED)
    before = len(history)
    history += facts
    return told(due.stream, *facts, after=before)
