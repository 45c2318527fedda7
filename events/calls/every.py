"""Every fact of a call's streams."""

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

CallEvent = (
    CallSidReserved
    | CallReceived
    | CallAnswered
    | CallLeft
    | CallResumed
    | DisclosureSpoken
    | CallerTurn
    | ModelChosen
    | ToolRequested
    | ToolAnswered
    | AnswerSpeculated
    | AnswerAccounted
    | GuardrailApplied
    | ContextFolded
    | AgentTurn
    | AgentHeard
    | AgentInterrupted
    | InterruptionDismissed
    | LanguageChanged
    | VoiceChanged
    | RecordingStarted
    | RecordingStopped
    | RecordingStopOrdered
    | RecordingKept
    | RecordingListened
    | HangUpOrdered
    | TransferOrdered
    | CallTransferred
    | TransferFailed
    | TransferLegChanged
    | HoldOrdered
    | HoldEndOrdered
    | HoldBegan
    | HoldEnded
    | CaptureBegan
    | DigitsCaptured
    | EngineFailure
    | EngineSwitched
    | FactsLost
    | SignalsKept
    | LateFact
    | CallEnded
)
