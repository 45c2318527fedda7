"""What taking a call up needs beside the engines: everything that was ever said of it, and which calls nobody has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from events.positions import Position
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId


class CallHistory(Protocol):
    """The facts of one stream, whole."""

    async def __call__(self, stream: StreamId, until: Position, version: int, since: Position | None) -> Sequence[Recorded[Fact]]:
        """Facts 1 to `version`, none missing, in order. `until`: where the log confirmed that version; `since`: a place before them all.

        `since` only makes it quicker. Raises LogAway or HistoryLost.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A call that has not ended, as the tables know it. `worker`: who had it last; None before anybody answered."""

    stream: StreamId
    call_sid: str
    worker: str | None
    received_at: datetime


class CallsUnderWay(Protocol):
    """All calls that have not ended."""

    async def __call__(self) -> Sequence[UnderWay]:
        """The newest first, a bounded number of them. May lag behind the log. Raises RowsUnavailable."""


class LiveCarrier(Protocol):
    """What the carrier knows of its calls, and may be told to do with one. Both raise EngineUnavailable."""

    async def standing(self, call_sid: str) -> str | None:
        """The call's state in the carrier's words; None where it knows no such call."""

    async def move(self, call_sid: str, url: str) -> bool:
        """Have it ask at `url` what follows, whatever it is doing; its media stream ends. False: the call is over."""
