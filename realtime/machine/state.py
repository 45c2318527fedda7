"""What a call is at a moment, part by part, and one step in the making."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from commands.calls.orders import CallCommand, Witness, Witnessed
from commands.consents import ConsentCommand
from events.calls.ending import EndedBy, Stage
from events.calls.talking import Latency, Spent
from projections.replacing import replaced
from realtime.consent.disclosure import Disclosure
from realtime.consent.permission import Permission
from realtime.machine.briefing import Briefing
from realtime.machine.effects import Commit, Effect, Note
from realtime.ports import Reasoning, Tool, ToolOutcome, ToolUse
from realtime.speaking.playout import Speech
from realtime.thinking.conversation import Talk
from realtime.thinking.drafts import Draft, Drain, Held
from realtime.turns.turn_taking import Floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The call ends with the reply under way. `firm`: also when the caller speaks over it.

    `transfer`: the caller is not left alone then, but put through to this destination of the agent's. `leaves`: it ends here alone.
    """

    reason: str
    ended_by: EndedBy
    billable: bool
    firm: bool = False
    transfer: str = ""
    leaves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One answer of the model within a reply: its utterances from `first_utterance` on, the tools it asked for, what they said."""

    first_utterance: int
    uses: tuple[ToolUse, ...] = ()
    outcomes: tuple[ToolOutcome, ...] = ()
    reasoning: tuple[Reasoning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the agent is saying, or about to say. `asked` is the open question to the model, 0 when there is none.

    `wrote` counts the pieces of the model's own words in this round; `last_word_ms` is when the model was heard from last;
    `thinks`: it may think at length before it answers; `held` is what it has said and asked for since the agent was paused;
    `dismissed_ms` is when a listener's last words over it began.
    """

    turn: int
    rounds: tuple[Round, ...]
    asked: int = 0
    buffer: str = ""
    wrote: int = 0
    last_word_ms: int = 0
    said: tuple[str, ...] = ()
    model: str = ""
    thinks: bool = False
    asked_characters: int = 0
    answered_characters: int = 0
    latency: Latency = field(default_factory=Latency)
    spent: Spent = field(default_factory=Spent)
    ending: Ending | None = None
    held: tuple[Held, ...] = ()
    dismissed_ms: int = -1

    @property
    def round(self) -> Round:
        return self.rounds[-1]

    @property
    def still_thinks(self) -> bool:
        """Whether the model takes the time that it was given to think at length."""
        return self.thinks and self.latency.first_token_ms is None

    def answers(self, asked: int) -> bool:
        """Whether what the model says to this question is still wanted."""
        return self.asked != 0 and self.asked == asked


class ToolStage(Enum):
    """`COMMITTING`: its request is on the way to the log, and it is not run before it is there."""

    COMMITTING = "committing"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """A tool that has not answered. `noted`: its request is on its way to the log; `detached`: its reply goes on without it;
    `overtime`: its time was over once.
    """

    use: ToolUse
    tool: Tool
    turn: int
    stage: ToolStage
    requested_ms: int
    noted: bool
    detached: bool = False
    overtime: bool = False


class Awaited(Enum):
    """What a command that is under way was for."""

    ANSWER = "answer"
    GRANT = "grant"
    RECORDING = "recording"
    TOOL = "tool"
    RECORDING_AGAIN = "recording-again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A command under way. `of` is the tool use it stands for; `asks_more`: the caller's yes had a request in it."""

    request: int
    awaited: Awaited
    of: str = ""
    asks_more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """Whether both sides are kept. `stopped_version` is the call's version at the last stop: an older start counts no more."""

    on: bool = False
    stopped_version: int = 0
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Keys that are sealed: how many there are, since when, and how long a pause may last."""

    number: int
    label: str
    pause_ms: int
    started_ms: int
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferring:
    """The caller is being put through. `done`: the carrier has agreed, and will end our stream."""

    destination: str
    by: EndedBy
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaning:
    """The caller's last turns were of another language: so many words of it, not enough yet."""

    language: str = ""
    words: int = 0
    of_words: int = 0


class Life(Enum):
    """`CLOSING`: over for the caller, and waiting for a tool that must not be cut off."""

    WAITING = "waiting"
    TALKING = "talking"
    CLOSING = "closing"
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallState:
    """Everything about one call. Built from a briefing, changed by signals alone. `drafted` counts the drafts of the open turn.

    `held_turn` is the last of the caller's that was answered before they were put on hold. `voice_engine` speaks instead of the briefing's,
    by the agent's `voice_name`. `heard_languages` counts the open turn's words.
    """

    briefing: Briefing
    life: Life = Life.WAITING
    stage: Stage = Stage.CONNECTING
    floor: Floor = field(default_factory=Floor)
    speech: Speech = field(default_factory=Speech)
    talk: Talk = field(default_factory=Talk)
    reply: Reply | None = None
    tools: tuple[ToolRun, ...] = ()
    disclosure: Disclosure = field(default_factory=Disclosure)
    permission: Permission = field(default_factory=Permission)
    tape: Tape = field(default_factory=Tape)
    pending: tuple[Pending, ...] = ()
    ended: Ending | None = None
    ended_ms: int = 0
    next_request: int = 1
    next_question: int = 1
    reminders: int = 0
    fillers: int = 0
    misheard: int = 0
    model_failures: int = 0
    voice_since_ms: int = 0
    voices_tried: int = 0
    voice_engine: str = ""
    voice_name: str = ""
    heard_languages: tuple[tuple[str, int], ...] = ()
    leaning: Leaning = field(default_factory=Leaning)
    owing_since_ms: int | None = None
    watched_until_ms: int | None = None
    apologies: int = 0
    turn_latency: Latency = field(default_factory=Latency)
    turn_words: str = ""
    draft: Draft | None = None
    drafted: int = 0
    drains: tuple[Drain, ...] = ()
    capture: Capture | None = None
    next_capture: int = 1
    keys: str = ""
    keys_since_ms: int = 0
    transfer: Transferring | None = None
    held: bool = False
    held_turn: int = 0
    cost: int = 0
    preface: str = ""
    in_doubt: tuple[ToolUse, ...] = ()


@dataclass(slots=True)
class Moment:
    """One step in the making: the state as it changes, the effects in their order. It never outlives its step."""

    state: CallState
    at_ms: int
    effects: list[Effect] = field(default_factory=list)

    def do(self, *effects: Effect) -> None:
        self.effects.extend(effects)

    def change(self, **parts: Any) -> None:
        self.state = replaced(self.state, **parts)

    def change_reply(self, **parts: Any) -> None:
        if self.state.reply is not None:
            self.change(reply=replaced(self.state.reply, **parts))

    def note(self, fact: Witnessed, *, essential: bool = False) -> None:
        self.do(Note(command=Witness(fact=fact), essential=essential))

    def commit(self, command: CallCommand | ConsentCommand, awaited: Awaited, *, declinable: bool = True, **more: Any) -> None:
        """Send a command and remember what its outcome is for."""
        request = self.state.next_request
        self.change(next_request=request + 1, pending=(*self.state.pending, Pending(request=request, awaited=awaited, **more)))
        self.do(Commit(request=request, command=command, declinable=declinable))

    def settled(self, request: int) -> Pending | None:
        """The command that was under way under this number, which it is no more."""
        found = next((pending for pending in self.state.pending if pending.request == request), None)
        if found is not None:
            self.change(pending=tuple(pending for pending in self.state.pending if pending is not found))
        return found
