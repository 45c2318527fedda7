"""Sentences about what guests keep on our log."""

from hypothesis import given as drawn
from hypothesis import strategies as st

from commands.guests import (
    GUESTS,
    GuestProgressBackward,
    GuestVersionSkipped,
    GuestVersionTaken,
    Latest,
    NewGuestEvent,
    StoreGuestEvents,
)
from events.guests import GuestEvent, GuestEventStored, GuestProgressTracked
from tests.given import given


def new(originator: str, version: int) -> NewGuestEvent:
    return NewGuestEvent(originator=originator, named=True, version=version, topic="bank:Moved", state=b"{}")


def stored(number: int, originator: str, version: int) -> GuestEvent:
    return GuestEventStored(ordinal=number, originator=originator, named=True, version=version, topic="bank:Moved", state=b"{}")


def reached(notification: int) -> GuestProgressTracked:
    return GuestProgressTracked(application="Bank", notification=notification)


def store(*events: NewGuestEvent, tracked: GuestProgressTracked | None = None, dense: bool = True) -> StoreGuestEvents:
    return StoreGuestEvents(events=events, tracked=tracked, dense=dense)


class TestStoreGuestEvents:
    def test_numbers_them_in_one_order(self) -> None:
        given(GUESTS).when(store(new("ann", 0), new("bob", 1), new("ann", 1))).then(
            stored(1, "ann", 0), stored(2, "bob", 1), stored(3, "ann", 1)
        )
        given(GUESTS, stored(1, "ann", 0)).when(store(new("bob", 7))).then(stored(2, "bob", 7))

    def test_is_refused_when_a_version_is_taken(self) -> None:
        given(GUESTS, stored(1, "ann", 1)).when(store(new("bob", 1), new("ann", 1))).then_refused(GuestVersionTaken)
        given(GUESTS).when(store(new("ann", 1), new("ann", 1))).then_refused(GuestVersionTaken)

    def test_is_refused_when_it_would_leave_a_gap(self) -> None:
        given(GUESTS, stored(1, "ann", 1)).when(store(new("ann", 3))).then_refused(GuestVersionSkipped)

    def test_may_leave_gaps_among_snapshots(self) -> None:
        given(GUESTS, stored(1, "ann", 1)).when(store(new("ann", 3), dense=False)).then(stored(2, "ann", 3))
        given(GUESTS, stored(1, "ann", 3)).when(store(new("ann", 2), dense=False)).then_refused(GuestVersionTaken)

    def test_keeps_the_progress_with_what_followed_from_it(self) -> None:
        given(GUESTS, reached(1)).when(store(new("ann", 1), tracked=reached(3))).then(stored(1, "ann", 1), reached(3))

    def test_is_refused_when_its_cause_was_dealt_with(self) -> None:
        given(GUESTS, reached(3)).when(store(new("ann", 1), tracked=reached(3))).then_refused(GuestProgressBackward)
        given(GUESTS, reached(3)).when(store(tracked=reached(2))).then_refused(GuestProgressBackward)


class TestLatest:
    @drawn(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.integers(0, 9)), max_size=30))
    def test_leaves_every_state_as_it_was(self, changes: list[tuple[int, str, int]]) -> None:
        states: list[tuple[Latest, dict[str, int]]] = [(Latest(), {})]
        for at, name, number in changes:
            before, plain = states[at % len(states)]
            states.append((before.set(name, number), plain | {name: number}))
        for state, plain in [*states, *reversed(states)]:
            assert {name: state.get(name) for name in "abc"} == {name: plain.get(name) for name in "abc"}

    def test_keeps_nothing_of_a_state_that_nobody_holds(self) -> None:
        first = Latest().set("a", 1)
        assert Latest() == Latest()
        assert first.set("a", 2).get("a") == 2
        assert (first.get("a"), Latest().get("a")) == (1, None)
