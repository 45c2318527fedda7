"""The parts of what is kept in ranges: each is made before its first row comes, so that an append finds its place and old parts can go."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date
from typing import Any, NamedTuple

from infra.adapters.postgres import over_time
from infra.adapters.postgres.connections import Connection, Pool
from infra.adapters.postgres.shapes import relation_of, schema_of
from projections.journal import JOURNAL, Journal
from projections.ports import Projection, Writes, named
from projections.series import Series

OFFSETS = 1 << 18
"""The offsets of a topic that are kept together: those of one Kafka partition; a topic has as many times the rows."""
_MAKING = 0x61796203
_LONGEST_NAME = 63
_RANGES = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds, coalesce(pg_total_relation_size(c.oid), 0)::bigint AS bytes
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass($1)
"""
_BOUNDS = re.compile(r"FROM \('(?P<topic>.*)', '?(?P<first>\d+)'?\) TO \('.*', '?(?P<end>\d+)'?\)")
_KIND = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass($1)"


class Range(NamedTuple):
    """A part of a journal, as it lies in the database: the offsets of a topic from `first` on, before `end`."""

    name: str
    topic: str
    first: int
    end: int
    bytes: int


async def ranges_of(connection: Connection, journal: Journal) -> Sequence[Range]:
    """The parts of a build that are not packed, in their order."""
    found = []
    for each in await connection.fetch(_RANGES, relation_of(journal)):
        # None of one that is being taken away at this moment.
        bounds = _BOUNDS.search(each["bounds"] or "")
        if bounds is not None:
            first, end = int(bounds["first"]), int(bounds["end"])
            found.append(Range(each["relname"], bounds["topic"].replace("''", "'"), first, end, each["bytes"]))
    return sorted(found, key=lambda part: (part.topic, part.first))


class Parts:
    """What parts there are, of the builds that a store writes to. A relation of before there were parts goes on without them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._there: set[str] = set()
        self._parted: set[str] = set()
        self._noted: set[str] = set()
        self._widths: dict[str, int] = {}
        self.journal = JOURNAL

    async def opened(self, connection: Connection, projections: Collection[Projection]) -> None:
        """Look which of the relations are kept in parts, and forget what was there: it may have been dropped."""
        self._there.clear()
        for projection in projections:
            if isinstance(projection, Journal):
                self.journal = projection
                # A topic goes on as it was begun: other ranges would lie across those that are there.
                self._widths = {part.topic: part.end - part.first for part in await ranges_of(connection, projection)}
            by_time = isinstance(projection, Series) and projection.over_time is not None
            if (by_time or isinstance(projection, Journal)) and await connection.fetchval(_KIND, relation_of(projection)):
                self._parted.add(named(projection))
            if isinstance(projection, Series) and by_time and await over_time.is_noted(connection, projection):
                self._noted.add(named(projection))

    async def ready(self, writes: Writes) -> None:
        """Make the parts that are wanted and not there yet. In transactions of their own: nobody who reads or appends waits for them."""
        if writes.journal and named(self.journal) in self._parted:
            await self._make(self.journal, self._spans(writes))
        for series, entries in writes.entries.items():
            if entries and named(series) in self._parted:
                await self._make(series, _days(series, entries))

    def noting(self, writes: Writes) -> Sequence[Series[Any]]:
        """Those of which it is noted what is to be counted anew, with what is written."""
        return [series for series, entries in writes.entries.items() if entries and named(series) in self._noted]

    def _spans(self, writes: Writes) -> Iterable[tuple[str, str]]:
        """Name and bounds of each part that the checkpoints of the journal go through."""
        spans = set()
        for step in writes.advances:
            if step.projection == named(self.journal):
                width = self._widths.get(step.place.topic, OFFSETS)
                numbers = range(step.seen.next_offset // width, max(step.reached.next_offset - 1, 0) // width + 1)
                spans |= {(step.place.topic, number, width) for number in numbers}
        return [(part_of(topic, number), _bounds(topic, number, width)) for topic, number, width in sorted(spans)]

    async def _make(self, projection: Projection, spans: Iterable[tuple[str, str]]) -> None:
        missing = [span for span in spans if f"{named(projection)} {span[0]}" not in self._there]
        if not missing:
            return
        relation = relation_of(projection)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _MAKING)
            for name, bounds in missing:
                part = f'"{schema_of(projection)}"."{name}"'
                if await connection.fetchval("SELECT to_regclass($1)", part) is None:
                    # Attached instead of made in its place: that waits for everybody who reads, and everybody then waits for it.
                    await connection.execute(f"CREATE TABLE {part} (LIKE {relation} INCLUDING DEFAULTS INCLUDING STORAGE)")
                    await connection.execute(f"ALTER TABLE {relation} ATTACH PARTITION {part} FOR VALUES {bounds}")
        self._there.update(f"{named(projection)} {name}" for name, _ in missing)


def _days(series: Series[Any], entries: Sequence[Any]) -> Iterable[tuple[str, str]]:
    """Name and bounds of each range of days in which something happened."""
    days = 1 if series.over_time is None else series.over_time.days
    firsts = {entry.occurred_at.astimezone(UTC).toordinal() // days * days for entry in entries}
    for first in sorted(firsts):
        begins, ends = date.fromordinal(max(first, 1)), date.fromordinal(first + days)
        yield f"{series.name}_{begins:%Y%m%d}", f"FROM ('{begins} 00:00:00+00') TO ('{ends} 00:00:00+00')"


def _bounds(topic: str, number: int, width: int) -> str:
    literal = topic.replace("'", "''")
    return f"FROM ('{literal}', {number * width}) TO ('{literal}', {(number + 1) * width})"


def part_of(topic: str, number: int) -> str:
    """A part's name: the topic, and which of its ranges. A topic that is too long for a name is known by its hash."""
    plain = re.sub(r"[^\w.-]", "-", topic)
    name = f"{plain}/{number}"
    return name if len(name.encode()) <= _LONGEST_NAME else f"{hashlib.sha256(topic.encode()).hexdigest()[:32]}/{number}"
