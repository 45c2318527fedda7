"""A call's facts, as a worker would witness them, for folds and processors."""

from typing import Any

from events.calls.control import (
    CallTransferred,
    CaptureBegan,
    CaptureOutcome,
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
from events.calls.ending import CallEnded, EndedBy, EngineFailure, FactsLost, Stage
from events.calls.recording import RecordingKept, RecordingListened, RecordingStarted, RecordingStopOrdered, RecordingStopped
from events.calls.ringing import CallAnswered, CallLeft, CallReceived, CallResumed
from events.calls.talking import AgentInterrupted, AgentTurn, CallerTurn, DisclosureSpoken, Evidence, Latency, Spent
from events.calls.thinking import ModelChosen, ToolAnswered, ToolRequested
from events.sealing import Sealed
from events.streams import StreamId
from tests.projections.told import AYB

CALLER_REF = "c" * 32
NUMBER_REF = "n" * 32
CALL = StreamId(AYB, "calls", "call_01990000000070008000000000000001")


def sealed(text: str) -> Sealed[str]:
    return Sealed(f"{AYB}/{CALLER_REF}", b"box of " + text.encode())


def received(**changed: Any) -> CallReceived:
    fields: dict[str, Any] = {
        "call_sid": "CA" + "0" * 32, "caller": sealed("+14165550100"), "caller_ref": CALLER_REF, "number": sealed("+14165550199"),
        "number_ref": NUMBER_REF, "agent_id": "agt_1", "agent_version": "1", "agent_version_hash": "h" * 64, "flags": {"greeting": "short"},
    }  # fmt: skip
    return CallReceived(**(fields | changed))


def answered(**changed: Any) -> CallAnswered:
    fields: dict[str, Any] = {
        "stream_sid": "MZ1", "worker": "w1", "recogniser": "deepgram/nova-3", "model_provider": "bedrock", "voice": "deepgram/aura-2",
        "embedded": True,
    }  # fmt: skip
    return CallAnswered(**(fields | changed))


def caller_turn(turn: int, words: str = "when are you open") -> CallerTurn:
    return CallerTurn(turn=turn, words=sealed(words), started_ms=5000 * turn, ended_ms=5000 * turn + 1500,
                            recognised_ms=5000 * turn + 1700, confidence=0.93)  # fmt: skip


def agent_turn(turn: int, said: str = "from nine to five", *, interrupted: bool = False, **spent: Any) -> AgentTurn:
    return AgentTurn(
        turn=turn, said=sealed(said), heard=sealed(said[:4] if interrupted else said),
        evidence=Evidence.FLUSH_BOUNDED if interrupted else Evidence.PLAYED, interrupted=interrupted, started_ms=5000 * turn + 2000,
        ended_ms=5000 * turn + 4000, latency=Latency(speech_ended_ms=5000 * turn + 1500, on_wire_ms=5000 * turn + 2000),
        spent=Spent(**spent),
    )  # fmt: skip


def ended(**changed: Any) -> CallEnded:
    fields: dict[str, Any] = {
        "reason": "goodbye", "ended_by": EndedBy.AGENT, "stage": Stage.CONVERSATION, "billable": True, "duration_ms": 54_001,
        "recognition_ms": 53_000,
    }  # fmt: skip
    return CallEnded(**(fields | changed))


def whole_call() -> tuple[object, ...]:
    """From the ring to the end, with everything that can happen in between."""
    return (
        received(),
        answered(),
        DisclosureSpoken(started_ms=100, heard_ms=2900, evidence=Evidence.PLAYED, attempt=1),
        agent_turn(0, "hello, this is an AI", characters=20),
        caller_turn(1, "yes you may record"),
        RecordingStarted(caller_ref=CALLER_REF, consent_version=1, at_ms=7000),
        ModelChosen(turn=1, rule="short questions", logical="fast", model="m-small"),
        agent_turn(1, "thank you", model="m-small", input_tokens=300, output_tokens=12, characters=9),
        caller_turn(2, "is my order ready"),
        ToolRequested(turn=2, tool_use_id="t1", tool="order", arguments=sealed("{}"), idempotent=True, at_ms=11_800, filler=None),
        ToolAnswered(turn=2, tool_use_id="t1", tool="order", answer=sealed("ready"), failed=False, at_ms=12_300),
        agent_turn(2, "it is ready since noon", interrupted=True, model="m-small", input_tokens=400, output_tokens=30, characters=22),
        AgentInterrupted(turn=2, speech_started_ms=13_500, cleared_ms=13_700),
        caller_turn(3, "please stop recording"),
        RecordingStopOrdered(reason="consent-revoked", revoked_version=2),
        RecordingStopped(caller_ref=CALLER_REF, reason="consent-revoked", at_ms=16_600),
        EngineFailure(turn=3, engine="voice", reason="closed", at_ms=17_000),
        FactsLost(count=2),
        HangUpOrdered(reason="closing time"),
        HoldOrdered(reason="asks a colleague"),
        HoldBegan(at_ms=17_100),
        HoldEndOrdered(reason="she knows"),
        HoldEnded(reason="ordered", at_ms=17_200),
        CaptureBegan(label="card", at_ms=17_300),
        DigitsCaptured(label="card", count=16, outcome=CaptureOutcome.COMPLETE, started_ms=17_300, ended_ms=17_400),
        CallLeft(reason="media-lost", at_ms=16_500),
        CallResumed(
            stream_sid="MZ2",
            worker="worker-2",
            recogniser="deepgram",
            model_provider="bedrock",
            voice="deepgram",
            embedded=True,
            attempt=1,
            at_ms=16_550,
            cause="media-lost",
        ),
        RecordingKept(object="call_1/MZ1/00000", from_ms=7000, to_ms=16_600, digest="00"),
        TransferOrdered(destination="desk", reason="asked for a person"),
        TransferFailed(destination="desk", reason="carrier-refused", at_ms=17_500),
        CallTransferred(destination="desk", number=sealed("+15550111"), by=EndedBy.OPERATOR, at_ms=17_600),
        ended(recording="rec_1"),
        TransferLegChanged(leg_sid="CA2", status="completed", sequence=3, duration_seconds=9),
        RecordingListened(listening="1", by="operator", reason="a complaint"),
    )
