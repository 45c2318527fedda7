"""Why calls end: every reason there is, whose fault it is, and so whether the call is charged."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from events.calls.ending import EndedBy, Stage


class Fault(StrEnum):
    """Whose fault an end is. Nobody pays for what was ours or the carrier's."""

    NOBODY = "nobody"
    PLATFORM = "platform"
    CARRIER = "carrier"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A reason's meaning, who may end a call with it, and whose fault that is. `callback`: the caller is told that we call back."""

    means: str
    by: frozenset[EndedBy]
    fault: Fault = Fault.NOBODY
    callback: bool = False


def _end(means: str, *by: EndedBy, fault: Fault = Fault.NOBODY, callback: bool = False) -> End:
    return End(means=means, by=frozenset(by), fault=fault, callback=callback)


_CALLER, _AGENT, _OPERATOR, _PLATFORM, _CARRIER = EndedBy
_BROKE_ITS_PROTOCOL = "The carrier's stream broke its own protocol"

ENDS: Mapping[str, End] = {
    "goodbye": _end("The agent said goodbye and ended the call", _CALLER, _AGENT),
    "caller-hung-up": _end("The caller put the phone down", _CALLER),
    "hung-up-by-operator": _end("Somebody outside the call ordered its end", _OPERATOR),
    "transferred": _end("The caller was put through to a person", _AGENT, _OPERATOR),
    "silence": _end("Nobody spoke, also after a warning", _AGENT),
    "time-limit": _end("The call lasted as long as the agent's version allows", _PLATFORM),
    "cost-limit": _end("The call cost as much as the agent's version allows", _PLATFORM),
    "ended-elsewhere": _end("The call was ended outside the worker that held it", _PLATFORM),
    "recogniser-failed": _end("Nothing could be recognised any more", _PLATFORM, fault=Fault.PLATFORM, callback=True),
    "model-failed": _end("No model answered any more", _PLATFORM, fault=Fault.PLATFORM, callback=True),
    "voice-failed": _end("The agent had no voice any more", _PLATFORM, fault=Fault.PLATFORM, callback=True),
    "worker-lost": _end("The worker that held the call is gone, and nobody could go on with it", _PLATFORM, fault=Fault.PLATFORM),
    "worker-crashed": _end("A fault of ours ended the call", _PLATFORM, fault=Fault.PLATFORM),
    "worker-stopped": _end("The worker was stopped in the middle of the call", _PLATFORM, fault=Fault.PLATFORM),
    "media-never-started": _end("It rang, and no media stream came", _CARRIER, fault=Fault.CARRIER),
    "media-lost": _end("The media stream broke and did not come back", _CARRIER, fault=Fault.CARRIER),
    "carrier-reported-end": _end("Nobody saw the end; the carrier told of it", _CARRIER, fault=Fault.CARRIER),
    "binary-frame": _end(f"{_BROKE_ITS_PROTOCOL}: bytes instead of text", _CARRIER, fault=Fault.CARRIER),
    "malformed-frame": _end(f"{_BROKE_ITS_PROTOCOL}: a message that cannot be read", _CARRIER, fault=Fault.CARRIER),
    "unknown-event": _end(f"{_BROKE_ITS_PROTOCOL}: an event that it does not have", _CARRIER, fault=Fault.CARRIER),
    "foreign-stream": _end(f"{_BROKE_ITS_PROTOCOL}: another stream's message", _CARRIER, fault=Fault.CARRIER),
    "untimely-frame": _end(f"{_BROKE_ITS_PROTOCOL}: a message out of its order", _CARRIER, fault=Fault.CARRIER),
    "unsupported-format": _end(f"{_BROKE_ITS_PROTOCOL}: audio in another format", _CARRIER, fault=Fault.CARRIER),
    "oversized-frame": _end(f"{_BROKE_ITS_PROTOCOL}: a message that is too long", _CARRIER, fault=Fault.CARRIER),
    "flooded": _end(f"{_BROKE_ITS_PROTOCOL}: far more messages than a call has", _CARRIER, fault=Fault.CARRIER),
}


def is_billable(reason: str, stage: Stage, *, otherwise: bool) -> bool:
    """Whether a call that ended so is charged: never before it was answered, nor for a fault of ours or the carrier's.

    `otherwise`: what was said of a reason that is none of these, by an older program.
    """
    known = ENDS.get(reason)
    return (otherwise if known is None else known.fault is Fault.NOBODY) and stage is not Stage.RINGING


def promises_callback(reason: str, stage: Stage) -> bool:
    """Whether the last that the caller of such a call is told is that we call back."""
    return reason in ENDS and ENDS[reason].callback and stage is not Stage.RINGING


def table() -> str:
    """All of it in Markdown, for the API's page."""
    lines = [
        f"| `{reason}` | {end.means} | {', '.join(sorted(end.by))} | {end.fault.value} | {'yes' if end.fault is Fault.NOBODY else 'no'} |"
        for reason, end in ENDS.items()
    ]
    return "\n".join(["| reason | means | ended by | fault | charged |", "|---|---|---|---|---|", *lines])
