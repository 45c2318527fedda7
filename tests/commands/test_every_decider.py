"""What holds for every decider, whatever commands come in whatever order."""

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.calls.deciding import Phase
from commands.calls.orders import AnswerCall, CallCommand, OrderRecordingStop, ReceiveCall, StartRecording, Witness, WitnessLate
from commands.decider import CommandRefused, Decider
from commands.operations import BeginOperation, NoteProgress
from commands.rooms import DECIDERS
from events.calls.control import TransferLegChanged
from events.calls.ending import CallEnded, FactsLost
from events.calls.late import LateFact
from events.calls.recording import RecordingListened, RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallReceived
from events.registry import Fact, type_of
from events.rooms import ROOMS
from tests.instances import FEW, Strategy, any_of, instances

CONFIGURATIONS = [json.dumps({"name": name, "version": "1", "system_prompt": "Help.", "greeting": "Hello."}) for name in ("Ann", "Bob")]
CALLER = st.just("c1")
# Fields that would seldom meet by chance, by category.
NAMED: Mapping[str, Mapping[str, Strategy]] = {
    "agents": {"configuration": st.sampled_from([*CONFIGURATIONS, "{}"])},
    "calls": {"caller_ref": CALLER, "call_sid": st.sampled_from(["CA1", "CA1", "CA2"])},
}

# Categories in which the same words mean something new each time, as a payment does.
ANEW: frozenset[str] = frozenset()


def commands_of(category: str) -> Strategy:
    """Any command that a decider takes, as the type of its `decide` says."""
    return any_of(typing.get_type_hints(DECIDERS[category].decide)["command"], FEW, **NAMED.get(category, {}))


COMMANDS = {category: commands_of(category) for category in DECIDERS}


def history(decider: Decider[Any, Any, Any], commands: Sequence[Any]) -> tuple[list[Fact], Any]:
    """The facts that the commands bring about, one after the other, and the state in which they leave the stream."""
    facts: list[Fact] = []
    state = decider.initial
    for command in commands:
        try:
            decided = decider.decide(command, state)
        except CommandRefused:
            continue
        for fact in decided:
            state = decider.evolve(state, fact)
        facts += decided
    return facts, state


def test_every_room_decides() -> None:
    assert {decider.room for decider in DECIDERS.values()} == set(ROOMS)
    assert all(decider.category == category for category, decider in DECIDERS.items())


@pytest.mark.parametrize("category", sorted(COMMANDS))
class TestDecider:
    @given(data=st.data())
    def test_evolves_through_whatever_it_decided(self, category: str, data: st.DataObject) -> None:
        decider = DECIDERS[category]
        facts, _ = history(decider, data.draw(st.lists(COMMANDS[category], max_size=30)))
        assert all(type_of(fact).room == decider.room for fact in facts)

    @given(data=st.data())
    def test_changes_nothing_or_refuses_when_a_command_comes_twice(self, category: str, data: st.DataObject) -> None:
        commands = data.draw(st.lists(COMMANDS[category], min_size=1, max_size=20))
        once, twice = (history(DECIDERS[category], [*commands, *again]) for again in ([], commands[-1:]))
        # Two losses of as many facts are two losses; every beginning of long work is an attempt of its own, and tells its own progress.
        lost_again = isinstance(commands[-1], Witness) and isinstance(commands[-1].fact, FactsLost)
        works_again = isinstance(commands[-1], BeginOperation | NoteProgress)
        assert twice == once or lost_again or works_again or category in ANEW


@st.composite
def lives(draw: st.DrawFn) -> list[CallCommand]:
    """Commands to a call that was answered, and ends late; a chance in any order would seldom come that far."""
    begun = [draw(instances(ReceiveCall, FEW, caller_ref=CALLER)), draw(instances(AnswerCall, FEW))]
    recording = any_of(StartRecording | OrderRecordingStop | Witness | WitnessLate, FEW, caller_ref=CALLER)
    return [*begun, *draw(st.lists(recording, min_size=5, max_size=20)), *draw(st.lists(COMMANDS["calls"], max_size=20))]


class TestCall:
    @settings(max_examples=300)
    @given(lives() | st.lists(COMMANDS["calls"], max_size=20))
    def test_is_received_first_answered_once_and_ends_last_but_for_what_comes_late(self, commands: list[CallCommand]) -> None:
        facts, state = history(DECIDERS["calls"], commands)
        assert not isinstance(next(iter(facts), None), LateFact)
        # What is told of a call after it may come after its end: late facts, another leg's, and that someone listened.
        kinds = [type(fact) for fact in facts if not isinstance(fact, LateFact | TransferLegChanged | RecordingListened)]
        assert kinds[:1] in ([], [CallReceived])
        assert kinds.count(CallReceived) <= 1
        assert kinds.count(CallAnswered) <= 1
        assert CallEnded not in kinds[:-1]
        assert (CallEnded in kinds) == (state.phase is Phase.ENDED)

    @settings(max_examples=300)
    @given(lives() | st.lists(COMMANDS["calls"], max_size=20))
    def test_stands_as_if_nothing_had_come_late(self, commands: list[CallCommand]) -> None:
        calls = DECIDERS["calls"]
        facts, state = history(calls, commands)
        in_time = reduce(calls.evolve, (fact for fact in facts if not isinstance(fact, LateFact)), calls.initial)
        assert replace(state, late=()) == in_time

    @settings(max_examples=300)
    @given(lives() | st.lists(COMMANDS["calls"], max_size=20), instances(WitnessLate, FEW))
    def test_takes_what_comes_late_as_nothing_but_that(self, commands: list[CallCommand], late: WitnessLate) -> None:
        calls = DECIDERS["calls"]
        _, call = history(calls, commands)
        if call.phase is Phase.UNKNOWN:
            return
        brought = [type(fact) for fact in calls.decide(late, call)]
        # Only an end is more, and only where no other stream has the call.
        mine = isinstance(late.fact, CallEnded) and call.stream_sid in ("", late.incarnation)
        assert brought[:1] in ([], [LateFact])
        assert len(brought) <= 1 or (mine and brought[-1] is CallEnded)

    @settings(max_examples=300)
    @given(lives() | st.lists(COMMANDS["calls"], max_size=20))
    def test_records_only_on_a_consent_that_no_stop_named(self, commands: list[CallCommand]) -> None:
        recording, barred = False, 0
        for fact in history(DECIDERS["calls"], commands)[0]:
            match fact:
                case RecordingStarted(consent_version=version):
                    assert not recording
                    assert version > barred
                    recording = True
                case RecordingStopped():
                    assert recording
                    recording = False
                case RecordingStopOrdered(revoked_version=version):
                    barred = max(barred, version)
                case CallEnded():
                    assert not recording
                case _:
                    pass
