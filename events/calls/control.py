"""What people outside a call order it to do, and what became of it: hang up, put through, hold, keys of the telephone."""

from dataclasses import dataclass
from enum import StrEnum

from events.calls.ending import EndedBy
from events.registry import event
from events.sealing import Sealed


@event("hang-up-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HangUpOrdered:
    """Someone outside the call wants it ended."""

    reason: str


@event("transfer-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOrdered:
    """Someone outside the call wants the caller put through. `destination` is a name in the agent's configuration."""

    destination: str
    reason: str


@event("call-transferred", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallTransferred:
    """The carrier has the caller in its hands and dials `number`; what becomes of that leg is told by the leg's own facts."""

    destination: str
    number: Sealed[str]
    by: EndedBy
    at_ms: int


@event("transfer-failed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFailed:
    """The caller was not put through and stays with the agent. `reason` is a code."""

    destination: str
    reason: str
    at_ms: int


@event("transfer-leg-changed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLegChanged:
    """The leg to the person whom the caller was put through to. `status` is the carrier's word, `sequence` its number for it."""

    leg_sid: str
    status: str
    sequence: int
    duration_seconds: int | None = None


@event("hold-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOrdered:
    """Someone outside the call wants the caller to wait on the line."""

    reason: str


@event("hold-end-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEndOrdered:
    """Someone outside the call wants the agent to go on with the caller."""

    reason: str


@event("hold-began", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBegan:
    """The caller waits on the line: nobody answers what they say."""

    at_ms: int


@event("hold-ended", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEnded:
    """The agent goes on with the caller. `reason`: `ordered`, or `waited-long-enough`."""

    reason: str
    at_ms: int


@event("capture-began", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureBegan:
    """The agent asks for digits that nobody is to see: from here on keys are sealed. `label` is the agent's."""

    label: str
    at_ms: int


class CaptureOutcome(StrEnum):
    """How the keying-in of digits ended."""

    COMPLETE = "complete"
    """The terminator was pressed, or as many digits were there as were asked for."""
    TIMED_OUT = "timed-out"
    NOT_KEPT = "not-kept"
    """They were keyed in, and could not be put where a tool can fetch them."""
    ABORTED = "aborted"
    """The call lost its worker meanwhile, and the digits with it; how many there were is not known, and `count` is 0."""


@event("digits-captured", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsCaptured:
    """The caller keyed in `count` digits that nobody but one tool can fetch; which ones is said nowhere. `label` is the agent's."""

    label: str
    count: int
    outcome: CaptureOutcome
    started_ms: int
    ended_ms: int
