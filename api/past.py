"""Time travel: what the answer would have been at a time, or at a place on the log, folded anew from the journal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from fastapi import Query, Response
from pydantic import TypeAdapter, ValidationError

from api.ports import Ports
from api.problems import BAD_AS_OF, At, Problem
from api.wire import POSITION, Time, read_seen
from events.positions import InvalidPosition, Position, Reach
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.streams import PLATFORM, StreamId
from projections.partial import PartialAggregate, PartialRow
from projections.queries import JournalRows, Then, TooMuch, seen
from projections.series import EntryRow, Series
from projections.table import StreamRow, Table

R = TypeVar("R", bound=StreamRow)
E = TypeVar("E", bound=EntryRow)
A = TypeVar("A", bound=PartialRow)
AS_OF = "Aybiza-As-Of"
_TIME: TypeAdapter[datetime] = TypeAdapter(Time)
# Streams looked through for one page, where a list is of more than the organisation's own streams.
_MOST_STREAMS = 5_000
_AT_ONCE = 100
# What was appended in the last moments may not be in the journal yet.
_SETTLED = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The read models as they were when everything up to `at` was appended; in the partitions of `reach`, up to there."""

    journal: JournalRows
    at: datetime
    reach: Reach
    response: Response
    seen: list[Recorded[Fact]] = field(default_factory=list)

    async def history(self, stream: StreamId, *, after: int = 0, limit: int | None = None) -> Sequence[Recorded[Fact]]:
        """A stream's facts behind a version, of those that were there. Notes in the answer's headers up to where it is true."""
        return self._then(await self.journal.stream_events(stream, after_version=after, limit=limit))

    async def histories(self, streams: Sequence[StreamId], projection: str) -> Sequence[Sequence[Recorded[Fact]]]:
        """The same of whole streams that a projection is made of, one by one, asked for together."""
        found = await self.journal.events_of(streams, projection)
        return [self._then(found.get(stream, ())) for stream in streams]

    def _then(self, found: Sequence[Recorded[Fact]]) -> Sequence[Recorded[Fact]]:
        facts = [each for each in found if self._was_there(each)]
        if facts and (not self.seen or facts[-1].appended_at >= self.seen[0].appended_at):
            self.seen[:] = facts[-1:]
            self.response.headers[POSITION] = str(facts[-1].position)
        return facts

    async def event(self, tenant: str, event_id: EventId) -> Recorded[Fact] | None:
        """As `JournalRows.event`, if it was there."""
        fact = await self.journal.event(tenant, event_id)
        if fact is None or not self._was_there(fact):
            return None
        self.response.headers[POSITION] = str(fact.position)
        return fact

    async def row(self, table: Table[R], stream: StreamId) -> R | None:
        return table.fold(await self.history(stream))

    async def page(
        self,
        table: Table[R],
        organisation: str | None,
        *,
        limit: int,
        after: str | None,
        newest_first: bool,
        where: dict[str, object],
        tenant: str | None = None,
    ) -> Sequence[R]:
        """Rows in the order of their ids, as `Rows.find` gives them. `tenant`: whose streams are looked through, if not theirs."""
        tenant = tenant or (PLATFORM if table.names_its_organisation else organisation)
        found: list[R] = []
        looked = 0
        while len(found) < limit and looked < _MOST_STREAMS:
            streams = await self.journal.streams(tenant, table.category, after=after, limit=_AT_ONCE, newest_first=newest_first)
            for facts in await self.histories(streams, table.name):
                row = table.fold(facts)
                if row is None or (organisation is not None and table.organisation(row) != organisation):
                    continue
                if all(getattr(row, column) == value for column, value in where.items()):
                    found.append(row)
            looked += len(streams)
            if len(streams) < _AT_ONCE:
                break
            after = streams[-1].id
        if len(found) < limit and looked >= _MOST_STREAMS:
            self.response.headers["Warning"] = f'199 aybiza "only {looked} things were looked through; there may be more"'
        return found[:limit]

    async def entries(self, series: Series[E], stream: StreamId, *, after: int, limit: int) -> Sequence[E]:
        found: list[E] = []
        while len(found) < limit:
            # Many facts have no entry in a series.
            facts = await self.history(stream, after=after, limit=limit)
            found += [entry for fact in facts for entry in series.entries(fact)]
            if len(facts) < limit:
                break
            after = facts[-1].version
        return found[:limit]

    async def counts(
        self, series: Series[E], organisation: str, *, per: str, begins: datetime, ends: datetime, limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """As `Rows.counts_over_time` gives them. Raises Problem where there is more than can be counted anew."""
        then = Then(self.at, self.reach)
        try:
            counts, last = await self.journal.counts_then(series, organisation, then, per=per, begins=begins, ends=ends, limit=limit)
        except TooMuch as cause:
            raise _bad(f"There are {cause} between these times; ask for less, or for now.") from cause
        if last is not None:
            self.response.headers[POSITION] = str(last)
        return counts

    async def combined(
        self, aggregate: PartialAggregate[A, Any], tenant: str, *, where: Mapping[str, str], by: str | None, after: str | None, limit: int
    ) -> Sequence[A]:
        """As `Rows.combined` gives them. Raises Problem where there is more than can be folded anew: a part of it is no sum."""
        added: list[A] = []
        looked, last = 0, None
        while True:
            streams = await self.journal.streams(tenant, aggregate.category, after=last, limit=_AT_ONCE)
            for facts in await self.histories(streams, aggregate.name):
                rows = aggregate.fold(facts)
                added += [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]
            looked += len(streams)
            if len(streams) < _AT_ONCE:
                break
            if looked >= _MOST_STREAMS:
                raise _bad(f"More than {looked} things would have to be counted anew; ask for now, or for one thing.")
            last = streams[-1].id
        rows = aggregate.combine(added, [*where, *([] if by is None else [by])])
        return [row for row in rows if by is None or after is None or getattr(row, by) > after][:limit]

    def _was_there(self, fact: Recorded[Fact]) -> bool:
        reached = self.reach.get((fact.position.topic, fact.position.partition))
        if reached is not None:
            return fact.position.offset < reached
        return fact.appended_at <= self.at


AsOf = Annotated[
    str | None,
    Query(
        alias="as-of", max_length=300,
        description="A time (RFC 3339), or a position: the answer as it was when no more than that had been appended to the log.",
    ),
]  # fmt: skip


async def past(ports: Ports, response: Response, as_of: str) -> Past:
    """The rows of that moment. Raises Problem for the future, and for what is neither a time nor a place that is known."""
    # What the journal of now was read up to says nothing of then.
    seen.set(None)
    reach: Reach = {}
    position = _position(as_of, ports)
    if position is not None:
        given = await ports.journal.appended_at(position)
        if given is None:
            raise _bad("Nothing is known of that position, or not yet.")
        at, reach = given, {(position.topic, position.partition): position.offset + 1}
        # Of an answer in which there is nothing this is the place up to which it is true.
        response.headers[POSITION] = str(position)
    elif "@" in as_of:
        at, reach = await _reached(as_of, ports)
        response.headers[POSITION] = as_of
    else:
        at = _time(as_of)
        if at > ports.clock():
            raise _bad("That time is still to come.")
        if ports.clock() - at < _SETTLED:
            response.headers["Warning"] = '199 aybiza "what was appended in the last seconds may be missing"'
    response.headers[AS_OF] = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return Past(journal=ports.journal, at=at, reach=reach, response=response)


async def moment(text: str, ports: Ports) -> datetime | None:
    """When a time in a request was, or when what stands at a position was appended; None for what is neither, or not known."""
    try:
        position = Position.parse(text)
    except InvalidPosition:
        try:
            return _TIME.validate_strings(text, strict=True).astimezone(UTC)
        except (ValidationError, OverflowError):
            return None
    return await ports.journal.appended_at(position) if position.topic in ports.topics else None


def _position(text: str, ports: Ports) -> Position | None:
    try:
        position = Position.parse(text)
    except InvalidPosition:
        return None
    if position.topic not in ports.topics:
        raise _bad(f"Nothing here is read from {position.topic[:100]!r}.")
    return position


async def _reached(text: str, ports: Ports) -> tuple[datetime, Reach]:
    """Up to where an answer said that it was true, and when. Raises Problem."""
    try:
        reach, at = read_seen(text)
    except InvalidPosition as cause:
        raise _bad(f"{text[:200]!r} is not a position that an answer had.") from cause
    if not all(topic in ports.topics for topic, _ in reach):
        raise _bad("Nothing here is read from there.")
    reached = await ports.journal.reached(reach)
    if at > ports.clock() + _SETTLED or any(reached.get(place, 0) < offset for place, offset in reach.items()):
        raise _bad("Nothing is known of that position, or not yet.")
    # Another process may have answered, whose clock is not quite ours.
    return min(at, ports.clock()), reach


def _time(text: str) -> datetime:
    try:
        return _TIME.validate_strings(text, strict=True).astimezone(UTC)
    except (ValidationError, OverflowError) as cause:
        raise _bad("It is neither a time such as 2026-11-21T10:00:00Z nor a position that an answer had.") from cause


def _bad(detail: str) -> Problem:
    return Problem(BAD_AS_OF, detail, errors=[At(parameter="as-of", detail=detail)])
