"""What a person wants to see of each fact of a call, field by field of its timeline."""

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
from events.calls.ending import CallEnded, EngineFailure, EngineSwitched, FactsLost
from events.calls.every import CallEvent
from events.calls.languages import LanguageChanged, VoiceChanged
from events.calls.late import LateFact
from events.calls.recording import RecordingKept, RecordingListened, RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallLeft, CallReceived, CallResumed, CallSidReserved
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


def details(fact: CallEvent) -> dict[str, Any]:  # noqa: PLR0915 - as long as the union of facts
    """The fields of `projections.calls.TimelineEntry` that this kind of fact has."""
    match fact:
        case DisclosureSpoken():
            return {"at_ms": fact.started_ms, "ended_ms": fact.heard_ms, "evidence": fact.evidence, "attempt": fact.attempt}
        case CallerTurn():
            return {"turn": fact.turn, "at_ms": fact.started_ms, "ended_ms": fact.ended_ms, "words": fact.words,
                    "confidence": fact.confidence, "recognised_ms": fact.recognised_ms}  # fmt: skip
        case ModelChosen():
            return {"turn": fact.turn, "rule": fact.rule, "logical": fact.logical, "model": fact.model}
        case ToolRequested():
            return {"turn": fact.turn, "at_ms": fact.at_ms, "words": fact.arguments, "tool": fact.tool, "tool_use_id": fact.tool_use_id,
                    "idempotent": fact.idempotent, "filler": fact.filler}  # fmt: skip
        case ToolAnswered():
            return {"turn": fact.turn, "at_ms": fact.at_ms, "words": fact.answer, "tool": fact.tool, "tool_use_id": fact.tool_use_id,
                    "failed": fact.failed}  # fmt: skip
        case AnswerSpeculated():
            return {"turn": fact.turn, "at_ms": fact.asked_ms, "ended_ms": fact.settled_ms, "words": fact.words, "reason": fact.outcome,
                    "attempt": fact.attempt, "spent": fact.spent}  # fmt: skip
        case AnswerAccounted():
            return {"turn": fact.turn, "at_ms": fact.at_ms, "spent": fact.spent}
        case GuardrailApplied():
            return {"turn": fact.turn, "at_ms": fact.at_ms, "rule": fact.rule, "reason": fact.action, "words": fact.written,
                    "heard": fact.said}  # fmt: skip
        case ContextFolded():
            return {"turn": fact.turn, "at_ms": fact.at_ms, "count": fact.entries}
        case AgentTurn():
            return {"turn": fact.turn, "at_ms": fact.started_ms, "ended_ms": fact.ended_ms, "words": fact.said, "heard": fact.heard,
                    "evidence": fact.evidence, "interrupted": fact.interrupted, "latency": fact.latency, "spent": fact.spent}  # fmt: skip
        case AgentHeard():
            return {"turn": fact.turn, "at_ms": fact.at_ms, "words": fact.to_come, "heard": fact.heard}
        case AgentInterrupted():
            return {"turn": fact.turn, "at_ms": fact.speech_started_ms, "ended_ms": fact.cleared_ms}
        case InterruptionDismissed():
            return {"turn": fact.turn, "at_ms": fact.speech_started_ms, "ended_ms": fact.resumed_ms, "reason": fact.why.value,
                    "words": fact.words}  # fmt: skip
        case LanguageChanged() | VoiceChanged():
            chosen = fact.name or "usual" if isinstance(fact, VoiceChanged) else f"instead of {fact.instead_of}, by the {fact.by.value}"
            return {"turn": fact.turn, "at_ms": fact.at_ms, "engine": fact.voice, "reason": f"{fact.language}: {chosen}"}
        case RecordingStarted():
            return {"at_ms": fact.at_ms, "consent_version": fact.consent_version}
        case RecordingStopped():
            return {"at_ms": fact.at_ms, "reason": fact.reason}
        case RecordingStopOrdered():
            return {"reason": fact.reason, "consent_version": fact.revoked_version or None}
        case HangUpOrdered() | HoldOrdered() | HoldEndOrdered() | RecordingListened():
            return {"reason": fact.reason}
        case RecordingKept():
            return {"at_ms": fact.from_ms, "ended_ms": fact.to_ms, "reason": fact.object}
        case TransferOrdered():
            return {"reason": f"{fact.destination}: {fact.reason}"}
        case CallTransferred():
            return {"at_ms": fact.at_ms, "words": fact.number, "reason": fact.destination, "ended_by": fact.by}
        case TransferFailed():
            return {"at_ms": fact.at_ms, "reason": f"{fact.destination}: {fact.reason}"}
        case TransferLegChanged():
            return {"reason": fact.status, "count": fact.duration_seconds}
        case HoldBegan():
            return {"at_ms": fact.at_ms}
        case HoldEnded():
            return {"at_ms": fact.at_ms, "reason": fact.reason}
        case CaptureBegan():
            return {"at_ms": fact.at_ms, "reason": fact.label}
        case DigitsCaptured():
            return {"at_ms": fact.started_ms, "ended_ms": fact.ended_ms, "reason": f"{fact.label}: {fact.outcome.value}",
                    "count": fact.count}  # fmt: skip
        case EngineFailure():
            return {"turn": fact.turn, "at_ms": fact.at_ms, "engine": fact.engine, "reason": fact.reason}
        case EngineSwitched():
            because = f"as {fact.kind} for {fact.instead_of}: {fact.reason}"
            return {"turn": fact.turn, "at_ms": fact.at_ms, "engine": fact.engine, "reason": because}
        case FactsLost():
            return {"count": fact.count}
        case SignalsKept():
            return {"at_ms": fact.from_ms, "ended_ms": fact.to_ms, "count": fact.signals}
        case CallEnded():
            return {"at_ms": fact.duration_ms, "reason": fact.reason, "ended_by": fact.ended_by, "stage": fact.stage}
        case CallLeft():
            return {"at_ms": fact.at_ms, "reason": fact.reason}
        case CallResumed():
            return {"at_ms": fact.at_ms, "reason": fact.cause, "attempt": fact.attempt}
        case CallReceived() | CallAnswered() | CallSidReserved() | LateFact():
            return {}
        case _:
            assert_never(fact)
