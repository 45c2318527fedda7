"""What was said in a call, and what of it was heard. Times in `_ms` count from the moment the media stream started."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from events.registry import event
from events.sealing import Sealed


class Evidence(StrEnum):
    """How we know what was heard."""

    PLAYED = "played"
    """Every mark came back when its audio had played."""
    FLUSH_BOUNDED = "flush-bounded"
    """Cut between two marks, at a sentence whose length in audio is known exactly."""
    ESTIMATED = "estimated"
    """Cut inside a sentence: words by its audio's share and the clock."""


@event("disclosure-spoken", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureSpoken:
    """The caller heard, whole, that an AI is speaking. `attempt` counts from 1; earlier ones were interrupted."""

    started_ms: int
    heard_ms: int
    evidence: Evidence
    attempt: int


@event("caller-turn", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CallerTurn:
    """The caller said something and gave the floor. Turns count from 1 over both sides' exchanges."""

    turn: int
    words: Sealed[str]
    started_ms: int
    ended_ms: int
    recognised_ms: int
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The stages of one answer, call time in ms; a stage that did not happen is None.

    `speech_ended` is the caller's last speech, `turn_decided` the decision that the turn is over, `first_token` the model's,
    `first_byte` the voice's, `on_wire` our first frame to the carrier.
    """

    speech_ended_ms: int | None = None
    turn_decided_ms: int | None = None
    recognised_ms: int | None = None
    first_token_ms: int | None = None
    first_byte_ms: int | None = None
    on_wire_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What an answer used: tokens as the provider counted them, characters given to voices.

    `elsewhere`: of the characters, those that another provider's voice was given than the one with which the call was answered.
    """

    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    characters: int = 0
    estimated: bool = False
    elsewhere: Mapping[str, int] = field(default_factory=dict)


@event("agent-turn", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTurn:
    """What the agent said and what of it was heard. `turn` is that of the caller's words it answers; 0 is the greeting."""

    turn: int
    said: Sealed[str]
    heard: Sealed[str]
    evidence: Evidence
    interrupted: bool
    started_ms: int | None
    ended_ms: int | None
    latency: Latency
    spent: Spent


@event("agent-heard", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentHeard:
    """Sentences of a reply were heard whole, as the carrier's marks prove, and more follow: whoever goes on with the call repeats none.

    `heard`: those since the last such fact of the reply; `to_come`: what else was given to the voice; `complete`: the model has no more.
    The reply's AgentTurn tells all of it again.
    """

    turn: int
    heard: Sealed[str]
    to_come: Sealed[str]
    complete: bool
    at_ms: int


class Dismissal(StrEnum):
    """Why the caller's sound was no interruption."""

    NO_WORDS = "no-words"
    """A cough, a door, a child: no words came of it in time."""
    BACK_CHANNEL = "back-channel"
    """The words of somebody who listens."""
    ECHO = "echo"
    """The agent's own words, come back."""


@event("interruption-dismissed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionDismissed:
    """The caller made a sound while the agent talked, and it was no interruption.

    The agent was silent from `cleared_ms` to `resumed_ms` and said the last `repeated_ms` again; None: it had not stopped.
    """

    turn: int
    why: Dismissal
    words: Sealed[str] | None
    speech_started_ms: int
    cleared_ms: int | None
    resumed_ms: int
    repeated_ms: int


@event("agent-interrupted", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInterrupted:
    """The caller spoke over the agent, who stopped. `speech_started_ms` is the caller's, `cleared_ms` our stop."""

    turn: int
    speech_started_ms: int
    cleared_ms: int
