"""Facts about phone numbers: who answers them. A number's stream is a reservation: one business holds it at a time."""

from dataclasses import dataclass
from datetime import datetime

from events.registry import event
from events.sealing import Sealed


@event("number-assigned", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class NumberAssigned:
    """Calls to the number are answered by an agent. `number` is sealed under the business's own key.

    `environment`: where it is looked up which version answers; empty: the live one.
    """

    organisation_id: str
    agent_id: str
    number: Sealed[str]
    environment: str = ""


@event("number-held", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class NumberHeld:
    """A business keeps the number for itself until then, before any agent answers it; no other business may take it meanwhile."""

    organisation_id: str
    until: datetime


@event("number-released", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class NumberReleased:
    """The business gave the number up; another may take it."""

    organisation_id: str


@event("number-called-unassigned", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class UnassignedNumberCalled:
    """Somebody rang a number that nobody owns here; a spoken refusal was given."""

    call_sid: str


NumberEvent = NumberAssigned | NumberHeld | NumberReleased | UnassignedNumberCalled
