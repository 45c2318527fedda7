"""Series that are looked at by time: hypertables with continuous aggregates where TimescaleDB is, ranges and counts of our own where not.

Readers ask the same views of both, and at each moment both say what the entries are. Which one a build has is decided when it is made:
where TimescaleDB comes later, a build beside the one that is there has it.
"""

import functools
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from events.headers import Kind
from infra.adapters.postgres import hypertables
from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.counts import (
    FINER,
    LEVELS,
    counted_of,
    cut,
    gone_of,
    kept_of,
    measures,
    names_of,
    not_gone,
    noted_of,
    of_counts,
    of_entries,
    over,
    remembered,
    views,
)
from infra.adapters.postgres.packed import HOT, OF_STREAM
from infra.adapters.postgres.shapes import LIVE, READ_SIDE, Insert, columns_of, names, relation_of, schema_of, view_schema_of
from infra.adapters.postgres.walls import READER, visible
from projections.ports import StoreUnavailable
from projections.series import OverTime, Series

_PLACE = ("appended_at_ms", "topic", "partition", "offset")
_EVENT = int(Kind.EVENT)
_REFRESHING = 0x61796204
_RANGES = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass($1) AND c.relname < $2 ORDER BY 1
"""
_KIND = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass($1)"


async def make(connection: Connection, series: Series[Any]) -> None:
    """Make a build's relation with its counts, in whichever way this database has."""
    of, relation = over(series), relation_of(series)
    columns = ", ".join(column.declared() for column in columns_of(series))
    key = 'PRIMARY KEY ("tenant", "id", "version", "n", "occurred_at")'
    await connection.execute(f'CREATE SCHEMA "{schema_of(series)}"')
    if await hypertables.version_of(connection) is not None:
        statements = [f"CREATE TABLE {relation} ({columns}, {key})", *hypertables.created(series)]
    else:
        statements = [f"CREATE TABLE {relation} ({columns}, {key}) PARTITION BY RANGE (occurred_at)", *_native(series, of)]
    for statement in statements:
        await connection.execute(statement)


async def complete(connection: Connection, series: Series[Any]) -> None:
    """Make what a build of earlier lacks."""
    if await is_noted(connection, series):
        for statement in remembered(series):
            await connection.execute(statement)


def shown(series: Series[Any]) -> Sequence[str]:
    """The statements that show readers a build: entries and counts of the organisation that they ask for, and of no other."""
    wall = f"(current_user <> '{READER}' OR {visible(series)})"
    view_schema = view_schema_of(series)
    statements = [f'CREATE SCHEMA IF NOT EXISTS "{view_schema}"']
    for name, columns, source in (
        (series.name, names(series), relation_of(series)),
        *((f"{series.name}_{level}", ", ".join(names_of(series)), counted_of(series, level)) for level in LEVELS),
    ):
        view = f'"{view_schema}"."{name}"'
        statements.append(f"CREATE OR REPLACE VIEW {view} WITH (security_barrier = true) AS SELECT {columns} FROM {source} WHERE {wall}")
        statements.append(f"GRANT SELECT ON {view} TO {READER}")
    return [*statements, f'GRANT USAGE ON SCHEMA "{view_schema}" TO {READER}']


def counts_of(series: Series[Any], per: str) -> str:
    """The question for an organisation's counts ($1) from a time on ($2), before another ($3), and for how many at most ($4)."""
    if per not in LEVELS:
        raise ValueError(f"nothing is counted by {per}, but by {', '.join(LEVELS)}")
    order = ", ".join(f'"{name}"' for name in ("bucket", *over(series).by))
    return (
        f'SELECT {", ".join(names_of(series))} FROM "{view_schema_of(series)}"."{series.name}_{per}" '
        f"WHERE tenant = $1 AND bucket >= $2 AND bucket < $3 ORDER BY {order} LIMIT $4"
    )


