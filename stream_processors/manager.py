"""The shape of a process manager: facts of several streams make a state, and the state says which commands are due."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from commands.decider import Decider
from events.identifiers import derived_id
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.streams import StreamId

S = TypeVar("S")

DEEPEST = 16
"""Facts that cause commands that cause facts: a chain longer than this goes in a circle, and is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The fact for which a command is sent; kept in the manager's state until the command is."""

    event_id: EventId
    depth: int
    correlation_id: bytes
    occurred_at: datetime

    @classmethod
    def of(cls, recorded: Recorded[Any]) -> "Cause":
        return cls(
            event_id=recorded.event_id, depth=recorded.depth, correlation_id=recorded.correlation_id, occurred_at=recorded.occurred_at
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A command that has to be sent. `kind` tells it from others of the same cause to the same stream."""

    decider: Decider[Any, Any, Any]
    stream: StreamId
    command: object
    kind: str
    cause: Cause

    def command_id(self, manager: str) -> bytes:
        """The same for ever, so that it can be sent any number of times and takes effect once."""
        return derived_id(manager, str(self.cause.event_id), str(self.stream), self.kind)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProcessManager(Generic[S]):
    """Pure. What spans streams: for each `key` a state, folded from the facts that have it.

    `react` gives what is due in a state, not what a fact sets off: once a command's effect is on the log and folded, it is not due
    any more. So the state is a function of the log alone, a restart sends what is still open and nothing else, and it does not matter
    in which order the facts of two topics came. A state equal to `initial` is forgotten. `key` is None for facts that do not matter.
    """

    name: str
    rooms: tuple[str, ...]
    facts: frozenset[type]
    initial: S
    key: Callable[[Recorded[Any]], str | None]
    evolve: Callable[[S, Recorded[Any]], S]
    react: Callable[[S], Sequence[Due]]


class States(Generic[S]):
    """The states of one manager, in memory."""

    def __init__(self, manager: ProcessManager[S]) -> None:
        self.manager = manager
        self._states: dict[str, S] = {}

    def take(self, recorded: Recorded[Fact]) -> str | None:
        """Fold a fact in; returns the key whose state it touched."""
        manager = self.manager
        if type(recorded.fact) not in manager.facts or (key := manager.key(recorded)) is None:
            return None
        state = manager.evolve(self._states.get(key, manager.initial), recorded)
        if state == manager.initial:
            self._states.pop(key, None)
        else:
            self._states[key] = state
        return key

    def due(self, key: str) -> Sequence[Due]:
        """What is due for a key now."""
        state = self._states.get(key)
        return () if state is None else self.manager.react(state)

    @property
    def keys(self) -> Sequence[str]:
        """All keys that have a state."""
        return list(self._states)

    def state(self, key: str) -> S:
        """The state of a key."""
        return self._states.get(key, self.manager.initial)
