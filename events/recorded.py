"""A fact as it stands on the log: itself, and where, when, by whom and why it was written."""

import re
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from events.positions import Position
from events.streams import StreamId

F_co = TypeVar("F_co", covariant=True)


_SPELT = re.compile(r"(?P<commit>[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12})[-_:./]?(?P<index>[0-9]{1,5})\Z", re.IGNORECASE | re.ASCII)
# The index has two bytes.
_MOST = 1 << 16


class EventId(NamedTuple):
    """A record's name for ever: its commit and its index in it."""

    commit_id: bytes
    index: int  # type: ignore[assignment]  # a field, where tuple has a method that nobody needs here

    @classmethod
    def read(cls, text: str) -> "EventId | None":
        """From the id in any spelling: upper case, a commit's id written like a UUID, another separator or none. None: it is none."""
        match = _SPELT.match("".join(text.split()))
        if match is None or int(match["index"]) >= _MOST:
            return None
        return cls(bytes.fromhex(match["commit"].replace("-", "")), int(match["index"]))

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
