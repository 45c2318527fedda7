"""A fact as it stands on the log: itself, and where, when, by whom and why it was written."""

from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from events.positions import Position
from events.streams import StreamId

F_co = TypeVar("F_co", covariant=True)


class EventId(NamedTuple):
    """A record's name for ever: its commit and its index in it."""

    commit_id: bytes
    index: int  # type: ignore[assignment]  # a field, where tuple has a method that nobody needs here

    def __str__(self) -> str:
        return f"{self.commit_id.hex()}-{self.index}"


class Recorded(NamedTuple, Generic[F_co]):
    """An admitted fact. `version` counts the stream's facts from 1; `appended_at` is the owner's clock, monotone per partition."""

    fact: F_co
    stream: StreamId
    version: int
    position: Position
    event_id: EventId
    count: int  # type: ignore[assignment]
    command_id: bytes
    occurred_at: datetime
    appended_at: datetime
    causation: EventId | None
    correlation_id: bytes
    depth: int
    actor: str

    @property
    def ends_commit(self) -> bool:
        """Whether the commit is whole once this record has been read."""
        return self.event_id.index == self.count - 1
