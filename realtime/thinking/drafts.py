"""Answers that nobody has heard: one in the making while the caller may still speak, and those that were cut and await their account."""

from dataclasses import dataclass, field
from typing import TypeAlias

from events.calls.talking import Spent
from events.sealing import Sealed
from realtime.machine.signals import ModelDone, ModelSaid, ModelThought, ModelWantsTool
from realtime.ports import ModelRequest

Held: TypeAlias = ModelSaid | ModelThought | ModelWantsTool | ModelDone


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the model has answered so far to words that may not be the caller's last. `held` is in the order in which it came.

    `spoken`: its first sentence, whose sound is kept back; `ready`: that has begun to arrive, or nothing of the answer can be said ahead.
    """

    asked: int
    words: str
    request: ModelRequest
    asked_ms: int
    held: tuple[Held, ...] = ()
    spoken: str = ""
    ready: bool = False

    @property
    def whole(self) -> ModelDone | None:
        """The end of the answer, if it has come."""
        last = self.held[-1] if self.held else None
        return last if isinstance(last, ModelDone) else None

    @property
    def pieces(self) -> int:
        """How many stretches of words it is held in."""
        return sum(isinstance(one, ModelSaid) for one in self.held)

    @property
    def characters(self) -> int:
        """How much has been written."""
        said = sum(len(one.text) for one in self.held if isinstance(one, ModelSaid))
        return said + sum(len(str(one.use.arguments)) for one in self.held if isinstance(one, ModelWantsTool))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Why a draft was dropped, and for which words of which turn."""

    turn: int
    attempt: int
    outcome: str
    words: Sealed[str]
    asked_ms: int
    settled_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A question whose answer nobody wants any more, read on for the provider's count. `dropped`: it was a draft; else `turn` was cut.

    `before` is what was spent on other questions, `estimate` what was told of it; `begun`: a word of the answer had come.
    """

    asked: int
    turn: int
    before: Spent = field(default_factory=Spent)
    estimate: Spent = field(default_factory=Spent)
    dropped: Dropped | None = None
    begun: bool = True
