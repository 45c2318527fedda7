"""Facts about a phone call, from the ring to the end. Times in `_ms` count from the moment the media stream started."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from events.registry import event, type_of
from events.sealing import Sealed


class Evidence(StrEnum):
    """How we know what was heard."""

    PLAYED = "played"
    """Every mark came back when its audio had played."""
    FLUSH_BOUNDED = "flush-bounded"
    """Cut between two marks, at a sentence whose length in audio is known exactly."""
    ESTIMATED = "estimated"
    """Cut inside a sentence: words by its audio's share and the clock."""


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


@event("call-sid-reserved", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallSidReserved:
    """The carrier's name for a call belongs to this call of ours; a repeated webhook finds it here."""

    call_id: str
    organisation_id: str


@event("call-received", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallReceived:
    """A caller rang a number of the business. `caller_ref` and `number_ref` are keyed hashes, for look-ups."""

    call_sid: str
    caller: Sealed[str]
    caller_ref: str
    number: Sealed[str]
    number_ref: str
    agent_id: str
    agent_version: str
    agent_version_hash: str
    flags: Mapping[str, str] = field(default_factory=dict)


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


@event("disclosure-spoken", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureSpoken:
    """The caller heard, whole, that an AI is speaking. `attempt` counts from 1; earlier ones were interrupted."""

    started_ms: int
    heard_ms: int
    evidence: Evidence
    attempt: int


@event("caller-turn", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallerTurn:
    """The caller said something and gave the floor. Turns count from 1 over both sides' exchanges."""

    turn: int
    words: Sealed[str]
    started_ms: int
    ended_ms: int
    recognised_ms: int
    confidence: float


@event("model-chosen", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChosen:
    """Which model answers a turn, and the rule of the ordered list that said so."""

    turn: int
    rule: str
    logical: str
    model: str


@event("tool-requested", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequested:
    """The model asked for a tool; on the log before a non-idempotent tool is run."""

    turn: int
    tool_use_id: str
    tool: str
    arguments: Sealed[str]
    idempotent: bool
    at_ms: int
    filler: Sealed[str] | None = None


@event("tool-answered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswered:
    """The tool's answer, as the model was told it."""

    turn: int
    tool_use_id: str
    tool: str
    answer: Sealed[str]
    failed: bool
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The stages of one answer, call time in ms; a stage that did not happen is None.

    `speech_ended` is the caller's last speech, `turn_decided` the decision that the turn is over, `first_token` the model's,
    `first_byte` the voice's, `on_wire` our first frame to the carrier.
    """

    speech_ended_ms: int | None = None
    turn_decided_ms: int | None = None
    recognised_ms: int | None = None
    first_token_ms: int | None = None
    first_byte_ms: int | None = None
    on_wire_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What an answer used: tokens as the provider counted them, characters given to the voice."""

    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    characters: int = 0
    estimated: bool = False


@event("agent-turn", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTurn:
    """What the agent said and what of it was heard. `turn` is that of the caller's words it answers; 0 is the greeting."""

    turn: int
    said: Sealed[str]
    heard: Sealed[str]
    evidence: Evidence
    interrupted: bool
    started_ms: int | None
    ended_ms: int | None
    latency: Latency
    spent: Spent


@event("agent-interrupted", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInterrupted:
    """The caller spoke over the agent, who stopped. `speech_started_ms` is the caller's, `cleared_ms` our stop."""

    turn: int
    speech_started_ms: int
    cleared_ms: int


@event("recording-started", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStarted:
    """Both sides are kept from here. `consent_version` is the version of the consents stream that allows it."""

    caller_ref: str
    consent_version: int
    at_ms: int


@event("recording-stopped", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStopped:
    """Nothing is kept from here."""

    caller_ref: str
    reason: str
    at_ms: int


@event("recording-stop-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStopOrdered:
    """Someone outside the call wants the recording stopped; the worker obeys, and says when it did.

    `revoked_version` is the version of the consents stream at which the consent was withdrawn: no recording may rest on
    that version or an older one any more. 0: no consent was withdrawn.
    """

    reason: str
    revoked_version: int = 0


@event("hang-up-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HangUpOrdered:
    """Someone outside the call wants it ended."""

    reason: str


@event("engine-failed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFailure:
    """A recogniser, model, voice or tool failed; the caller heard a sentence about it."""

    turn: int
    engine: str
    reason: str
    at_ms: int


@event("facts-lost", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class FactsLost:
    """The log was away for so long that facts of this call had to be dropped; `count` says how many."""

    count: int


@event("call-ended", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """The call is over. `reason` is a code (`goodbye`, `caller-hung-up`, `malformed-frame`, …); seconds as they are billed."""

    reason: str
    ended_by: EndedBy
    stage: Stage
    billable: bool
    duration_ms: int
    recognition_ms: int
    recording: str = ""


@event("late-fact", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class LateFact:
    """What a worker witnessed that had lost the log, or the call, by the time it could be told: one of the fields after `sequence`.

    It is kept for the record and decides nothing: what the call is, and whether it is recorded, is as the other facts say.
    `incarnation` is the media stream over which it was witnessed, `sequence` counts what was told of that stream.
    """

    incarnation: str
    sequence: int
    call_answered: CallAnswered | None = None
    disclosure_spoken: DisclosureSpoken | None = None
    caller_turn: CallerTurn | None = None
    model_chosen: ModelChosen | None = None
    tool_requested: ToolRequested | None = None
    tool_answered: ToolAnswered | None = None
    agent_turn: AgentTurn | None = None
    agent_interrupted: AgentInterrupted | None = None
    recording_stopped: RecordingStopped | None = None
    engine_failed: EngineFailure | None = None
    facts_lost: FactsLost | None = None
    call_ended: CallEnded | None = None

    @classmethod
    def of(cls, incarnation: str, sequence: int, fact: Any) -> "LateFact":
        """The field that holds a fact has its permanent name."""
        return cls(incarnation=incarnation, sequence=sequence, **{type_of(fact).name.replace("-", "_"): fact})

    @property
    def name(self) -> str:
        return f"{self.incarnation}/{self.sequence}"

    @property
    def fact(self) -> Any:
        """What was witnessed; None where a newer program wrote a kind that this one does not know."""
        return next((held for each in fields(self)[2:] if (held := getattr(self, each.name)) is not None), None)


CallEvent = (
    CallSidReserved
    | CallReceived
    | CallAnswered
    | DisclosureSpoken
    | CallerTurn
    | ModelChosen
    | ToolRequested
    | ToolAnswered
    | AgentTurn
    | AgentInterrupted
    | RecordingStarted
    | RecordingStopped
    | RecordingStopOrdered
    | HangUpOrdered
    | EngineFailure
    | FactsLost
    | LateFact
    | CallEnded
)
