"""What a call needs from the world: ears, a mind, a voice, a carrier, tools, and a place for its recording."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from realtime.hearing.marks import TurnMark

Json: TypeAlias = Any
SEVERAL = ","
INSTEAD = "|"


class EngineUnavailable(Exception):
    """An engine could not be reached, refused us or broke off; `engine` names it for the record."""

    def __init__(self, engine: str, reason: str) -> None:
        super().__init__(f"{engine}: {reason}")
        self.engine = engine
        self.reason = reason


class EngineUnsuited(EngineUnavailable):
    """An engine cannot do what this call needs, a language for one; it serves others as well as ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFailed:
    """Sent to a listener when a connected engine broke off. Nothing follows it on that stream."""

    engine: str
    reason: str


ActivityListener: TypeAlias = Callable[[Sequence[tuple[int, float]]], None]
"""Called with (end of a window in ms since the first byte fed, probability that it holds speech), in order."""


class ActivityStream(Protocol):
    """One call's stream of audio into a detector of speech."""

    def feed(self, mulaw: bytes) -> None:
        """Give audio, 8 kHz mu-law, in pieces of any length. Never blocks; the listener is called soon after."""

    def close(self) -> None:
        """End the stream. Idempotent; no listener call follows."""


class VoiceActivity(Protocol):
    """A detector of speech, shared by all calls of a process."""

    def open(self, listener: ActivityListener) -> ActivityStream:
        """Open a stream for one call. The listener is called on the event loop, once per batch of windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Words recognised so far. Interims replace each other; finals are to be joined.

    Times count from this stream's first byte. `settled_ms`, of finals: what was said before it is not told again; None: as `end_ms`.
    `languages`, of finals: how many words are of which language (BCP 47), where that is told; words of which it is not are in none.
    """

    text: str
    is_final: bool
    from_finalize: bool
    start_ms: int
    end_ms: int
    confidence: float
    settled_ms: int | None = None
    turn: TurnMark = TurnMark.NONE
    languages: tuple[tuple[str, int], ...] = ()


HearingListener: TypeAlias = Callable[[Transcript | EngineFailed], None]


class HearingStream(Protocol):
    """One call's stream of audio into a recogniser."""

    def send(self, mulaw: bytes) -> None:
        """Give audio, 8 kHz mu-law. Never blocks; may gather frames before they go on the wire."""

    def finalize(self) -> None:
        """Ask for the final words of everything sent so far; one final Transcript follows, empty if nothing was said."""

    async def close(self) -> None:
        """End the stream. Idempotent; no listener call follows."""


class SpeechToText(Protocol):
    """A recogniser. `name` is its provider's (`deepgram/nova-3`); `embedded` says that it stands in for that provider."""

    name: str
    embedded: bool

    async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> HearingStream:
        """Open a stream for one call; `vocabulary`: phrases of the business. Raises EngineUnavailable.

        `language`: a BCP 47 tag, or several with `SEVERAL` between, of which each word may be. The listener is called on the event loop.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceAudio:
    """A stretch of speech, 8 kHz mu-law, in the order of the texts given."""

    mulaw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFlushed:
    """All audio of the texts up to and including `utterance` has been delivered."""

    utterance: int


VoiceListener: TypeAlias = Callable[[VoiceAudio | VoiceFlushed | EngineFailed], None]


class VoiceStream(Protocol):
    """One call's stream of text into a voice."""

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        """Say `text`. With `flush` all text given so far is delivered now and a VoiceFlushed follows its audio."""

    def clear(self) -> None:
        """Forget what has not been delivered: after this call nothing of an earlier `speak` reaches the listener."""

    async def close(self) -> None:
        """End the stream. Idempotent; no listener call follows."""


