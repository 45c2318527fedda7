"""Decides who answers a phone number. A number's stream is a reservation: one business holds it at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider
from events.numbers import NumberAssigned, NumberEvent, NumberHeld, NumberReleased, UnassignedNumberCalled
from events.sealing import Sealed

# A carrier repeats a webhook within seconds; further back a repeat is known by its command id alone.
_REMEMBERED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignNumber:
    """Have calls to the number answered by an agent. `number` is sealed under the business's own key.

    `at`: when it was asked for, by which another business's hold has ended or not; without it a hold stands.
    """

    organisation_id: str
    agent_id: str
    number: Sealed[str]
    at: datetime | None = None
    environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeNumber:
    """Have another agent answer, or in another environment; None leaves as it is. `number` as in AssignNumber."""

    organisation_id: str
    number: Sealed[str]
    agent_id: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldNumber:
    """Keep the number for the business from `at` until then. A longer hold renews a shorter one."""

    organisation_id: str
    at: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseNumber:
    """The business gives the number up."""

    organisation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteUnassignedCall:
    """Somebody rang the number, and nobody here owns it."""

    call_sid: str


NumberCommand: TypeAlias = AssignNumber | ChangeNumber | HoldNumber | ReleaseNumber | NoteUnassignedCall


class NumberTaken(CommandRefused):
    """One business holds a number at a time; which one is nobody else's concern."""

    code = "number-taken"

    def __init__(self) -> None:
        super().__init__("another organisation holds this number; it must release the number first, or let its hold run out")


class NumberNotHeld(CommandRefused):
    """A business releases only what it holds."""

    code = "number-not-held"

    def __init__(self) -> None:
        super().__init__("the organisation does not hold this number; check the number")


class NumberIsAssigned(CommandRefused):
    """A call to a number that somebody owns is for its agent."""

    code = "number-is-assigned"

    def __init__(self) -> None:
        super().__init__("the number has an agent by now; look it up again and let the agent answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Who holds the number, empty for nobody, and the last calls that found nobody. `until`: a hold's end, where no agent answers yet."""

    organisation_id: str = ""
    agent_id: str = ""
    until: datetime | None = None
    unanswered: tuple[str, ...] = ()
    environment: str = ""


def decide(command: NumberCommand, held: Assignment) -> Sequence[NumberEvent]:
    match command:
        case AssignNumber(organisation_id=organisation_id, agent_id=agent_id, number=number, at=at, environment=environment):
            _must_be_free_for(organisation_id, held, at)
            return _assigned(held, organisation_id, agent_id, number, environment)
        case ChangeNumber(organisation_id=organisation_id, number=number, agent_id=agent, environment=where):
            if held.organisation_id != organisation_id or not held.agent_id:
                raise NumberNotHeld
            agent_id, environment = held.agent_id if agent is None else agent, held.environment if where is None else where
            return _assigned(held, organisation_id, agent_id, number, environment)
        case HoldNumber(organisation_id=organisation_id, at=at, until=until):
            _must_be_free_for(organisation_id, held, at)
            ours = held.organisation_id == organisation_id
            if ours and (held.agent_id or (held.until is not None and until <= held.until)):
                return ()
            return (NumberHeld(organisation_id=organisation_id, until=until),)
        case ReleaseNumber(organisation_id=organisation_id):
            if not held.organisation_id or held.organisation_id != organisation_id:
                raise NumberNotHeld
            return (NumberReleased(organisation_id=organisation_id),)
        case NoteUnassignedCall(call_sid=call_sid):
            if call_sid in held.unanswered:
                return ()
            if held.agent_id:
                raise NumberIsAssigned
            return (UnassignedNumberCalled(call_sid=call_sid),)
        case _:
            assert_never(command)


def _assigned(
    held: Assignment, organisation_id: str, agent_id: str, number: Sealed[str], environment: str
) -> Sequence[NumberEvent]:  # fmt: skip
    if (held.organisation_id, held.agent_id, held.environment) == (organisation_id, agent_id, environment):
        return ()
    return (NumberAssigned(organisation_id=organisation_id, agent_id=agent_id, number=number, environment=environment),)


def _must_be_free_for(organisation_id: str, held: Assignment, at: datetime | None) -> None:
    run_out = held.until is not None and at is not None and held.until <= at
    if held.organisation_id not in ("", organisation_id) and not run_out:
        raise NumberTaken


def evolve(held: Assignment, fact: NumberEvent) -> Assignment:
    match fact:
        case NumberAssigned(organisation_id=organisation_id, agent_id=agent_id, environment=environment):
            return replace(held, organisation_id=organisation_id, agent_id=agent_id, until=None, environment=environment)
        case NumberHeld(organisation_id=organisation_id, until=until):
            return replace(held, organisation_id=organisation_id, agent_id="", until=until, environment="")
        case NumberReleased():
            return replace(held, organisation_id="", agent_id="", until=None, environment="")
        case UnassignedNumberCalled(call_sid=call_sid):
            return replace(held, unanswered=(*held.unanswered, call_sid)[-_REMEMBERED:])
        case _:
            assert_never(fact)


NUMBERS = Decider(room="numbers", category="numbers", initial=Assignment(), decide=decide, evolve=evolve)
