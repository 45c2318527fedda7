"""The journal as owners read it: streams with the moment that they are of, so that nothing is decided on half a history."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from commands.ports import Begun, History, HistoryAway, HistoryDamaged, Place, Reached, Remembered, Since
from events.admission import Fence
from events.headers import BrokenHeader
from events.records import RawRecord
from infra.adapters.postgres.connections import Pool, raising
from infra.adapters.postgres.packed import AFTER, BEFORE, HOT, NEWEST, OF_STREAM
from infra.adapters.postgres.shapes import LIVE, READ_SIDE, names
from projections.journal import JOURNAL, JournalEntry, entry_of, key_of, raw_of, stream_text

_LIVE = LIVE.format(JOURNAL.name)
_ENTRY = names(JOURNAL)
# One statement each, so that checkpoint and entries are of one moment, even while the journal is thrown away and made anew.
_REACHED = f"""
SELECT c.next_offset, c.term, c.claim_id, coalesce((
    SELECT appended_at_ms FROM {HOT} WHERE topic = $1 AND partition = $2 ORDER BY topic DESC, partition DESC, "offset" DESC LIMIT 1
), (SELECT appended_at_ms FROM {BEFORE}($1, $2, {NEWEST}, 1, false)), 0)
FROM {READ_SIDE}.checkpoints c WHERE c.projection = {_LIVE} AND c.topic = $1 AND c.partition = $2
"""
# Stream by stream by the index of streams, whatever the planner thinks of a table that is too young for statistics: what follows
# an OFFSET is not moved before it.
_LOAD = f"""
SELECT c.next_offset, c.term, c.claim_id, 0, found.*
FROM {READ_SIDE}.checkpoints c LEFT JOIN LATERAL (
    SELECT entry.* FROM unnest($3::text[], $4::bigint[], $5::bigint[]) since (stream, behind, version) CROSS JOIN LATERAL (
        SELECT * FROM (
            (SELECT {_ENTRY} FROM {HOT} j
             WHERE j.topic = $1 AND j.stream = since.stream AND j.version >= since.version AND j.kind IN (0, 4) OFFSET 0)
            UNION ALL SELECT * FROM {OF_STREAM}(since.stream, since.version)
        ) both_ ORDER BY version, "offset" OFFSET 0
    ) entry
    WHERE entry."offset" > since.behind AND entry.topic = $1 AND entry.partition = $2
) found ON true
WHERE c.projection = {_LIVE} AND c.topic = $1 AND c.partition = $2
"""
_ANSWERED = f"""
SELECT c.next_offset, c.term, c.claim_id, 0, found.*
FROM {READ_SIDE}.checkpoints c LEFT JOIN LATERAL (
    SELECT entry.* FROM (
        (SELECT {_ENTRY} FROM {HOT} j WHERE j.topic = $1 AND j.stream = $3 AND j.kind IN (0, 4) OFFSET 0)
        UNION ALL SELECT * FROM {OF_STREAM}($3, 0)
    ) entry
    WHERE entry.topic = $1 AND entry.partition = $2 AND substring(entry.header FROM 71 FOR 16) = $4
    ORDER BY entry."offset" DESC LIMIT 1
) found ON true
WHERE c.projection = {_LIVE} AND c.topic = $1 AND c.partition = $2
"""
# A stream begins with its first event, or with a command before it that changed nothing.
_BEGUN = f"""
WITH page AS MATERIALIZED (
    SELECT * FROM (
        (SELECT "offset", stream, version, kind FROM {HOT} WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4
         ORDER BY topic, partition, "offset" LIMIT $5)
        UNION ALL
        (SELECT "offset", stream, version, kind FROM {AFTER}($1, $2, $3 - 1, $5, false) WHERE "offset" < $4)
    ) both_ ORDER BY "offset" LIMIT $5
)
SELECT c.next_offset, c.term, c.claim_id, 0, count(page), max(page."offset"),
    array_agg(page.stream) FILTER (WHERE (page.kind, page.version) IN ((0, 1), (4, 0)))
