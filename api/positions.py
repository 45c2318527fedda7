"""Read your writes: every write says where it stands on the log, and a read waits, bounded, until it can show as much."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request, Response

from api.past import AsOf, Past, past
from api.ports import Ports
from api.problems import BAD_POSITION, At, Problem
from api.wire import MOST_PLACES, bound, foreign_cursor, is_one_line, read_place, read_seen, unbound, write_place
from events.admission import UNCLAIMED
from events.positions import InvalidPosition, Position, write_reach
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.streams import StreamId
from projections.partial import PartialAggregate, PartialRow
from projections.queries import InvalidCursor, cursor_of, read_cursor, seen
from projections.series import EntryRow, Series
from projections.table import StreamRow, Table

R = TypeVar("R", bound=StreamRow)
E = TypeVar("E", bound=EntryRow)
A = TypeVar("A", bound=PartialRow)
_WAIT_SECONDS = 5.0
_MOST_POSITIONS = 8
_ALL: Mapping[str, str] = {}

MinPosition = Annotated[
    list[str] | None,
    Query(
        alias="min-position", max_length=_MOST_POSITIONS,
        description="`Aybiza-Position` of an answer, which this one shall show too; a `Warning` says when it could not in time.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The read models, for one request. Every method raises what the queries raise, which `problems` answers.

    Cursors belong to the list at `path`, and are refused by every other.
    """

    ports: Ports
    path: str
    past: Past | None = None

    async def row(self, table: Table[R], stream: StreamId, *, organisation: str | None = None) -> R | None:
        """A stream's row when it is the organisation's (by default the stream's own tenant's), else None."""
        rows, past = self.ports.rows, self.past
        row = await (rows.get(table, stream.tenant, stream.id) if past is None else past.row(table, stream))
        return row if row is not None and table.organisation(row) == (organisation or stream.tenant) else None

    async def page(
        self, table: Table[R], organisation: str | None, *, limit: int, cursor: str | None, newest_first: bool = True, **where: object
    ) -> tuple[Sequence[R], str | None]:
        """Rows of an organisation (None: of all), and the cursor of the next page. `where` leaves out what is None."""
        equal = {column: value for column, value in where.items() if value is not None}
        if cursor is not None:
            cursor = unbound(self.path, cursor)
            _must_be_ours(cursor)
        if self.past is not None:
            after = None if cursor is None else read_cursor(cursor)[0]
            rows = await self.past.page(table, organisation, limit=limit + 1, after=after, newest_first=newest_first, where=equal)
        else:
            rows = await self.ports.rows.find(
                table, organisation=organisation, where=equal, after=cursor, limit=limit + 1, newest_first=newest_first
            )
        return rows[:limit], bound(self.path, cursor_of(rows[limit - 1])) if len(rows) > limit else None

    async def counts(
        self, series: Series[E], organisation: str, *, per: str, begins: datetime, ends: datetime, limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """An organisation's counts of a series that is looked at by time."""
        if self.past is not None:
            return await self.past.counts(series, organisation, per=per, begins=begins, ends=ends, limit=limit)
        return await self.ports.rows.counts_over_time(series, organisation, per=per, begins=begins, ends=ends, limit=limit)

    async def combined(self, aggregate: PartialAggregate[A, Any], tenant: str, *, where: Mapping[str, str] = _ALL) -> A | None:
        """A tenant's partial rows, combined into one; None where there are none."""
        found = await self._combined(aggregate, tenant, where=where, by=None, after=None, limit=1)
        return found[0] if found else None

    async def combined_page(
        self, aggregate: PartialAggregate[A, Any], tenant: str, *, by: str, limit: int, cursor: str | None
    ) -> tuple[Sequence[A], str | None]:
        """One for each value of a column of the key, and the cursor of the next page."""
        place = None if cursor is None else read_place(unbound(self.path, cursor), str)
        after = None if place is None else str(place[0])
        rows = await self._combined(aggregate, tenant, where=_ALL, by=by, after=after, limit=limit + 1)
        more = len(rows) > limit
        return rows[:limit], bound(self.path, write_place([getattr(rows[limit - 1], by)])) if more else None

    async def _combined(
        self, aggregate: PartialAggregate[A, Any], tenant: str, *, where: Mapping[str, str], by: str | None, after: str | None, limit: int
    ) -> Sequence[A]:
        asked = self.ports.rows if self.past is None else self.past
        return await asked.combined(aggregate, tenant, where=where, by=by, after=after, limit=limit)

    def behind(self, cursor: str | None) -> int | None:
        """The number in a list of numbered things behind which a page begins; None: the list begins. Raises Problem."""
        place = None if cursor is None else read_place(unbound(self.path, cursor), int)
        return None if place is None else int(place[0])

    def cursor(self, behind: int | None) -> str | None:
        """That of the page which begins behind a number, so that `behind` gives it back."""
        return None if behind is None else bound(self.path, write_place([behind]))

    async def entries(self, series: Series[E], stream: StreamId, *, after: int, limit: int) -> tuple[Sequence[E], int | None]:
        """Entries of the facts behind a version, and the version behind which the next page begins."""
        rows, past = self.ports.rows, self.past
        if past is not None:
            return _cut(await past.entries(series, stream, after=after, limit=limit + 1), limit)
        found = await rows.entries(series, stream.tenant, stream.id, after_version=after, limit=limit + 1)
        return _cut(found, limit)

    async def entry(self, series: Series[E], stream: StreamId, version: int) -> E | None:
        """The first entry of one fact."""
        found, _ = await self.entries(series, stream, after=version - 1, limit=1)
        return next((each for each in found if each.version == version), None)

    async def event(self, tenant: str, event_id: EventId) -> Recorded[Fact] | None:
        """A tenant's event by its id."""
        if self.past is not None:
            return await self.past.event(tenant, event_id)
        fact = await self.ports.journal.event(tenant, event_id)
        if fact is not None and (noted := seen.get()) is not None:
            # It never changes: what is shown was whole once it was written.
            noted.note(write_reach({fact.position[:2]: fact.position.offset + 1}))
        return fact

    async def facts(self, stream: StreamId, *, after: int, limit: int) -> tuple[Sequence[Recorded[Fact]], int | None]:
        """The journal's facts behind a version, as `entries`."""
        journal, past = self.ports.journal, self.past
        if past is not None:
            return _cut(await past.history(stream, after=after, limit=limit + 1), limit)
        if (noted := seen.get()) is not None:
            # Where the stream lies is known by its first fact; how far the journal is there, before what is shown of it is read.
            lies = [fact.position[:2] for fact in await journal.stream_events(stream, limit=1)]
            noted.note(write_reach(await journal.reached(lies)))
        found = await journal.stream_events(stream, after_version=after, limit=limit + 1)
        return _cut(found, limit)


def _must_be_ours(cursor: str) -> None:
    try:
        parts = read_cursor(cursor)
    except InvalidCursor as cause:
        raise foreign_cursor() from cause
    if not all(map(is_one_line, parts)):
        raise foreign_cursor()


V = TypeVar("V", bound="EntryRow | Recorded[Fact]")


def _cut(found: Sequence[V], limit: int) -> tuple[Sequence[V], int | None]:
    if len(found) <= limit:
        return found, None
    # Entries of one fact stay on one page, unless they alone fill it.
    last = found[limit].version - 1
    whole = [each for each in found[:limit] if each.version <= last]
    return (whole, last) if whole else (found[:limit], found[limit - 1].version)


async def reading(request: Request, response: Response, min_position: MinPosition = None, as_of: AsOf = None) -> Reading:
    """The read models, once they show what the caller wants to see, or as they were. Raises Problem for what is no position of ours."""
    ports: Ports = request.app.state.ports
    request.scope["state"]["told"] = response.headers
    positions = positions_of(min_position, ports)
    if not await ports.rows.wait_for(positions, _WAIT_SECONDS):
        response.headers["Warning"] = '199 aybiza "the answer is older than min-position"'
    # Afterwards: what was waited for may be the very place that is asked about.
    return Reading(ports=ports, path=request.scope["path"], past=None if as_of is None else await past(ports, response, as_of))


def positions_of(min_position: list[str] | None, ports: Ports) -> Sequence[Position]:
    """What to wait for: of a write's position the place itself, of a read's the last one in each partition. Raises Problem."""
    found = [position for text in min_position or () for position in _positions(text, ports.topics)]
    if len(found) > MOST_PLACES:
        raise _bad(f"Nobody waits for more than {MOST_PLACES} places.")
    return found


def _positions(text: str, topics: Collection[str]) -> Sequence[Position]:
    try:
        if "@" in text:
            found = [Position(*place, offset - 1, UNCLAIMED) for place, offset in read_seen(text)[0].items()]
        else:
            found = [Position.parse(text)]
    except InvalidPosition as cause:
        raise _bad(f"{text[:200]!r} is not a position that an answer had.") from cause
    for each in found:
        if each.topic not in topics:
            raise _bad(f"Nothing here is read from {each.topic[:100]!r}.")
    return [each for each in found if each.offset >= 0]


def _bad(detail: str) -> Problem:
    return Problem(BAD_POSITION, detail, errors=[At(parameter="min-position", detail="is not a position of ours")])


Read = Annotated[Reading, Depends(reading)]
