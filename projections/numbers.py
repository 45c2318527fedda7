"""Which agent answers a phone number. A number that no agent answers has no row."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from events.numbers import NumberAssigned, NumberEvent, NumberHeld, NumberReleased, UnassignedNumberCalled
from events.recorded import Recorded
from events.sealing import Sealed
from projections.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number and who holds it. Its stream is the platform's; `organisation_id` says whose row it is."""

    tenant: str
    id: str
    version: int
    organisation_id: str
    agent_id: str
    number: Sealed[str]
    assigned_at: datetime
    environment: str = ""


def evolve(row: Number | None, recorded: Recorded[NumberEvent]) -> Number | None:
    match recorded.fact:
        case NumberAssigned(organisation_id=organisation_id, agent_id=agent_id, number=number, environment=environment):
            stream = recorded.stream
            return Number(
                tenant=stream.tenant, id=stream.id, version=recorded.version, organisation_id=organisation_id, agent_id=agent_id,
                number=number, assigned_at=recorded.occurred_at, environment=environment,
            )  # fmt: skip
        case NumberHeld() | NumberReleased():
            # A hold that has run out is anybody's, and a row knows no clock: what is held and answered by nobody has no row.
            return None
        case UnassignedNumberCalled():
            return row
        case _:
            assert_never(recorded.fact)


NUMBERS = Table(name="numbers", version=2, room="numbers", category="numbers", row=Number, evolve=evolve)
