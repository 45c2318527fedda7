"""Who answers a phone number."""

from datetime import UTC, datetime, timedelta

from commands.numbers import (
    NUMBERS,
    AssignNumber,
    HoldNumber,
    NoteUnassignedCall,
    NumberIsAssigned,
    NumberNotHeld,
    NumberTaken,
    ReleaseNumber,
)
from events.numbers import NumberAssigned, NumberHeld, NumberReleased, UnassignedNumberCalled
from tests.given import given, sealed

ASSIGN = AssignNumber(organisation_id="AYB-1", agent_id="agt_1", number=sealed("+15550199"))
ASSIGNED = NumberAssigned(organisation_id="AYB-1", agent_id="agt_1", number=sealed("+15550199"))
RELEASED = NumberReleased(organisation_id="AYB-1")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOLD = HoldNumber(organisation_id="AYB-1", at=NOON, until=NOON + HOUR)
HELD = NumberHeld(organisation_id="AYB-1", until=NOON + HOUR)
CALLED = UnassignedNumberCalled(call_sid="CA1")


class TestAssignNumber:
    def test_is_a_fact(self) -> None:
        given(NUMBERS).when(ASSIGN).then(ASSIGNED)

    def test_changes_nothing_when_the_agent_answers_it_already(self) -> None:
        given(NUMBERS, ASSIGNED).when(ASSIGN).then()

    def test_is_a_fact_again_for_another_agent_of_the_business(self) -> None:
        other = AssignNumber(organisation_id="AYB-1", agent_id="agt_2", number=sealed("+15550199"))
        given(NUMBERS, ASSIGNED).when(other).then(NumberAssigned(organisation_id="AYB-1", agent_id="agt_2", number=sealed("+15550199")))

    def test_is_refused_while_another_business_holds_it(self) -> None:
        other = AssignNumber(organisation_id="AYB-2", agent_id="agt_1", number=sealed("+15550199"))
        refusal = given(NUMBERS, ASSIGNED).when(other).then_refused(NumberTaken)
        assert "AYB-1" not in str(refusal)

    def test_is_open_to_another_business_after_the_release(self) -> None:
        other = AssignNumber(organisation_id="AYB-2", agent_id="agt_1", number=sealed("+15550199"))
        given(NUMBERS, ASSIGNED, RELEASED).when(other).then(
            NumberAssigned(organisation_id="AYB-2", agent_id="agt_1", number=sealed("+15550199"))
        )


class TestHoldNumber:
    def test_is_a_fact(self) -> None:
        given(NUMBERS).when(HOLD).then(HELD)

    def test_changes_nothing_when_the_number_is_held_as_long_already(self) -> None:
        given(NUMBERS, HELD).when(HOLD).then()
        given(NUMBERS, ASSIGNED).when(HOLD).then()

    def test_is_renewed_by_a_longer_one(self) -> None:
        longer = HoldNumber(organisation_id="AYB-1", at=NOON, until=NOON + 2 * HOUR)
        given(NUMBERS, HELD).when(longer).then(NumberHeld(organisation_id="AYB-1", until=NOON + 2 * HOUR))

    def test_keeps_other_businesses_away_until_it_has_run_out(self) -> None:
        late = HoldNumber(organisation_id="AYB-2", at=NOON + HOUR, until=NOON + 2 * HOUR)
        early = HoldNumber(organisation_id="AYB-2", at=NOON, until=NOON + 2 * HOUR)
        given(NUMBERS, HELD).when(early).then_refused(NumberTaken)
        given(NUMBERS, HELD).when(late).then(NumberHeld(organisation_id="AYB-2", until=NOON + 2 * HOUR))

    def test_is_taken_up_by_its_own_business_and_by_no_other_meanwhile(self) -> None:
        other = AssignNumber(organisation_id="AYB-2", agent_id="agt_2", number=sealed("+15550199"), at=NOON)
        later = AssignNumber(organisation_id="AYB-2", agent_id="agt_2", number=sealed("+15550199"), at=NOON + HOUR)
        given(NUMBERS, HELD).when(ASSIGN).then(ASSIGNED)
        given(NUMBERS, HELD).when(other).then_refused(NumberTaken)
        given(NUMBERS, HELD).when(later).then(NumberAssigned(organisation_id="AYB-2", agent_id="agt_2", number=sealed("+15550199")))

    def test_stands_for_whoever_does_not_say_when_they_ask(self) -> None:
        other = AssignNumber(organisation_id="AYB-2", agent_id="agt_2", number=sealed("+15550199"))
        given(NUMBERS, HELD).when(other).then_refused(NumberTaken)

    def test_ends_with_the_release(self) -> None:
        other = HoldNumber(organisation_id="AYB-2", at=NOON, until=NOON + HOUR)
        given(NUMBERS, HELD, RELEASED).when(other).then(NumberHeld(organisation_id="AYB-2", until=NOON + HOUR))

    def test_does_not_outlive_the_agent_that_answered(self) -> None:
        late = HoldNumber(organisation_id="AYB-2", at=NOON + 2 * HOUR, until=NOON + 3 * HOUR)
        given(NUMBERS, HELD, ASSIGNED).when(late).then_refused(NumberTaken)

    def test_leaves_calls_unanswered(self) -> None:
        given(NUMBERS, HELD).when(NoteUnassignedCall(call_sid="CA1")).then(CALLED)


class TestReleaseNumber:
    def test_is_a_fact(self) -> None:
        given(NUMBERS, ASSIGNED).when(ReleaseNumber(organisation_id="AYB-1")).then(RELEASED)

    def test_is_refused_when_nobody_holds_it(self) -> None:
        given(NUMBERS).when(ReleaseNumber(organisation_id="AYB-1")).then_refused(NumberNotHeld)
        given(NUMBERS, ASSIGNED, RELEASED).when(ReleaseNumber(organisation_id="AYB-1")).then_refused(NumberNotHeld)

    def test_is_refused_when_another_business_holds_it(self) -> None:
        given(NUMBERS, ASSIGNED).when(ReleaseNumber(organisation_id="AYB-2")).then_refused(NumberNotHeld)


class TestNoteUnassignedCall:
    def test_is_a_fact(self) -> None:
        given(NUMBERS).when(NoteUnassignedCall(call_sid="CA1")).then(CALLED)
        given(NUMBERS, ASSIGNED, RELEASED).when(NoteUnassignedCall(call_sid="CA1")).then(CALLED)

    def test_changes_nothing_when_the_webhook_repeats(self) -> None:
        given(NUMBERS, CALLED).when(NoteUnassignedCall(call_sid="CA1")).then()
        given(NUMBERS, CALLED, ASSIGNED).when(NoteUnassignedCall(call_sid="CA1")).then()

    def test_is_a_fact_for_each_call(self) -> None:
        given(NUMBERS, CALLED).when(NoteUnassignedCall(call_sid="CA2")).then(UnassignedNumberCalled(call_sid="CA2"))

    def test_is_refused_when_the_number_has_an_agent_by_now(self) -> None:
        given(NUMBERS, ASSIGNED).when(NoteUnassignedCall(call_sid="CA1")).then_refused(NumberIsAssigned)
