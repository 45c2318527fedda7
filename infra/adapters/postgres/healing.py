"""Parked facts that an operator ordered to be folded again, with their records as the journal has them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import asyncpg

from infra.adapters.postgres.connections import Connection, Pool
from infra.adapters.postgres.packed import AFTER, HOT
from infra.adapters.postgres.shapes import READ_SIDE, names, view_of
from projections.journal import JOURNAL, JournalEntry, raw_of
from projections.ports import Mark, Place, Sick, base_of
from projections.upkeep import UPKEEP_ORDERS

_ORDERS = view_of(UPKEEP_ORDERS)
# The last order for each stream counts: whoever gives it knows of those before. One that was carried out stands beside what is left.
_SICK = f"""
WITH latest AS (
    SELECT DISTINCT ON (projection, stream) projection, stream, id || '/' || version AS name FROM {_ORDERS}
    ORDER BY projection, stream, occurred_at DESC, version DESC
)
SELECT p.projection, p.topic, p.partition, p.stream, latest.name AS ordered, {", ".join(f"j.{name}" for name in names(JOURNAL).split(", "))}
FROM {READ_SIDE}.parked p
JOIN latest ON latest.projection = split_part(p.projection, '.b', 1) AND latest.stream = p.stream AND latest.name <> p.tried_by
CROSS JOIN LATERAL (
    SELECT {names(JOURNAL)} FROM {HOT} h WHERE h.topic = p.topic AND h.partition = p.partition AND h."offset" = p."offset"
    UNION ALL SELECT {names(JOURNAL)} FROM {AFTER}(p.topic, p.partition, p."offset" - 1, 1, false) f WHERE f."offset" = p."offset"
) j
WHERE p.projection = ANY($1)
ORDER BY p.projection, p.stream, p.topic, p.partition, p."offset"
"""
_DISCARDED = f"SELECT projection, topic, partition, \"offset\" FROM {_ORDERS} WHERE kind = 'discard-ordered'"
_THERE = f"SELECT to_regclass('{_ORDERS}') IS NOT NULL AND to_regclass('{HOT}') IS NOT NULL"
_OWN = 5
_STREAMS = f"""
SELECT DISTINCT ON (projection, stream)
    projection, stream, count(*) OVER (PARTITION BY projection, stream) AS facts, "offset" AS first, reason
FROM {READ_SIDE}.parked ORDER BY projection, stream, behind, topic, partition, "offset"
"""
_FACTS = f"""
SELECT topic, partition, "offset", version, ce_type, reason, behind, tried_by FROM {READ_SIDE}.parked
WHERE projection = $1 AND stream = $2 ORDER BY topic, partition, "offset"
"""


async def sick(connection: Connection, marks: Collection[Mark]) -> Sequence[Sick]:
    """As `projections.ports.Store.sick`."""
    if not await connection.fetchval(_THERE):
        return ()
    found: defaultdict[tuple[str, Place, str, str], list[Any]] = defaultdict(list)
    for record in await connection.fetch(_SICK, sorted({name for name, _ in marks})):
        projection, topic, partition, stream, ordered = tuple(record)[:_OWN]
        if (projection, Place(topic, partition)) in marks:
            found[projection, Place(topic, partition), stream, ordered].append(raw_of(JournalEntry(*tuple(record)[_OWN:])))
    if not found:
        return ()
    discarded: defaultdict[tuple[str, Place], set[int]] = defaultdict(set)
    for each in await connection.fetch(_DISCARDED):
        discarded[each["projection"], Place(each["topic"], each["partition"])].add(each["offset"])
    return [
        Sick(
            projection=projection, place=place, stream=stream, order=ordered, records=records,
            discarded=frozenset(discarded[base_of(projection), place]),
        )
        for (projection, place, stream, ordered), records in found.items()
    ]  # fmt: skip


async def parked_streams(pool: Pool) -> Sequence[asyncpg.Record]:
    """`projection`, `stream`, how many `facts`, and offset (`first`) and `reason` of the one that was in the way."""
    return await _asked(pool, _STREAMS)


async def parked_facts(pool: Pool, projection: str, stream: str) -> Sequence[asyncpg.Record]:
    """What is parked of a stream, in its order."""
    return await _asked(pool, _FACTS, projection, stream)


async def _asked(pool: Pool, query: str, *values: str) -> Sequence[asyncpg.Record]:
    if await pool.fetchval(f"SELECT to_regclass('{READ_SIDE}.parked')") is None:
        return []
    return await pool.fetch(query, *values)
