"""Calls: each as it stands or ended, its timeline fact by fact, and those in progress now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, assert_never

from events.calls.control import (
    CallTransferred,
    CaptureBegan,
    DigitsCaptured,
    HangUpOrdered,
    HoldBegan,
    HoldEnded,
    HoldEndOrdered,
    HoldOrdered,
    TransferFailed,
    TransferLegChanged,
    TransferOrdered,
)
from events.calls.ending import CallEnded, EndedBy, EngineFailure, EngineSwitched, FactsLost, Stage
from events.calls.every import CallEvent
from events.calls.languages import LanguageChanged, VoiceChanged
from events.calls.late import LateFact
from events.calls.recording import RecordingKept, RecordingListened, RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallLeft, CallReceived, CallResumed, CallSidReserved
from events.calls.signals import SignalsKept
from events.calls.talking import (
    AgentHeard,
    AgentInterrupted,
    AgentTurn,
    CallerTurn,
    DisclosureSpoken,
    Evidence,
    InterruptionDismissed,
    Latency,
    Spent,
)
from events.calls.thinking import (
    AnswerAccounted,
    AnswerSpeculated,
    ContextFolded,
    GuardrailApplied,
    ModelChosen,
    ToolAnswered,
    ToolRequested,
)
from events.recorded import Recorded
from events.registry import type_of
from events.sealing import Sealed
from projections.call_details import details
from projections.live import Live
from projections.replacing import replaced
from projections.series import Series
from projections.table import BrokenHistory, Table

# No call is longer than the carrier's limit for one, four hours.
_LIFETIME_SECONDS = 4 * 3600


class CallStatus(StrEnum):
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    ENDED = "ended"


class Recording(StrEnum):
    """Whether the call is kept. `STOPPING`: a stop was ordered, the worker has not said yet that it obeyed."""

    NEVER = "never"
    ON = "on"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call. `caller` and `number` stay sealed; `caller_ref` and `number_ref` are their keyed hashes.

    `disclosed_ms` is call time when the caller had heard, whole, that an AI speaks. `turns` counts what the caller said,
    `consent_version` is that on which the last recording rests, `recording_object` where it lies.
    """

    tenant: str
    id: str
    version: int
    status: CallStatus
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
    received_at: datetime
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None
    stream_sid: str | None = None
    recogniser: str | None = None
    model_provider: str | None = None
    voice: str | None = None
    embedded: bool | None = None
    disclosed_ms: int | None = None
    disclosures: int = 0
    recording: Recording = Recording.NEVER
    consent_version: int | None = None
    recording_object: str | None = None
    turns: int = 0
    interruptions: int = 0
    failures: int = 0
    facts_lost: int = 0
    end_reason: str | None = None
    ended_by: EndedBy | None = None
    stage: Stage | None = None
    billable: bool | None = None
    duration_ms: int | None = None
    recognition_ms: int | None = None
    callback_promised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One fact of a call as a person wants to see it. `kind` is the fact's permanent name, after `late-` where it was told
    too late to decide anything; what a kind does not have is None.

    `words` are what the caller said, the agent generated, the tool was asked or answered; `heard` what the caller heard of them.
    `at_ms` and `ended_ms` are call time.
    """

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    kind: str
    actor: str
    position: str
    turn: int | None = None
    at_ms: int | None = None
    ended_ms: int | None = None
    words: Sealed[str] | None = None
    heard: Sealed[str] | None = None
    evidence: Evidence | None = None
    interrupted: bool | None = None
    attempt: int | None = None
    confidence: float | None = None
    recognised_ms: int | None = None
    latency: Latency | None = None
    spent: Spent | None = None
    rule: str | None = None
    logical: str | None = None
    model: str | None = None
    tool: str | None = None
    tool_use_id: str | None = None
    idempotent: bool | None = None
    failed: bool | None = None
    filler: Sealed[str] | None = None
    engine: str | None = None
    consent_version: int | None = None
    reason: str | None = None
    ended_by: EndedBy | None = None
    stage: Stage | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCall:
    """A call in progress. `speaking` is who had the floor last, by the last fact of a turn; `last_at` when anything happened last."""

    tenant: str
    id: str
    version: int
    status: CallStatus
    caller_ref: str
    number_ref: str
    agent_id: str
    agent_version: str
    received_at: datetime
    answered_at: datetime | None = None
    worker: str | None = None
    recording: Recording = Recording.NEVER
    turn: int = 0
    speaking: str | None = None
    last_kind: str
    last_at: datetime


def evolve(row: Call | None, recorded: Recorded[CallEvent]) -> Call | None:
    fact, at = recorded.fact, recorded.occurred_at
    if isinstance(fact, CallReceived):
        return Call(
            tenant=recorded.stream.tenant, id=recorded.stream.id, version=recorded.version, status=CallStatus.RINGING,
            call_sid=fact.call_sid, caller=fact.caller, caller_ref=fact.caller_ref, number=fact.number, number_ref=fact.number_ref,
            agent_id=fact.agent_id, agent_version=fact.agent_version, agent_version_hash=fact.agent_version_hash,
            flags=dict(fact.flags), environment=fact.environment, received_at=at,
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{recorded.stream} has facts before it rang")
    match fact:
        case CallAnswered(stream_sid=sid, worker=worker, recogniser=ears, model_provider=mind, voice=voice, embedded=embedded):
            return replaced(row, status=CallStatus.IN_PROGRESS, answered_at=at, stream_sid=sid, worker=worker, recogniser=ears,
                           model_provider=mind, voice=voice, embedded=embedded)  # fmt: skip
        case CallResumed(stream_sid=sid, worker=worker):
            return replaced(row, stream_sid=sid, worker=worker)
        case DisclosureSpoken(heard_ms=heard_ms, attempt=attempt):
            return replaced(row, disclosed_ms=heard_ms if row.disclosed_ms is None else row.disclosed_ms, disclosures=attempt)
        case CallerTurn():
            return replaced(row, turns=row.turns + 1)
        case AgentInterrupted():
            return replaced(row, interruptions=row.interruptions + 1)
        case RecordingStarted(consent_version=version):
            return replaced(row, recording=Recording.ON, consent_version=version)
        case RecordingStopOrdered() | RecordingStopped():
            return replaced(row, recording=_recording(row.recording, fact))
        case EngineFailure():
            return replaced(row, failures=row.failures + 1)
        case FactsLost(count=count):
            return replaced(row, facts_lost=row.facts_lost + count)
        case CallEnded():
            return replaced(row, status=CallStatus.ENDED, ended_at=at, end_reason=fact.reason, ended_by=fact.ended_by, stage=fact.stage,
                           billable=fact.billable, duration_ms=fact.duration_ms, recognition_ms=fact.recognition_ms,
                           recording_object=fact.recording or row.recording_object, callback_promised=fact.callback_promised)  # fmt: skip
        case LateFact(fact=late):
            return _evolve_late(row, late)
        case AnswerSpeculated() | AnswerAccounted() | GuardrailApplied() | ContextFolded() | AgentTurn() | AgentHeard():
            return row
        case ModelChosen() | ToolRequested() | ToolAnswered() | EngineSwitched() | SignalsKept() | LanguageChanged() | VoiceChanged():
            return row
        case InterruptionDismissed() | HangUpOrdered() | CaptureBegan() | DigitsCaptured():
            return row
        case TransferOrdered() | CallTransferred() | TransferFailed() | TransferLegChanged():
            return row
        case RecordingKept():
            return replaced(row, recording_object=row.id)
        case HoldOrdered() | HoldEndOrdered() | HoldBegan() | HoldEnded() | RecordingListened() | CallLeft():
            return row
        case CallSidReserved():
            raise BrokenHistory(f"{recorded.stream} reserves a CallSid, which has a stream of its own")
        case _:
            assert_never(fact)


def _evolve_late(row: Call, fact: Any) -> Call:
    """What is counted is counted whenever it is told; how the call stands is not for a late fact to say."""
    match fact:
        case DisclosureSpoken(heard_ms=heard_ms, attempt=attempt):
            return replaced(row, disclosed_ms=heard_ms if row.disclosed_ms is None else row.disclosed_ms, disclosures=attempt)
        case CallerTurn():
            return replaced(row, turns=row.turns + 1)
        case AgentInterrupted():
            return replaced(row, interruptions=row.interruptions + 1)
        case EngineFailure():
            return replaced(row, failures=row.failures + 1)
        case FactsLost(count=count):
            return replaced(row, facts_lost=row.facts_lost + count)
        case RecordingKept():
            return replaced(row, recording_object=row.id)
        case _:
            return row


def _recording(now: Recording, fact: RecordingStopOrdered | RecordingStopped) -> Recording:
    if isinstance(fact, RecordingStopped):
        return Recording.STOPPED
    # An order may come where nothing records: it bars what may still be on its way.
    return Recording.STOPPING if now is Recording.ON else now


# Each fact of each call is an entry with most of its columns empty: a changed copy of this one is made faster than one from its parts.
_BLANK = TimelineEntry(tenant="", id="", version=0, n=0, occurred_at=datetime.max.replace(tzinfo=UTC), kind="", actor="", position="")


def entries(recorded: Recorded[CallEvent]) -> Sequence[TimelineEntry]:
    stream, fact, kind = recorded.stream, recorded.fact, type_of(recorded.fact).name
    if isinstance(fact, LateFact) and fact.fact is not None:
        fact, kind = fact.fact, f"late-{type_of(fact.fact).name}"
    return (
        replaced(
            _BLANK, tenant=stream.tenant, id=stream.id, version=recorded.version, occurred_at=recorded.occurred_at,
            kind=kind, actor=recorded.actor, position=str(recorded.position), **details(fact),
        ),
    )  # fmt: skip


def evolve_live(row: LiveCall | None, recorded: Recorded[CallEvent]) -> LiveCall | None:
    """None again once the call has ended; a call whose ring was never seen is not shown."""
    fact, at, kind = recorded.fact, recorded.occurred_at, type_of(recorded.fact).name
    if isinstance(fact, CallReceived):
        return LiveCall(
            tenant=recorded.stream.tenant, id=recorded.stream.id, version=recorded.version, status=CallStatus.RINGING,
            caller_ref=fact.caller_ref, number_ref=fact.number_ref, agent_id=fact.agent_id, agent_version=fact.agent_version,
            received_at=at, last_kind=kind, last_at=at,
        )  # fmt: skip
    if row is None or isinstance(fact, CallEnded):
        return None
    row = replaced(row, last_kind=kind, last_at=at)
    match fact:
        case CallAnswered(worker=worker):
            return replaced(row, status=CallStatus.IN_PROGRESS, answered_at=at, worker=worker)
        case CallResumed(worker=worker):
            return replaced(row, worker=worker)
        case CallerTurn(turn=turn):
            return replaced(row, turn=turn, speaking="caller")
        case AgentTurn():
            return replaced(row, speaking="agent")
        case RecordingStarted():
            return replaced(row, recording=Recording.ON)
        case RecordingStopOrdered() | RecordingStopped():
            return replaced(row, recording=_recording(row.recording, fact))
        case _:
            return row


CALLS = Table(
    name="calls", version=3, room="calls", category="calls", row=Call, evolve=evolve,
    unmoved_by=(ModelChosen, ToolRequested, ToolAnswered, AgentTurn, AgentHeard, AnswerSpeculated, AnswerAccounted, GuardrailApplied),
    done=("status", CallStatus.ENDED.value), named_by=("call_sid", "stream_sid"),
)  # fmt: skip
CALL_TIMELINE = Series(name="call_timeline", version=1, room="calls", category="calls", row=TimelineEntry, entries=entries)
LIVE_CALLS = Live(
    table=Table(name="live_calls", version=1, room="calls", category="calls", row=LiveCall, evolve=evolve_live),
    lifetime_seconds=_LIFETIME_SECONDS,
)
