"""What was witnessed in a call and could not be told in time."""

from dataclasses import dataclass, fields
from typing import Any

from events.calls.control import CallTransferred, CaptureBegan, DigitsCaptured, HoldBegan, HoldEnded, TransferFailed
from events.calls.ending import CallEnded, EngineFailure, EngineSwitched, FactsLost
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
from events.registry import event, type_of


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
    interruption_dismissed: InterruptionDismissed | None = None
    signals_kept: SignalsKept | None = None
    call_transferred: CallTransferred | None = None
    transfer_failed: TransferFailed | None = None
    hold_began: HoldBegan | None = None
    hold_ended: HoldEnded | None = None
    digits_captured: DigitsCaptured | None = None
    recording_kept: RecordingKept | None = None
    answer_speculated: AnswerSpeculated | None = None
    answer_accounted: AnswerAccounted | None = None
    guardrail_applied: GuardrailApplied | None = None
    context_folded: ContextFolded | None = None
    engine_switched: EngineSwitched | None = None
    call_left: CallLeft | None = None
    call_resumed: CallResumed | None = None
    capture_began: CaptureBegan | None = None
    agent_heard: AgentHeard | None = None
    language_changed: LanguageChanged | None = None
    voice_changed: VoiceChanged | None = None

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
