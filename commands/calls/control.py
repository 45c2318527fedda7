"""Decides what may be ordered of a call from outside, and folds what the carrier tells of a leg, in whatever order it comes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from commands.calls.orders import NoteTransferLeg, OrderHangUp, OrderHold, OrderHoldEnd, OrderTransfer
from events.calls.control import (
    CallTransferred,
    HangUpOrdered,
    HoldBegan,
    HoldEnded,
    HoldEndOrdered,
    HoldOrdered,
    TransferFailed,
    TransferLegChanged,
    TransferOrdered,
)

Ordered: TypeAlias = OrderHangUp | OrderTransfer | OrderHold | OrderHoldEnd
ControlFact: TypeAlias = (
    HangUpOrdered
    | TransferOrdered
    | CallTransferred
    | TransferFailed
    | TransferLegChanged
    | HoldOrdered
    | HoldEndOrdered
    | HoldBegan
    | HoldEnded
)

LEG_IS_OVER = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
"""The carrier's states of a call that have no way back (twilio.com/docs/voice/api/call-resource)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The newest that is known of a leg."""

    status: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What was ordered and holds. `transfer` names the destination that is being tried, or was reached."""

    hang_up: bool = False
    transfer: str = ""
    held: bool = False
    legs: Mapping[str, Leg] = field(default_factory=dict)


def ordered(command: Ordered, control: Control) -> Sequence[ControlFact]:
    """What holds already is not ordered twice."""
    match command:
        case OrderHangUp(reason=reason):
            return () if control.hang_up else (HangUpOrdered(reason=reason),)
        case OrderTransfer(destination=destination, reason=reason):
            return () if control.transfer == destination else (TransferOrdered(destination=destination, reason=reason),)
        case OrderHold(reason=reason):
            return () if control.held else (HoldOrdered(reason=reason),)
        case OrderHoldEnd(reason=reason):
            return (HoldEndOrdered(reason=reason),) if control.held else ()
        case _:
            assert_never(command)


def leg_noted(command: NoteTransferLeg, control: Control) -> Sequence[TransferLegChanged]:
    """A leg goes forward alone: what is older than what is known, and what comes after its end, changes nothing."""
    known = control.legs.get(command.leg_sid)
    if known is not None and (known.status in LEG_IS_OVER or (command.sequence <= known.sequence and command.status not in LEG_IS_OVER)):
        return ()
    return (
        TransferLegChanged(
            leg_sid=command.leg_sid, status=command.status, sequence=command.sequence, duration_seconds=command.duration_seconds
        ),
    )


def evolve(control: Control, fact: ControlFact) -> Control:
    match fact:
        case HangUpOrdered():
            return replace(control, hang_up=True)
        case TransferOrdered(destination=destination) | CallTransferred(destination=destination):
            return replace(control, transfer=destination)
        case TransferFailed():
            return replace(control, transfer="")
        case TransferLegChanged(leg_sid=leg_sid, status=status, sequence=sequence):
            return replace(control, legs={**control.legs, leg_sid: Leg(status=status, sequence=sequence)})
        case HoldOrdered() | HoldBegan():
            return replace(control, held=True)
        case HoldEndOrdered() | HoldEnded():
            return replace(control, held=False)
        case _:
            assert_never(fact)
