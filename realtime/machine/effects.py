"""Everything that a call's state machine can want done. The shell does them in the order given."""

from dataclasses import dataclass

from commands.calls.orders import CallCommand
from commands.consents import ConsentCommand
from events.calls.ending import EndedBy, Stage
from realtime.machine.signals import Timer
from realtime.ports import ModelRequest, ToolUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Speak:
    """Give a text to the voice, to be delivered now."""

    utterance: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UseVoice:
    """What is spoken from here on is spoken by this voice of its provider's."""

    voice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HearLanguage:
    """Have the recogniser expect another language; no word is lost by it."""

    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakAhead:
    """Have a text spoken and keep the sound back: it arrives with a Speak of the same text, and never without. VoiceReady answers."""

    asked: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetAhead:
    """What was spoken ahead is not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearVoice:
    """Have the voice forget what it has not delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVoice:
    """The voice hangs: let go of it and take another. EngineTaken follows, or EngineBroke where there is none."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Send the speech that has just arrived to the caller. It begins to sound at `from_sample` of call time (8 a millisecond)."""

    generation: int
    utterance: int
    samples: int
    from_sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Keep the speech that has just arrived: nothing plays now."""

    utterance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PausePlayout:
    """Have the carrier throw away what it has not played, and keep it here. WordFound answers, with the beginning of the word there."""

    utterance: int
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Send what was kept of an utterance, `samples` from its sample `first` on. It begins to sound at `from_sample` of call time."""

    generation: int
    utterance: int
    first: int
    samples: int
    from_sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearPlayout:
    """Have the carrier throw away what it has not played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendMark:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeHearing:
    """Ask the recogniser for its last word on what was said so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskModel:
    asked: int
    request: ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelModel:
    asked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTool:
    use: ToolUse
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTool:
    tool_use_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer:
    """Fire at `at_ms`; a timer that is set again moves."""

    timer: Timer
    at_ms: int
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTimer:
    timer: Timer
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Send a command and be told how it went, by `request`.

    `declinable`: answered with LogAway when the log does not take it in time; otherwise it waits for the log.
    """

    request: int
    command: CallCommand | ConsentCommand
    declinable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Send a command and go on. What is not `essential` may be dropped, and counted, while the log is away for long."""

    command: CallCommand | ConsentCommand
    essential: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecorder:
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRecorder:
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseMedia:
    """Close the carrier's stream. `words`: what the carrier itself is to say afterwards, in their `language`, before it hangs up."""

    words: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginCapture:
    """Seal the caller's keys and audio from now on: at most `most` digits, or up to the key `terminator`."""

    capture: int
    most: int
    terminator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCapture:
    """Forget what was keyed in, and seal no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Have the carrier put the caller through to a number; its answer is a PutThrough."""

    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """Have the carrier end its call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The call is over and nothing of it is under way: let go of the engines, store the recording, put the end on the log."""

    reason: str
    ended_by: EndedBy
    stage: Stage
    billable: bool
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """Another stream has the call: let go of everything here, and leave the call as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Another worker is to take the call up: let go of everything here, keep what was recorded, and leave the call as it is."""


Effect = (
    Speak
    | SpeakAhead
    | ForgetAhead
    | UseVoice
    | HearLanguage
    | ClearVoice
    | ChangeVoice
    | Play
    | Keep
    | PausePlayout
    | Replay
    | ClearPlayout
    | SendMark
    | FinalizeHearing
    | AskModel
    | CancelModel
    | RunTool
    | CancelTool
    | SetTimer
    | CancelTimer
    | Commit
    | Note
    | StartRecorder
    | StopRecorder
    | CloseMedia
    | BeginCapture
    | EndCapture
    | Transfer
    | HangUp
    | Finish
    | Abandon
    | Leave
)
