"""Who answers a phone number."""

from commands.numbers import (
    NUMBERS,
    AssignNumber,
    NoteUnassignedCall,
    NumberIsAssigned,
    NumberNotHeld,
    NumberTaken,
    ReleaseNumber,
)
from events.numbers import NumberAssigned, NumberReleased, UnassignedNumberCalled
from tests.given import given, sealed

ASSIGN = AssignNumber(organisation_id="AYB-1", agent_id="agt_1", number=sealed("+15550199"))
ASSIGNED = NumberAssigned(organisation_id="AYB-1", agent_id="agt_1", number=sealed("+15550199"))
RELEASED = NumberReleased(organisation_id="AYB-1")
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