def counts_then_of(series: Series[Any], per: str) -> str:
    """The same question of what had been appended at a time ($5, in ms), and in some partitions ($6, $7) before an offset of each ($8),
    whatever the time there: of $9 entries at most, each looked up in the journal.

    Each count has the place of what was appended last among all that are counted, and how many entries were looked at.
    """
    if per not in LEVELS:
        raise ValueError(f"nothing is counted by {per}, but by {', '.join(LEVELS)}")
    of = over(series)
    columns = ", ".join(f'"{column.name}"' for column in series.columns if column.name not in {"tenant", "id"})
    place, place_of_j = (", ".join(f'{of}"{name}"' for name in _PLACE) for of in ("", "j."))
    by, newest = ", ".join(["bucket", "tenant", *(f'"{name}"' for name in of.by)]), ", ".join(f'"{name}" DESC' for name in _PLACE)
    bucket = cut("occurred_at", per)
    # Only the parts of these are looked through, for each entry.
    topics = f"ARRAY(SELECT DISTINCT topic FROM {READ_SIDE}.checkpoints WHERE projection = {LIVE.format(series.name)})"
    # Packed parts are opened once a stream, not once an entry.
    return f"""
        WITH entry AS MATERIALIZED (
            SELECT tenant, tenant || '/{series.category}/' || id AS stream, {columns} FROM "{view_schema_of(series)}"."{series.name}"
            WHERE tenant = $1 AND occurred_at >= $2 AND occurred_at < $3::timestamptz + INTERVAL '1 {per}'
                AND {bucket} >= $2 AND {bucket} < $3 LIMIT $9
        ), hot AS MATERIALIZED (
            SELECT entry.*, {place_of_j} FROM entry LEFT JOIN LATERAL (
                SELECT {place} FROM {HOT} h WHERE h.topic = ANY({topics}) AND h.stream = entry.stream AND h.version = entry.version
                    AND h.kind = {_EVENT} LIMIT 1
            ) j ON true
        ), cold AS MATERIALIZED (
            SELECT j.stream, j.version, {place_of_j} FROM (
                SELECT stream, min(version) AS since FROM hot WHERE topic IS NULL GROUP BY stream
            ) unfound CROSS JOIN LATERAL {OF_STREAM}(unfound.stream, unfound.since) j WHERE j.kind = {_EVENT}
        ), counted AS MATERIALIZED (
            SELECT *, {bucket} AS bucket FROM (
                SELECT * FROM hot WHERE topic IS NOT NULL UNION ALL
                SELECT entry.*, {place_of_j} FROM hot JOIN entry USING (stream, version, n) JOIN cold j USING (stream, version)
                WHERE hot.topic IS NULL
            ) placed LEFT JOIN unnest($6::text[], $7::integer[], $8::bigint[]) reach (topic, partition, reached) USING (topic, partition)
            WHERE CASE WHEN reached IS NOT NULL THEN "offset" < reached ELSE appended_at_ms <= $5 END
        )
        SELECT {by}, {measures(of)}, (SELECT count(*) FROM entry) AS looked_at, last_topic, last_partition, last_offset
        FROM counted CROSS JOIN (
            SELECT topic AS last_topic, partition AS last_partition, "offset" AS last_offset FROM counted ORDER BY {newest} LIMIT 1
        ) last GROUP BY {by}, last_topic, last_partition, last_offset ORDER BY {by} LIMIT $4
    """


async def is_native(connection: Connection, series: Series[Any]) -> bool:
    """Whether we keep its ranges and counts ourselves."""
    return bool(await connection.fetchval(_KIND, relation_of(series)))


async def is_noted(connection: Connection, series: Series[Any]) -> bool:
    """Whether those who append note what they touch: hypertables of earlier did without."""
    return await connection.fetchval("SELECT to_regclass($1)", noted_of(series)) is not None


