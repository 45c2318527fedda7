"""Which model answered a turn, and what its tools did."""

from dataclasses import dataclass

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
