"""What a call can be asked to do, or is told that happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from events.calls.control import CallTransferred, CaptureBegan, DigitsCaptured, HoldBegan, HoldEnded, TransferFailed
from events.calls.ending import CallEnded, EndedBy, EngineFailure, EngineSwitched, FactsLost, Stage
from events.calls.languages import LanguageChanged, VoiceChanged
from events.calls.recording import RecordingKept, RecordingStopped
from events.calls.ringing import CallAnswered, CallLeft, CallResumed
from events.calls.signals import SignalsKept
from events.calls.talking import AgentHeard, AgentInterrupted, AgentTurn, CallerTurn, DisclosureSpoken, InterruptionDismissed
from events.calls.thinking import (
    AnswerAccounted,
    AnswerSpeculated,
    ContextFolded,
    GuardrailApplied,
    ModelChosen,
    ToolAnswered,
    ToolRequested,
)
from events.sealing import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveCallSid:
    """The carrier's call is to be this call of ours."""

    call_id: str
    organisation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindCallSid:
    """Which call of ours is the carrier's? Refused either way: by the reservation, or because there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveCall:
    """The carrier says that a caller rings. A repeat of the same CallSid changes nothing."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCall:
    """The media stream started at a worker."""

    stream_sid: str
    worker: str
    recogniser: str
    model_provider: str
    voice: str
    embedded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AskToResume:
    """Somebody wants to go on with the call: whether there is one to go on with. The answer is of the moment that its position names.

    `anyhow`: also with one that has lost its worker too often, to end it with a sentence.
    """

    anyhow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeCall:
    """Another media stream started at a worker that knows the call's facts, and takes it over from stream `after`."""

    after: str
    stream_sid: str
    worker: str
    recogniser: str
    model_provider: str
    voice: str
    embedded: bool
    at_ms: int
    cause: str


Witnessed: TypeAlias = (
    DisclosureSpoken | CallerTurn | ModelChosen | ToolRequested | ToolAnswered | AgentTurn | AgentHeard
    | AgentInterrupted | InterruptionDismissed | EngineFailure | EngineSwitched | FactsLost | RecordingStopped | SignalsKept | RecordingKept
    | CallTransferred | TransferFailed | HoldBegan | HoldEnded | CaptureBegan | DigitsCaptured
    | AnswerSpeculated | AnswerAccounted | GuardrailApplied | ContextFolded | CallLeft | LanguageChanged | VoiceChanged
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The worker saw it happen; there is nothing to decide but whether the call was under way.

    `stream_sid`: the media stream over which it was witnessed; empty where that is not known.
    """

    fact: Witnessed
    stream_sid: str = ""


WitnessedLate: TypeAlias = Witnessed | CallAnswered | CallResumed | CallEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessLate:
    """The worker saw it happen, and could not tell it in time. It is never refused, and decides nothing."""

    incarnation: str
    sequence: int
    fact: WitnessedLate


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecording:
    """Keep both sides from now on. `consent_version`: of the caller's consents stream, at which recording was allowed."""

    caller_ref: str
    consent_version: int
    at_ms: int
    stream_sid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecordingStop:
    """Stop what is kept. `revoked_version`: of the caller's consents stream, at which the consent was withdrawn.

    It holds against every later start that rests on that version or an older one. 0: only stop what records now.
    """

    reason: str
    revoked_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHangUp:
    """Have the worker end the call."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTransfer:
    """Have the worker put the caller through. `destination` is a name in the agent's configuration."""

    destination: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHold:
    """Have the worker keep the caller waiting on the line."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHoldEnd:
    """Have the agent go on with a caller who waits."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteTransferLeg:
    """The carrier tells of the leg to the person whom the caller was put through to: in any order, repeated, or not at all."""

    leg_sid: str
    status: str
    sequence: int
    duration_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteListening:
    """Someone is about to listen to what is kept of the call. `listening` names this act of it: a repeat is no second one."""

    listening: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCall:
    """The call is over; the first end counts. What still records stops with it."""

    reason: str
    ended_by: EndedBy
    stage: Stage
    billable: bool
    duration_ms: int
    recognition_ms: int
    recording: str = ""
    stream_sid: str = ""


CallCommand: TypeAlias = (
    ReceiveCall | AnswerCall | AskToResume | ResumeCall | Witness | WitnessLate | StartRecording | OrderRecordingStop | OrderHangUp
    | OrderTransfer | OrderHold | OrderHoldEnd | NoteTransferLeg | NoteListening | EndCall
)  # fmt: skip
