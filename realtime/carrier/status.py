"""What the carrier tells of a call and of the leg a caller was put through to: in any order, repeated, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from commands.calls.control import LEG_IS_OVER
from commands.calls.orders import NoteTransferLeg

# The document after a `<Dial>` is asked for when the leg is over, and says so itself: it comes after every callback of the leg.
_AFTER_ALL: Final = 1_000_000
# What `DialCallStatus` calls a leg that was answered and is over.
_ANSWERED: Final = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOverTold:
    """The carrier's call is over, by its own word."""

    call_sid: str
    status: str


def over_in(fields: Mapping[str, str]) -> CallOverTold | None:
    """The end that a status callback tells of, if it is one."""
    call_sid, status = fields.get("CallSid", ""), fields.get("CallStatus", "")
    return CallOverTold(call_sid=call_sid, status=status) if status in LEG_IS_OVER else None


def leg_in(fields: Mapping[str, str]) -> NoteTransferLeg | None:
    """What a callback, or the question for the document after a `<Dial>`, tells of the leg; None where it tells nothing.

    The question makes up for every callback of the leg that did not come.
    """
    if (status := fields.get("DialCallStatus", "")) and (leg_sid := fields.get("DialCallSid", "")):
        ended = "completed" if status == _ANSWERED else status
        return NoteTransferLeg(leg_sid=leg_sid, status=ended, sequence=_AFTER_ALL, duration_seconds=_number(fields.get("DialCallDuration")))
    leg_sid, status, sequence = fields.get("CallSid", ""), fields.get("CallStatus", ""), _number(fields.get("SequenceNumber"))
    if not leg_sid or not status or sequence is None or "ParentCallSid" not in fields:
        return None
    return NoteTransferLeg(leg_sid=leg_sid, status=status, sequence=sequence, duration_seconds=_number(fields.get("CallDuration")))


def was_answered(fields: Mapping[str, str]) -> bool:
    """Whether the two have talked, when the carrier asks what follows the leg."""
    return fields.get("DialCallStatus") in ("completed", _ANSWERED)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else None
