"""Series that are looked at by time: hypertables with continuous aggregates where TimescaleDB is, ranges and counts of our own where not.

Readers ask the same views of both. What we count ourselves is never counted on: whoever appends notes the minutes that it touched, and
those are counted anew from their entries, so that doing it twice, late, or after a crash gives the same. Until then a view counts them
when it is asked.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg

from events.headers import Kind
from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.packed import HOT, OF_STREAM
from infra.adapters.postgres.shapes import LIVE, READ_SIDE, columns_of, names, relation_of, schema_of, view_schema_of
from infra.adapters.postgres.walls import READER, visible
from projections.ports import StoreUnavailable
from projections.series import OverTime, Series

LEVELS = ("minute", "hour", "day")
_PLACE = ("appended_at_ms", "topic", "partition", "offset")
_EVENT = int(Kind.EVENT)
_REFRESHING = 0x61796204
_RANGES = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass($1) AND c.relname < $2 ORDER BY 1
"""
_AVAILABLE = """
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
    AND 'timescaledb' = ANY (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ','))
"""


async def has_timescale(connection: Connection) -> bool:
    """Whether TimescaleDB is there with all that we ask of it; makes the extension where we may."""
    if not await connection.fetchval(_AVAILABLE):
        return False
    try:
        async with connection.transaction():
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            # Builds of the Apache part alone have neither continuous aggregates nor compression.
            return bool(await connection.fetchval("SELECT current_setting('timescaledb.license', true) = 'timescale'"))
    except asyncpg.PostgresError:
        return False


async def make(connection: Connection, series: Series[Any]) -> None:
    """Make a build's relation with its counts, in whichever way this database has."""
    over = _over(series)
    relation, schema = relation_of(series), schema_of(series)
    columns = ", ".join(column.declared() for column in columns_of(series))
    key = 'PRIMARY KEY ("tenant", "id", "version", "n", "occurred_at")'
    await connection.execute(f'CREATE SCHEMA "{schema}"')
    if await has_timescale(connection):
        await connection.execute(f"CREATE TABLE {relation} ({columns}, {key})")
        for statement in _timescale(series, over):
            await connection.execute(statement)
    else:
        await connection.execute(f"CREATE TABLE {relation} ({columns}, {key}) PARTITION BY RANGE (occurred_at)")
        for statement in _native(series, over):
            await connection.execute(statement)


def shown(series: Series[Any]) -> Sequence[str]:
    """The statements that show readers a build: entries and counts of the organisation that they ask for, and of no other."""
    wall = f"(current_user <> '{READER}' OR {visible(series)})"
    view_schema = view_schema_of(series)
    statements = [f'CREATE SCHEMA IF NOT EXISTS "{view_schema}"']
    for name, columns, source in (
        (series.name, names(series), relation_of(series)),
        *((f"{series.name}_{level}", ", ".join(_names(series)), _counted(series, level)) for level in LEVELS),
    ):
        view = f'"{view_schema}"."{name}"'
        statements.append(f"CREATE OR REPLACE VIEW {view} WITH (security_barrier = true) AS SELECT {columns} FROM {source} WHERE {wall}")
        statements.append(f"GRANT SELECT ON {view} TO {READER}")
    return [*statements, f'GRANT USAGE ON SCHEMA "{view_schema}" TO {READER}']


def counts_of(series: Series[Any], per: str) -> str:
    """The question for an organisation's counts ($1) from a time on ($2), before another ($3), and for how many at most ($4)."""
    if per not in LEVELS:
        raise ValueError(f"nothing is counted by {per}, but by {', '.join(LEVELS)}")
    order = ", ".join(f'"{name}"' for name in ("bucket", *_over(series).by))
    return (
        f'SELECT {", ".join(_names(series))} FROM "{view_schema_of(series)}"."{series.name}_{per}" '
        f"WHERE tenant = $1 AND bucket >= $2 AND bucket < $3 ORDER BY {order} LIMIT $4"
    )


