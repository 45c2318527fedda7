"""What taking a call up needs beside the engines: everything that was ever said of it."""

from collections.abc import Sequence
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
