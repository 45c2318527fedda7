"""What readers ask of the projections: rows, entries, the journal, and whether a write can be seen yet."""

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from events.admission import Fence
from events.positions import Position, Reach, read_reach, write_reach
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.streams import StreamId
from projections.live import Live
from projections.partial import PartialAggregate, PartialRow
from projections.series import EntryRow, Series
from projections.table import StreamRow, Table

R = TypeVar("R", bound=StreamRow)
E = TypeVar("E", bound=EntryRow)
A = TypeVar("A", bound=PartialRow)


EVERYBODY = "*"
asked_for: ContextVar[str] = ContextVar("asked_for", default="")
"""The organisation whose rows may be seen while a request is answered; EVERYBODY for the platform's operator; empty: none are seen."""


class Seen:
    """Up to where an answer is true: of every partition that was read for it, what its rows were made of; the least, where several were.

    `reads`: how often something was read for it.
    """

    __slots__ = ("_told", "reads")

    def __init__(self) -> None:
        self._told: list[str] = []
        self.reads = 0

    def note(self, reach: str) -> None:
        """What `write_reach` wrote, of the very moment at which the rows were read, or of an earlier one."""
        self.reads += 1
        if reach and reach not in self._told:
            self._told.append(reach)

    def reach(self) -> Reach:
        least: dict[tuple[str, int], int] = {}
        for told in self._told:
            for place, offset in read_reach(told).items():
                least[place] = min(offset, least.get(place, offset))
        return least

    def __str__(self) -> str:
        """Empty where nothing was read."""
        return self._told[0] if len(self._told) == 1 else write_reach(self.reach())


seen: ContextVar[Seen | None] = ContextVar("seen", default=None)
"""Where those who read rows note up to where these are true, while a question is answered; None: nobody asks for it."""


class RowsUnavailable(Exception):
    """The read models cannot be asked now; try again. Writes go on without them."""


class InvalidCursor(ValueError):
    """The text is no cursor of ours."""


class TooMuch(Exception):
    """More would have to be looked at than is done for one answer; the text says how much."""


@dataclass(frozen=True, slots=True)
class Then:
    """What had been appended `at` a time; in the partitions of `reach`, whatever the time there, what lies before those offsets."""

    at: datetime
    reach: Reach = field(default_factory=dict)


class Rows(Protocol):
    """The tables and series. Every method raises RowsUnavailable."""

    async def get(self, table: Table[R], tenant: str, row_id: str) -> R | None:
        """The row of one stream."""

    async def find(
        self,
        table: Table[R],
        *,
        organisation: str | None,
        where: Mapping[str, object] = ...,
        after: str | None = None,
        limit: int = 50,
        newest_first: bool = True,
    ) -> Sequence[R]:
        """An organisation's rows (None: everybody's, for the platform's operators), in the order of their ids.

        Ids of calls sort by time, so this is newest or oldest first; so do others that no `Idempotency-Key` gave, and for the rest it is
        an order that stays. `where`: columns
        and the values they equal; ValueError for a column that there is not or that is JSON. `after`: the `cursor_of` the
        last row of the page before; pages stay stable when rows come in. Raises InvalidCursor.
        """

    async def entries(
        self, series: Series[E], tenant: str, row_id: str, *, after_version: int = 0, limit: int | None = None
    ) -> Sequence[E]:
        """A stream's entries in the order of its facts."""

    async def combined(
        self,
        aggregate: PartialAggregate[A, Any],
        tenant: str,
        *,
        where: Mapping[str, str] = ...,
        by: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[A]:
        """A tenant's partial rows, combined: into one, none where there are none; or into one for each value of the column `by` of the
        key, in the order of those values, behind `after`. `where`: columns of the key and their values; others than those are empty.
        """

    async def counts_over_time(
        self, series: Series[E], organisation: str, *, per: str, begins: datetime, ends: datetime, limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """An organisation's counts of a series that is looked at by time, from `begins` on, before `ends`, in their order.

        `per`: minute, hour or day (UTC). Each has its `bucket`, the columns that it is of, `entries`, and each sum and largest by name.
        """

    async def wait_for(self, positions: Sequence[Position], timeout_seconds: float) -> bool:
        """Wait until every projection has seen the positions; False when that was not in time. At once for none.

        Raises RowsUnavailable at once where nobody can say, instead of waiting.
        """

    async def progress(self) -> Mapping[tuple[str, int], tuple[int, Fence]]:
        """Up to where every projection has read: next offset and fence by (topic, partition), the slowest one's."""

    async def digest(self) -> Mapping[str, str]:
        """SHA-256 in hex over each projection's rows in the order of their keys."""


class LiveRows(Protocol):
    """What is going on now. Every method raises RowsUnavailable."""

    async def get(self, live: Live[R], tenant: str, row_id: str) -> R | None:
        """The row of one stream, while it lives."""

    async def find(self, live: Live[R], *, organisation: str, limit: int = 200) -> Sequence[R]:
        """An organisation's rows, in the order of their ids, newest first."""


class JournalRows(Protocol):
    """The journal. Every method raises RowsUnavailable, and what Codec.decode raises."""

    async def stream_events(self, stream: StreamId, *, after_version: int = 0, limit: int | None = None) -> Sequence[Recorded[Fact]]:
        """A stream's facts in order."""

    async def events_of(self, streams: Sequence[StreamId], projection: str) -> Mapping[StreamId, Sequence[Recorded[Fact]]]:
        """The facts of several streams, each one's in order; of those that have none, nothing. `projection`: one that reads their topic."""

    async def events_after(self, topic: str, partition: int, offset: int, *, limit: int = 100) -> Sequence[Recorded[Fact]]:
        """The facts of a partition behind an offset, in order. -1: from the beginning."""

    async def event(self, tenant: str | None, event_id: EventId) -> Recorded[Fact] | None:
        """A tenant's event (None: anybody's) by its id; of a topic that was carried over, as it stands on the newer one."""

    async def streams(
        self, tenant: str | None, category: str, *, after: str | None = None, limit: int = 100, newest_first: bool = True
    ) -> Sequence[StreamId]:
        """Streams of a category that have facts, in the order of their ids, behind the one with the id `after`. None: all tenants'."""

    async def appended_at(self, position: Position) -> datetime | None:
        """When what lies last at or before a position was appended; None beyond what the journal has read."""

    async def counts_then(
        self, series: Series[E], organisation: str, then: Then, *, per: str, begins: datetime, ends: datetime, limit: int
    ) -> tuple[Sequence[Mapping[str, Any]], Position | None]:
        """As `Rows.counts_over_time`, of the entries whose facts had been appended by `then`, and where the last of these lies.

        Raises TooMuch for more entries than can be looked up one by one.
        """

    async def reached(self, places: Collection[tuple[str, int]]) -> Reach:
        """How far the journal is in these partitions; of those that it does not read, nothing."""

    async def latest(self, *, limit: int = 100) -> Sequence[Recorded[Fact]]:
        """The facts appended last, over all topics, in the order of their append times."""


def cursor_of(row: StreamRow) -> str:
    """An opaque text that says behind which row a page begins."""
    return base64.urlsafe_b64encode(f"{row.id}/{row.tenant}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[str, str]:
    """Id and tenant of the row. Raises InvalidCursor."""
    try:
        row_id, tenant = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split("/")
    except (binascii.Error, ValueError) as cause:
        raise InvalidCursor(f"{text!r} is no cursor of ours; take it from the page before, as it is") from cause
    return row_id, tenant
