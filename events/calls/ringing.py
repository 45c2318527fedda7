"""A call from its ring to its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from events.registry import event
from events.sealing import Sealed


@event("call-sid-reserved", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallSidReserved:
    """The carrier's name for a call belongs to this call of ours; a repeated webhook finds it here."""

    call_id: str
    organisation_id: str


@event("call-received", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallReceived:
    """A caller rang a number of the business. `caller_ref` and `number_ref` are keyed hashes, for look-ups.

    `environment`: the number's, in which the version was looked up; empty: the live one answers.
    """

    call_sid: str
    caller: Sealed[str]
    caller_ref: str
    number: Sealed[str]
    number_ref: str
    agent_id: str
    agent_version: str
    agent_version_hash: str
    flags: Mapping[str, str] = field(default_factory=dict)
    environment: str = ""


@event("call-answered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswered:
    """The media stream started: call time 0."""

    stream_sid: str
    worker: str
    recogniser: str
    model_provider: str
    voice: str
    embedded: bool


@event("call-left", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallLeft:
    """The worker let go of a call that goes on: its media stream broke, or it was told to stop. Another is to take it up."""

    reason: str
    at_ms: int


@event("call-resumed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallResumed:
    """Another media stream has the call from here; call time goes on. `attempt` counts from 1, `cause` is why the last one lost it."""

    stream_sid: str
    worker: str
    recogniser: str
    model_provider: str
    voice: str
    embedded: bool
    attempt: int
    at_ms: int
    cause: str