async def refresh(pool: Pool, series: Series[Any]) -> None:
    """Bring a build's counts up to its entries. Idempotent; at the same time by two, one does it. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            if await _alone(connection, series):
                await _count_again(connection, series)


async def _alone(connection: Connection, series: Series[Any]) -> bool:
    """False where there is nothing to do it to, or where somebody does it now. The lock goes when the connection is given back."""
    if not await is_noted(connection, series):
        return False
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", _REFRESHING, relation_of(series)))


async def _count_again(connection: Connection, series: Series[Any]) -> None:
    if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {noted_of(series)})"):
        return
    # What came after its range had been dropped: there is nothing left to count it with.
    await connection.execute(f"DELETE FROM {noted_of(series)} WHERE NOT {not_gone(series)}")
    if not await is_native(connection, series):
        await hypertables.count_again(connection, series)
        return
    # One moment for all: what somebody appends meanwhile has its note beside it, for the next time.
    async with connection.transaction(isolation="repeatable_read"):
        minutes = await connection.fetch(f"DELETE FROM {noted_of(series)} RETURNING bucket")
        buckets = sorted({each["bucket"] for each in minutes})
        listed = ", ".join(names_of(series))
        await connection.execute(f"DELETE FROM {kept_of(series, 'minute')} WHERE bucket = ANY($1)", buckets)
        counted = of_entries(series, "(SELECT unnest($1::timestamptz[]) AS bucket)")
        await connection.execute(f"INSERT INTO {kept_of(series, 'minute')} ({listed}) {counted}", buckets)
        for finer, level in FINER:
            await connection.execute(
                f"DELETE FROM {kept_of(series, level)} WHERE bucket IN (SELECT {cut('b', level)} FROM unnest($1::timestamptz[]) b)", buckets
            )
            touched = f"(SELECT DISTINCT {cut('b', level)} AS bucket FROM unnest($1::timestamptz[]) b)"
            await connection.execute(
                f"INSERT INTO {kept_of(series, level)} ({listed}) {of_counts(series, kept_of(series, finer), level, touched)}", buckets
            )


async def expire(pool: Pool, series: Series[Any], now: datetime) -> Sequence[str]:
    """Drop the ranges of which everything is older than is kept; their counts stay. Returns their names. Raises StoreUnavailable."""
    of = over(series)
    if of.kept_days is None:
        return ()
    day = (now - timedelta(days=of.kept_days)).astimezone(UTC).toordinal()
    before = datetime.combine(date.fromordinal(max(day // of.days * of.days, 1)), time(), UTC)
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            if not await _alone(connection, series):
                return ()
            native = await is_native(connection, series)
            found = await (_older if native else hypertables.older)(connection, series, before)
            if found:
                await _count_again(connection, series)
                # From now on nothing is counted there again: after a crash between these two, too.
                async with connection.transaction():
                    await connection.execute(f"DELETE FROM {gone_of(series)} WHERE before < $1", before)
                    await connection.execute(f"INSERT INTO {gone_of(series)} VALUES ($1)", before)
                await (_drop if native else hypertables.drop_older)(connection, series, before)
    return found


async def _older(connection: Connection, series: Series[Any], before: datetime) -> Sequence[str]:
    found = await connection.fetch(_RANGES, relation_of(series), f"{series.name}_{before:%Y%m%d}")
    return [each["relname"] for each in found]


async def _drop(connection: Connection, series: Series[Any], before: datetime) -> None:
    for each in await _older(connection, series, before):
        part = f'"{schema_of(series)}"."{each}"'
        await connection.execute(f"ALTER TABLE {relation_of(series)} DETACH PARTITION {part} CONCURRENTLY")
        await connection.execute(f"DROP TABLE {part}")


async def note(connection: Connection, series: Series[Any], entries: Sequence[Any]) -> None:
    """Note the minutes that are to be counted anew, in the transaction that appends. No key: those who append never wait for each other."""
    await connection.execute(noting_of(series).sql(), minutes_of(entries))


@functools.cache
def noting_of(series: Series[Any]) -> Insert:
    """The statement that notes minutes, but for those that are gone."""
    return Insert(noted_of(series), ["timestamptz"], f"touched (bucket) WHERE {not_gone(series)}")


def minutes_of(entries: Sequence[Any]) -> list[datetime]:
    """Those in which something happened."""
    return sorted({entry.occurred_at.replace(second=0, microsecond=0) for entry in entries})


def _native(series: Series[Any], of: OverTime) -> Sequence[str]:
    kinds = {column.name: column for column in columns_of(series)}
    by = [kinds[name].declared() for name in of.by]
    largest = [f"{name}_max {kinds[name].type}" for name in of.largest]
    columns = ", ".join(
        [
            "bucket timestamptz NOT NULL", 'tenant text COLLATE "C" NOT NULL', *by, "entries bigint NOT NULL",
            *(f"{name}_sum numeric NOT NULL" for name in of.sums), *largest,
        ]
    )  # fmt: skip
    key = ", ".join(["bucket", "tenant", *(f'"{name}"' for name in of.by)])
    return [
        f"CREATE INDEX ON {relation_of(series)} (occurred_at)",
        *remembered(series),
        *(f"CREATE TABLE {kept_of(series, level)} ({columns}, PRIMARY KEY ({key}))" for level in LEVELS),
        *views(series),
    ]
