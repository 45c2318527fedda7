"""Series over time where TimescaleDB is: hypertables that are compressed, counted by continuous aggregates.

When they are brought up to their entries is said by us, not by TimescaleDB's own policies: those know neither what is noted, nor that
counts stay when their entries are dropped.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from infra.adapters.postgres.connections import Connection, Pool
from infra.adapters.postgres.counts import LEVELS, added, cut, kept_of, measures, noted_of, over, remembered, views
from infra.adapters.postgres.shapes import relation_of
from projections.series import Series

OLDEST = (2, 13)
"""Earlier ones do not know all that we ask for."""
_DAY = timedelta(days=1)
_LOADED = "'timescaledb' = ANY (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ','))"
_OFFERED = f"""
SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = 'timescaledb' AND {_LOADED}
    AND coalesce(current_setting('timescaledb.license', true), 'timescale') = 'timescale'
"""
_LOST = f"SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') AND NOT {_LOADED}"
LOST = (
    "this database has TimescaleDB's tables, and its server does not load TimescaleDB: set shared_preload_libraries = 'timescaledb' in its "
    "postgresql.conf, and start it again"
)
_VERSION = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
_SIZES = """
SELECT schema, sum(bytes)::bigint AS bytes FROM (
    SELECT hypertable_schema AS schema, hypertable_size(format('%I.%I', hypertable_schema, hypertable_name)::regclass) AS bytes
    FROM timescaledb_information.hypertables WHERE hypertable_schema = ANY($1)
    UNION ALL SELECT view_schema,
        hypertable_size(format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass)
    FROM timescaledb_information.continuous_aggregates WHERE view_schema = ANY($1)
) parts GROUP BY schema
"""


async def offered(connection: Connection) -> str | None:
    """The version of TimescaleDB that what is made now would use, as far as can be seen without making it."""
    version = await connection.fetchval(_OFFERED)
    return version if version is not None and _numbers(version) >= OLDEST else None


async def lost(connection: Connection) -> bool:
    """Whether there is what this server cannot read: it would end the connection at the first word about it."""
    return bool(await connection.fetchval(_LOST))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("-", maxsplit=1)[0].split(".")[:2])


async def version_of(connection: Connection) -> str | None:
    """TimescaleDB's version, where it is there with all that we ask of it; makes the extension where we may."""
    if await connection.fetchval(_OFFERED) is None:
        return None
    try:
        async with connection.transaction():
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            # Builds of the Apache part alone have neither continuous aggregates nor compression.
            if await connection.fetchval("SELECT current_setting('timescaledb.license', true)") != "timescale":
                return None
            version = str(await connection.fetchval(_VERSION))
    except asyncpg.PostgresError:
        return None
    return version if _numbers(version) >= OLDEST else None


def created(series: Series[Any]) -> Sequence[str]:
    """The statements that make a hypertable of a series' relation, and its counts."""
    of, relation = over(series), relation_of(series).replace("'", "")
    listed_by = ", ".join(["tenant", *(f'"{name}"' for name in of.by)])
    by = f"1, {listed_by}"
    aggregate = "WITH (timescaledb.continuous, timescaledb.materialized_only = true)"
    packed = "timescaledb.compress, timescaledb.compress_segmentby = 'tenant', timescaledb.compress_orderby = 'occurred_at, id, version, n'"
    statements = [
        f"SELECT create_hypertable('{relation}', by_range('occurred_at', INTERVAL '{of.days} days'), create_default_indexes => false)",
        f"CREATE INDEX ON {relation} (occurred_at)",
        *remembered(series),
    ]
    finer, column, counted = relation, "occurred_at", measures(of)
    for level in LEVELS:
        bucket = f"time_bucket('1 {level}', {column}) AS bucket"
        statements.append(
            f"CREATE MATERIALIZED VIEW {kept_of(series, level)} {aggregate} AS SELECT {bucket}, {listed_by}, {counted} "
            f"FROM {finer} GROUP BY {by} WITH NO DATA"
        )
        finer, column, counted = kept_of(series, level), "bucket", added(of)
    after = f"INTERVAL '{of.packed_after_days} days', initial_start => now() + INTERVAL '10 minutes'"
    return [
        *statements, *views(series), f"ALTER TABLE {relation} SET ({packed})", f"SELECT add_compression_policy('{relation}', {after})",
    ]  # fmt: skip


async def count_again(connection: Connection, series: Series[Any]) -> None:
    """Bring the counts up to what is noted. For one at a time; broken off, the next time does the rest."""
    noted = await connection.fetch(f"SELECT ctid::text, bucket FROM {noted_of(series)}")
    for first, last in spans(each["bucket"] for each in noted):
        for level in LEVELS:
            # Whole ones only are counted. What has no new entry is left as it is, however long the span.
            begins, ends = (cut(f"'{minute.isoformat()}'::timestamptz", level) for minute in (first, last))
            await connection.execute(
                f"CALL refresh_continuous_aggregate('{kept_of(series, level)}', {begins}, {ends} + INTERVAL '1 {level}')"
            )
    # Those and no others: an entry that came meanwhile has its own note, and may not be counted yet.
    await connection.execute(f"DELETE FROM {noted_of(series)} WHERE ctid = ANY($1::text[]::tid[])", [each["ctid"] for each in noted])


def spans(minutes: Iterable[datetime]) -> Sequence[tuple[datetime, datetime]]:
    """The first and last minutes of stretches with nothing noted for a day behind them: what lies between two is not counted again."""
    found: list[tuple[datetime, datetime]] = []
    for minute in sorted(minutes):
        if found and minute - found[-1][1] <= _DAY:
            found[-1] = found[-1][0], minute
        else:
            found.append((minute, minute))
    return found


async def older(connection: Connection, series: Series[Any], before: datetime) -> Sequence[str]:
    """The chunks that end before a time."""
    found = await connection.fetch("SELECT show_chunks($1::regclass, older_than => $2::timestamptz)::text", relation_of(series), before)
    return [each[0] for each in found]


async def drop_older(connection: Connection, series: Series[Any], before: datetime) -> None:
    """Drop them. What they were counted to stays, while nothing before that time is counted again."""
    await connection.execute("SELECT drop_chunks($1::regclass, older_than => $2::timestamptz)", relation_of(series), before)


async def sizes(pool: Pool, schemas: Collection[str]) -> Mapping[str, int]:
    """How many bytes the hypertables and the counts of builds take: their chunks lie elsewhere."""
    if await pool.fetchval("SELECT to_regclass('timescaledb_information.hypertables')") is None:
        return {}
    return {each["schema"]: each["bytes"] for each in await pool.fetch(_SIZES, list(schemas))}