class TextToSpeech(Protocol):
    """A voice. `name` is its provider's (`deepgram/aura-2`)."""

    name: str
    embedded: bool

    async def connect(self, *, voice: str, listener: VoiceListener) -> VoiceStream:
        """Open a stream for one call. Raises EngineUnavailable. The listener is called on the event loop.

        `voice` is the provider's name of it; names with `INSTEAD` between are of several providers, each of which takes its own.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """The model asks for a tool; `arguments` is a JSON object."""

    tool_use_id: str
    name: str
    arguments: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """What a tool answered, told to the model."""

    tool_use_id: str
    content: Json
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """What a model thought: `text` with the provider's `signature`, or its sealed box in base 64. It goes back to it unaltered, or not."""

    model: str
    text: str = ""
    signature: str = ""
    redacted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One entry of the context. An assistant's may carry tool uses and the thoughts before them, the user's after it their outcomes."""

    role: Literal["user", "assistant"]
    text: str = ""
    reasoning: tuple[Reasoning, ...] = ()
    tool_uses: tuple[ToolUse, ...] = ()
    tool_outcomes: tuple[ToolOutcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the model sees it; `input_schema` is a JSON Schema object."""

    name: str
    description: str
    input_schema: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One question to the model. `model` is the provider's id, not our logical name.

    The first `settled` messages will stand at the beginning of the next question as well, unaltered: worth a provider's cache.
    `thinking_tokens` may be spent on thinking before the answer, beyond its `max_tokens`; 0 where the model is not to think aloud.
    Who has others to ask does so when nothing has come within `first_token_within_ms`.
    """

    model: str
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    max_tokens: int
    temperature: float | None
    settled: int = 0
    thinking_tokens: int = 0
    first_token_within_ms: int = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens as the provider counted them; `estimated` when the stream was cut before it said so."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStopped:
    """The reply is complete; `reason` is the provider's (`end_turn`, `tool_use`, `max_tokens`, …)."""

    reason: str
    usage: TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChanged:
    """Another engine answers the question, from its first word on."""

    engine: str
    instead_of: str
    reason: str


ModelEvent: TypeAlias = TextDelta | Reasoning | ToolUse | ModelStopped | EngineChanged


class LanguageModel(Protocol):
    """A model that streams. `name` is its provider's (`bedrock`)."""

    name: str
    embedded: bool

    def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Stream one reply, ending with ModelStopped. Cancelling the consuming task frees the connection at once.

        Raises EngineUnavailable, also in mid-stream.
        """


class TransferRefused(Exception):
    """The carrier will not put the caller through; `reason` is a code for the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Telephony(Protocol):
    """The carrier's control side."""

    async def transfer(self, call_sid: str, number: str, *, told_at: str) -> None:
        """Have the carrier put the caller through to `number` (E.164) instead of going on with our media stream, which it ends.

        What becomes of the leg is told at the address `told_at`. Raises TransferRefused or EngineUnavailable.
        """

    async def hang_up(self, call_sid: str) -> None:
        """End the carrier's call. Idempotent: a call that has ended is no error. Raises EngineUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool of an agent: what the model sees, and how it is to be run."""

    spec: ToolSpec
    idempotent: bool
    timeout_ms: int
    fillers: tuple[str, ...]


class Tools(Protocol):
    """The tools of one agent's version."""

    def offered(self) -> Sequence[Tool]: ...

    def faults(self, use: ToolUse) -> str:
        """What is wrong with the arguments by the tool's schema, in words for the model; empty when nothing is. Pure and quick."""

    async def run(self, use: ToolUse, *, idempotency_key: str) -> Json:
        """Run a tool; returns its JSON answer. The same key runs a non-idempotent tool at most once.

        Raises ToolFailed with words that may be told to the model.
        """


class ToolFailed(Exception):
    """A tool answered with an error, or not in time; the text is for the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStretch:
    """Both sides of a stretch of call time, 8 kHz mu-law, equally long; `from_ms` counts from the call's answer."""

    from_ms: int
    caller: bytes
    agent: bytes


class RecordingStore(Protocol):
    """Where the sealed pieces of recordings lie. Names are `folder/name` of letters, digits, `_` and `-`."""

    async def put(self, name: str, content: bytes) -> None:
        """Keep an object, whole. The same again changes nothing; other content under the name is refused. Raises OSError."""

    async def get(self, name: str) -> bytes | None:
        """None where there is none. Raises OSError."""
