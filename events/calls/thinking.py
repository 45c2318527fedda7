"""Which model answered a turn, what its tools did, what was thought ahead or not said, and what that cost."""

from dataclasses import dataclass

from events.calls.talking import Spent
from events.registry import event
from events.sealing import Sealed


@event("model-chosen", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChosen:
    """Which model answers a turn, and the rule of the ordered list that said so."""

    turn: int
    rule: str
    logical: str
    model: str


@event("tool-requested", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequested:
    """The model asked for a tool; on the log before a non-idempotent tool is run."""

    turn: int
    tool_use_id: str
    tool: str
    arguments: Sealed[str]
    idempotent: bool
    at_ms: int
    filler: Sealed[str] | None = None


@event("tool-answered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswered:
    """The tool's answer, as the model was told it."""

    turn: int
    tool_use_id: str
    tool: str
    answer: Sealed[str]
    failed: bool
    at_ms: int


@event("answer-speculated", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSpeculated:
    """The model was asked before the caller's turn was over. `words`: what it was asked on; `attempt` counts within the turn.

    `outcome`: `used`, or why it was dropped (`went-on`, `other-words`, `not-asked`, `failed`, `call-ended`). `spent` is what the
    dropped answer cost; that of a used one stands with the turn that it became.
    """

    turn: int
    attempt: int
    outcome: str
    words: Sealed[str]
    asked_ms: int
    settled_ms: int
    spent: Spent


@event("answer-accounted", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAccounted:
    """The provider's own count of an answer that was cut came after its turn was told: `spent` stands instead of `estimate`."""

    turn: int
    at_ms: int
    estimate: Spent
    spent: Spent


@event("guardrail-applied", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailApplied:
    """A sentence of the model's was not said as it was written. `action`: `rewrite` or `block`; `said` is what was said instead."""

    turn: int
    rule: str
    action: str
    written: Sealed[str]
    said: Sealed[str]
    at_ms: int


@event("context-folded", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFolded:
    """The oldest entries of the context were put together to a few words, for it had grown beyond its window. Tokens are estimates."""

    turn: int
    entries: int
    tokens_before: int
    tokens_after: int
    at_ms: int