def counts_then_of(series: Series[Any], per: str) -> str:
    """The same question of what had been appended at a time ($5, in ms), and in one partition ($6, $7) up to an offset ($8), whatever the
    time there: of $9 entries at most, each looked up in the journal.

    Each count has the place of what was appended last among all that are counted, and how many entries were looked at.
    """
    if per not in LEVELS:
        raise ValueError(f"nothing is counted by {per}, but by {', '.join(LEVELS)}")
    over = _over(series)
    columns = ", ".join(f'"{column.name}"' for column in series.columns if column.name not in {"tenant", "id"})
    place, place_of_j = (", ".join(f'{of}"{name}"' for name in _PLACE) for of in ("", "j."))
    by, newest = ", ".join(["bucket", "tenant", *(f'"{name}"' for name in over.by)]), ", ".join(f'"{name}" DESC' for name in _PLACE)
    bucket = _cut("occurred_at", per)
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
            ) placed WHERE CASE WHEN topic = $6 AND partition = $7 THEN "offset" <= $8 ELSE appended_at_ms <= $5 END
        )
        SELECT {by}, {_measures(over)}, (SELECT count(*) FROM entry) AS looked_at, last_topic, last_partition, last_offset
        FROM counted CROSS JOIN (
            SELECT topic AS last_topic, partition AS last_partition, "offset" AS last_offset FROM counted ORDER BY {newest} LIMIT 1
        ) last GROUP BY {by}, last_topic, last_partition, last_offset ORDER BY {by} LIMIT $4
    """


async def is_native(connection: Connection, series: Series[Any]) -> bool:
    """Whether we keep its ranges and counts ourselves."""
    return bool(await connection.fetchval("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass($1)", relation_of(series)))


async def refresh(pool: Pool, series: Series[Any], *, ours_only: bool = False) -> None:
    """Bring a build's counts up to its entries. Idempotent; at the same time by two, one does it. Raises StoreUnavailable.

    `ours_only`: TimescaleDB has policies of its own for what is its.
    """
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            if await is_native(connection, series):
                await _count_again(connection, series)
            elif not ours_only and await connection.fetchval("SELECT to_regclass($1)", relation_of(series)) is not None:
                for level in LEVELS:
                    await connection.execute(f"CALL refresh_continuous_aggregate('{_table(series, level)}', NULL, NULL)")


async def _count_again(connection: Connection, series: Series[Any]) -> None:
    noted = f'"{schema_of(series)}"."{series.name}_noted"'
    # One moment for all: what somebody appends meanwhile has its note beside it, for the next time.
    async with connection.transaction(isolation="repeatable_read"):
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", _REFRESHING, relation_of(series)):
            return
        minutes = await connection.fetch(f"DELETE FROM {noted} RETURNING bucket")
        buckets = sorted({each["bucket"] for each in minutes})
        if not buckets:
            return
        listed = ", ".join(_names(series))
        await connection.execute(f"DELETE FROM {_table(series, 'minute')} WHERE bucket = ANY($1)", buckets)
        counted = _of_entries(series, "(SELECT unnest($1::timestamptz[]) AS bucket)")
        await connection.execute(f"INSERT INTO {_table(series, 'minute')} ({listed}) {counted}", buckets)
        for finer, level in pairwise(LEVELS):
            await connection.execute(
                f"DELETE FROM {_table(series, level)} WHERE bucket IN (SELECT {_cut('b', level)} FROM unnest($1::timestamptz[]) b)", buckets
            )
            touched = f"(SELECT DISTINCT {_cut('b', level)} AS bucket FROM unnest($1::timestamptz[]) b)"
            await connection.execute(
                f"INSERT INTO {_table(series, level)} ({listed}) {_of_counts(series, _table(series, finer), level, touched)}", buckets
            )


async def expire(pool: Pool, series: Series[Any], now: datetime) -> Sequence[str]:
    """Drop the ranges of which everything is older than is kept; their counts stay. Returns their names. Raises StoreUnavailable."""
    kept_days = _over(series).kept_days
    if kept_days is None:
        return ()
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            if not await is_native(connection, series):
                return ()
            await _count_again(connection, series)
            oldest = f"{series.name}_{now - timedelta(days=kept_days + _over(series).days):%Y%m%d}"
            found = await connection.fetch(_RANGES, relation_of(series), oldest)
            for each in found:
                part = f'"{schema_of(series)}"."{each["relname"]}"'
                await connection.execute(f"ALTER TABLE {relation_of(series)} DETACH PARTITION {part} CONCURRENTLY")
                await connection.execute(f"DROP TABLE {part}")
    return [each["relname"] for each in found]


async def note(connection: Connection, series: Series[Any], entries: Sequence[Any]) -> None:
    """Note the minutes that are to be counted anew, in the transaction that appends. No key: those who append never wait for each other."""
    minutes = sorted({entry.occurred_at.replace(second=0, microsecond=0) for entry in entries})
    await connection.execute(f'INSERT INTO "{schema_of(series)}"."{series.name}_noted" SELECT unnest($1::timestamptz[])', minutes)


def _over(series: Series[Any]) -> OverTime:
    if series.over_time is None:
        raise TypeError(f"{series.name} is not looked at by time")
    return series.over_time


def _table(series: Series[Any], level: str) -> str:
    return f'"{schema_of(series)}"."{series.name}_{level}"'


def _counted(series: Series[Any], level: str) -> str:
    return f'"{schema_of(series)}"."{series.name}_by_{level}"'


def _names(series: Series[Any]) -> list[str]:
    over = _over(series)
    return ["bucket", "tenant", *over.by, "entries", *(f"{name}_sum" for name in over.sums), *(f"{name}_max" for name in over.largest)]


def _cut(what: str, level: str) -> str:
    return f"date_trunc('{level}', {what}, 'UTC')"


def _measures(over: OverTime) -> str:
    sums = [f'coalesce(sum("{name}"), 0)::numeric AS {name}_sum' for name in over.sums]
    return ", ".join(["count(*)::bigint AS entries", *sums, *(f'max("{name}") AS {name}_max' for name in over.largest)])


def _added(over: OverTime) -> str:
    sums = [f"sum({name}_sum)::numeric AS {name}_sum" for name in over.sums]
    return ", ".join(["sum(entries)::bigint AS entries", *sums, *(f"max({name}_max) AS {name}_max" for name in over.largest)])


def _of_entries(series: Series[Any], buckets: str) -> str:
    """Counts of some minutes from their entries, found by their time."""
    over = _over(series)
    by = ", ".join(["b.bucket", "e.tenant", *(f'e."{name}"' for name in over.by)])
    return (
        f"SELECT {by}, {_measures(over)} FROM {buckets} b JOIN {relation_of(series)} e "
        f"ON e.occurred_at >= b.bucket AND e.occurred_at < b.bucket + INTERVAL '1 minute' GROUP BY {by}"
    )


def _of_counts(series: Series[Any], finer: str, level: str, buckets: str) -> str:
    over = _over(series)
    by = ", ".join(["b.bucket", "c.tenant", *(f'c."{name}"' for name in over.by)])
    return (
        f"SELECT {by}, {_added(over)} FROM {buckets} b JOIN {finer} c "
        f"ON c.bucket >= b.bucket AND c.bucket < b.bucket + INTERVAL '1 {level}' GROUP BY {by}"
    )


def _native(series: Series[Any], over: OverTime) -> Sequence[str]:
    kinds = {column.name: column for column in columns_of(series)}
    by = [kinds[name].declared() for name in over.by]
    largest = [f"{name}_max {kinds[name].type}" for name in over.largest]
    columns = ", ".join(
        [
            "bucket timestamptz NOT NULL", 'tenant text COLLATE "C" NOT NULL', *by, "entries bigint NOT NULL",
            *(f"{name}_sum numeric NOT NULL" for name in over.sums), *largest,
        ]
    )  # fmt: skip
    key = ", ".join(["bucket", "tenant", *(f'"{name}"' for name in over.by)])
    noted = f'"{schema_of(series)}"."{series.name}_noted"'
    listed = ", ".join(_names(series))
    statements = [
        f"CREATE INDEX ON {relation_of(series)} (occurred_at)",
        f"CREATE TABLE {noted} (bucket timestamptz NOT NULL)",
        *(f"CREATE TABLE {_table(series, level)} ({columns}, PRIMARY KEY ({key}))" for level in LEVELS),
    ]
    finer = relation_of(series)
    for level in LEVELS:
        touched = f"(SELECT DISTINCT {_cut('bucket', level)} AS bucket FROM {noted})"
        fresh = _of_entries(series, touched) if level == "minute" else _of_counts(series, finer, level, touched)
        statements.append(
            f"CREATE VIEW {_counted(series, level)} AS SELECT {listed} FROM {_table(series, level)} "
            f"WHERE bucket NOT IN (SELECT bucket FROM {touched} noted) UNION ALL {fresh}"
        )
        finer = _counted(series, level)
    return statements


def _timescale(series: Series[Any], over: OverTime) -> Sequence[str]:
    relation, listed = relation_of(series).replace("'", ""), ", ".join(_names(series))
    by = ", ".join(["1", "tenant", *(f'"{name}"' for name in over.by)])
    aggregate = "WITH (timescaledb.continuous, timescaledb.materialized_only = false)"
    statements = [
        f"SELECT create_hypertable('{relation}', by_range('occurred_at', INTERVAL '{over.days} days'), create_default_indexes => false)",
        f"CREATE INDEX ON {relation} (occurred_at)",
    ]
    finer, column, measures = relation, "occurred_at", _measures(over)
    listed_by = ", ".join(["tenant", *(f'"{name}"' for name in over.by)])
    later = "schedule_interval => INTERVAL '1 minute', initial_start => now() + INTERVAL '1 minute'"
    much_later = "initial_start => now() + INTERVAL '10 minutes'"
    packed = "timescaledb.compress, timescaledb.compress_segmentby = 'tenant', timescaledb.compress_orderby = 'occurred_at'"
    for level in LEVELS:
        bucket, table, source = f"time_bucket('1 {level}', {column}) AS bucket", _table(series, level), f"FROM {finer}"
        statements += [
            f"CREATE MATERIALIZED VIEW {table} {aggregate} AS SELECT {bucket}, {listed_by}, {measures} {source} GROUP BY {by} WITH NO DATA",
            f"SELECT add_continuous_aggregate_policy('{table}', start_offset => NULL, end_offset => INTERVAL '1 {level}', {later})",
            f"CREATE VIEW {_counted(series, level)} AS SELECT {listed} FROM {_table(series, level)}",
        ]
        finer, column, measures = _table(series, level), "bucket", _added(over)
    statements += [
        f"ALTER TABLE {relation} SET ({packed})",
        f"SELECT add_compression_policy('{relation}', INTERVAL '{over.packed_after_days} days', {much_later})",
    ]
    if over.kept_days is not None:
        statements.append(f"SELECT add_retention_policy('{relation}', INTERVAL '{over.kept_days} days', {much_later})")
    return statements
