"""Everything that can happen to a call, in plain values that can be kept, in call time: milliseconds since the media stream started."""

from dataclasses import dataclass
from enum import StrEnum

from events.calls.ending import EndedBy
from events.calls.every import CallEvent
from realtime.hearing.marks import TurnMark
from realtime.machine.resuming import Past
from realtime.ports import Json, Reasoning, TokenUsage, ToolUse


class Engine(StrEnum):
    """The engines whose failure a call has to live with."""

    RECOGNISER = "recogniser"
    MODEL = "model"
    VOICE = "voice"


class Timer(StrEnum):
    """A call's alarm clocks, one of each. What belongs to a tool or a question carries its id beside."""

    BARGE_IN = "barge-in"
    PAUSE = "pause"
    FINAL = "final"
    PATIENCE = "patience"
    STABLE = "stable"
    FILLER = "filler"
    MODEL = "model"
    DRAIN = "drain"
    VOICE = "voice"
    PLAYOUT = "playout"
    SILENCE = "silence"
    LENGTH = "length"
    CAPTURE = "capture"
    KEYS = "keys"
    HOLD = "hold"
    TRANSFER = "transfer"
    TOOL = "tool"
    SPEECHLESS = "speechless"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaStarted:
    """The carrier's stream is open: call time 0."""

    at_ms: int
    stream_sid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaResumed:
    """Another stream of the carrier's is open for a call that lost its first: call time goes on, and the past is what its facts tell."""

    at_ms: int
    stream_sid: str
    past: Past


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveCall:
    """Let go of the call, which goes on elsewhere; `reason` stands in its record."""

    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaEnded:
    """The carrier's stream is gone: the caller hung up, the socket broke, or we closed it because of what it sent."""

    at_ms: int
    reason: str
    ended_by: EndedBy
    billable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted:
    """The caller's voice is on the line since `since_ms`."""

    at_ms: int
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStopped:
    """The caller's voice ended at `ended_ms`; the silence since then was long enough to say so."""

    at_ms: int
    ended_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsRecognised:
    """The recogniser's words for the stretch from `start_ms` to `end_ms`. Interims replace each other; finals are joined.

    `languages`: how many of a final's words are of which language, where the recogniser tells; `quiet_ms`: how quiet it was by loudness.
    """

    at_ms: int
    text: str
    is_final: bool
    from_finalize: bool
    start_ms: int
    end_ms: int
    confidence: float
    turn: TurnMark = TurnMark.NONE
    languages: tuple[tuple[str, int], ...] = ()
    quiet_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBroke:
    """An engine failed. `asked` is the number of the question when it was the model's."""

    at_ms: int
    engine: Engine
    name: str
    reason: str
    asked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTaken:
    """An engine broke or hung, and `name` does its work from here on: another one, or the same over a new stream.

    The recogniser was given again what it had not settled (`repeated_ms` of audio). A voice knows nothing of what was asked of it before.
    """

    at_ms: int
    engine: Engine
    name: str
    instead_of: str
    reason: str
    repeated_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSaid:
    at_ms: int
    asked: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelThought:
    """The model has thought before it answers; not for the caller's ears."""

    at_ms: int
    asked: int
    reasoning: Reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWantsTool:
    """`faults`: what is wrong with the arguments by the tool's schema; such a tool is not run."""

    at_ms: int
    asked: int
    use: ToolUse
    faults: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDone:
    """The model's reply to question `asked` is complete."""

    at_ms: int
    asked: int
    reason: str
    usage: TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReturned:
    at_ms: int
    tool_use_id: str
    content: Json
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceArrived:
    """The voice delivered `samples` bytes of speech (8 a millisecond); it waits to be played or thrown away."""

    at_ms: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceDelivered:
    """The voice has delivered all of `utterance` and of what came before it. `from_memory`: it was not asked, and counts no characters."""

    at_ms: int
    utterance: int
    from_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceReady:
    """What was to be spoken ahead for question `asked` has begun to arrive, and is kept back; or it will not come."""

    at_ms: int
    asked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WordFound:
    """Playing was paused inside a word of `utterance`; by its sound the word begins at `sample`."""

    at_ms: int
    utterance: int
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkReturned:
    """The carrier gave a mark back: its audio has played, or was thrown away by a clear."""

    at_ms: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitPressed:
    """The caller pressed a key that the agent wants as a word."""

    at_ms: int
    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitSealed:
    """The caller pressed a key while digits are captured: `count` of them so far. Which ones is nowhere in the machine."""

    at_ms: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsKept:
    """Capture `capture` is complete. `reference` opens the digits to a tool, once; empty: they could not be kept."""

    at_ms: int
    capture: int
    count: int
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutThrough:
    """The carrier's answer to the wish to put the caller through; `failure` is a code, empty when it does."""

    at_ms: int
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    at_ms: int
    timer: Timer
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRecorded:
    """A fact of the call's own stream is on the log, whoever caused it."""

    at_ms: int
    fact: CallEvent
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAccepted:
    """Command `request` is on the log; `version` is its stream's after it."""

    at_ms: int
    request: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDeclined:
    """A rule said no to command `request`."""

    at_ms: int
    request: int
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAway:
    """Command `request` got no answer in time; the log is away, and the talk goes on without it."""

    at_ms: int
    request: int


Signal = (
    MediaStarted | MediaResumed | MediaEnded | LeaveCall | SpeechStarted | SpeechStopped | WordsRecognised | EngineBroke | EngineTaken
    | ModelSaid | ModelThought | ModelWantsTool | ModelDone | ToolReturned | VoiceArrived | VoiceDelivered | VoiceReady | WordFound
    | MarkReturned | DigitPressed | DigitSealed | DigitsKept | PutThrough | TimerFired | FactRecorded | CommandAccepted | CommandDeclined
    | LogAway
)  # fmt: skip