FROM {READ_SIDE}.checkpoints c LEFT JOIN page ON true
WHERE c.projection = {_LIVE} AND c.topic = $1 AND c.partition = $2 GROUP BY c.projection, c.topic, c.partition
"""
_SECONDS = 10.0
_PLACE_SECONDS = 2.0
# Checked in one go on the event loop: a few milliseconds' worth.
_AT_ONCE = 256


class PostgresHistories:
    """`commands.ports.Histories` over the journal's table. What it hands out has the leaf hash that the journal noted when it was read."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._silent_until = 0.0
        self._beginnings = asyncio.Lock()

    async def reached(self, place: Place) -> Reached:
        return _reached(await self._read(_REACHED, place))

    async def load(self, place: Place, since: Mapping[bytes, Since]) -> History:
        behind, versions = [each.offset for each in since.values()], [each.version for each in since.values()]
        found = await self._read(_LOAD, place, list(map(stream_text, since)), behind, versions)
        records: defaultdict[bytes, list[RawRecord]] = defaultdict(list)
        for at in range(0, len(found), _AT_ONCE):
            for each in found[at : at + _AT_ONCE]:
                raw = _record(each)
                if raw is not None:
                    records[raw.key].append(raw)
            await asyncio.sleep(0)
        return History(_reached(found), records)

    async def answered(self, place: Place, key: bytes, command_id: bytes) -> Remembered:
        found = await self._read(_ANSWERED, place, stream_text(key), command_id)
        return Remembered(_reached(found), _record(found[0]))

    async def begun(self, place: Place, start: int, stop: int, most: int) -> Begun:
        # One at a time: streams that commands wait for are loaded over the other connections.
        async with self._beginnings:
            (found,) = await self._read(_BEGUN, place, start, stop, most)
        reached, count, last, streams = found[0], *tuple(found)[4:]
        return Begun([key_of(each) for each in dict.fromkeys(streams or ())], last + 1 if count == most else min(stop, reached))

    async def _read(self, sql: str, place: Place, *values: object) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._silent_until:
            raise HistoryAway("PostgreSQL was silent a moment ago")
        with raising(HistoryAway):
            try:
                async with asyncio.timeout(_SECONDS):
                    # For so long it is also waited for a connection that is given back: a silent database would keep it for ever.
                    async with self._pool.acquire(timeout=_PLACE_SECONDS) as connection:
                        found = await connection.fetch(sql, *place, *values)
            except TimeoutError:
                self._silent_until = loop.time() + _SECONDS
                raise
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as cause:
                raise HistoryAway("there is no journal yet") from cause
            except asyncpg.PostgresError as cause:
                # Whatever it has against the question: the log has all of it, and owners go on.
                raise HistoryAway(f"PostgreSQL does not say ({type(cause).__name__}: {cause})") from cause
        if not found:
            raise HistoryAway(f"the journal does not know {place} yet")
        return found


def _reached(found: Sequence[Any]) -> Reached:
    offset, term, claim_id, timestamp_ms = tuple(found[0])[:4]
    return Reached(offset, Fence(term, claim_id), timestamp_ms)


def _record(found: Any) -> RawRecord | None:
    """Raises HistoryDamaged."""
    fields = tuple(found)[4:]
    if fields[0] is None:
        return None
    entry = JournalEntry(*fields)
    try:
        raw = raw_of(entry)
        same = raw.header is not None and entry_of(raw, raw.header) == entry
    except (BrokenHeader, ValueError) as cause:
        raise HistoryDamaged(f"{entry.topic}/{entry.partition}/{entry.offset}: {cause}") from cause
    if not same or key_of(entry.stream) != raw.key:
        raise HistoryDamaged(f"{entry.topic}/{entry.partition}/{entry.offset} is not what its leaf hash was taken of")
    return raw
