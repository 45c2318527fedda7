"""How a call ends, and what failed in it."""

from dataclasses import dataclass
from enum import StrEnum

from events.registry import event


class EndedBy(StrEnum):
    CALLER = "caller"
    AGENT = "agent"
    OPERATOR = "operator"
    PLATFORM = "platform"
    CARRIER = "carrier"


class Stage(StrEnum):
    """Where the call was when it ended."""

    RINGING = "ringing"
    CONNECTING = "connecting"
    GREETING = "greeting"
    CONVERSATION = "conversation"


@event("engine-failed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFailure:
    """A recogniser, model, voice or tool failed; the caller heard a sentence about it."""

    turn: int
    engine: str
    reason: str
    at_ms: int


@event("engine-switched", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSwitched:
    """An engine broke, hung or was slow, and another one took its place (or the same again, over a new stream); the call goes on.

    `kind` is what it does (`recogniser`, `model`, `voice`); `repeated_ms` how much of the caller's audio was given again,
    `repeated_characters` how much was said again.
    """

    turn: int
    kind: str
    engine: str
    instead_of: str
    reason: str
    at_ms: int
    repeated_ms: int = 0
    repeated_characters: int = 0


@event("facts-lost", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class FactsLost:
    """The log was away for so long that facts of this call had to be dropped; `count` says how many."""

    count: int


@event("call-ended", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """The call is over. `reason` is a code (`goodbye`, `caller-hung-up`, `malformed-frame`, …); seconds as they are billed.

    `callback_promised`: no engine was left, and the caller was told that we call back.
    """

    reason: str
    ended_by: EndedBy
    stage: Stage
    billable: bool
    duration_ms: int
    recognition_ms: int
    recording: str = ""
    callback_promised: bool = False
