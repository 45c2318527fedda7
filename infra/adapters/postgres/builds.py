"""Builds of projections: which stand beside each other, which one is read, and how another one takes its place at once."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg

from infra.adapters.postgres import hypertables, over_time
from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.event_ids import shown, shown_in
from infra.adapters.postgres.shapes import READ_SIDE, SqlColumn, columns_of, schema_of, view_of, view_schema_of
from infra.adapters.postgres.walls import seen_by_readers
from projections.journal import Journal
from projections.ports import Projection, StoreUnavailable, named
from projections.series import Series

# Any number that nobody else takes: whoever makes or changes what readers see does so alone.
OPENING = 0x61796201
_LOOK_SECONDS = 0.05
_VIEW_LOCK_MS = 500
# What readers see stands still for so long at most, and only for a build that has come so near.
_HELD_SECONDS, _NEAR = 0.3, 1_000
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
"""
_VIEWS = "SELECT schemaname FROM pg_views WHERE viewname = $1 AND schemaname ~ ('^v_' || $1 || '_v[0-9]+$')"
_REGISTER = f"""
INSERT INTO {READ_SIDE}.builds (projection, name, version, build, state, live_since)
SELECT $1, $2, $3, $4, CASE WHEN hidden THEN 'building' ELSE 'live' END, CASE WHEN hidden THEN NULL ELSE now() END
FROM (SELECT $5 OR EXISTS (SELECT FROM {READ_SIDE}.builds WHERE name = $2 AND state = 'live') AS hidden) there
ON CONFLICT DO NOTHING
"""
# Of the other build, what the live one has seen and it has not.
_BEHIND = f"""
SELECT coalesce(sum(greatest(old.next_offset - coalesce(new.next_offset, 0), 0)), 0)::bigint FROM {READ_SIDE}.checkpoints old
LEFT JOIN {READ_SIDE}.checkpoints new ON new.projection = $2 AND new.topic = old.topic AND new.partition = old.partition
WHERE old.projection = $1 AND EXISTS (
    SELECT FROM {READ_SIDE}.checkpoints same WHERE same.projection = $2 AND same.topic = old.topic
)
"""


class BuildState(StrEnum):
    LIVE = "live"
    """It is folded, and readers see it."""
    WARM = "warm"
    """It is folded as it comes, beside the live one; nobody sees it."""
    BUILDING = "building"
    """Whoever builds it folds the log into it at full speed, or was broken off and can go on."""
    PAUSED = "paused"
    """It stays as it is until somebody goes on with it."""


class CannotSwitch(Exception):
    """The build cannot be what readers see; the text says why."""


class _NotYet(Exception):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """`projection` is its name in checkpoints."""

    projection: str
    name: str
    version: int
    build: int
    state: BuildState
    begun_at: datetime
    live_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many offsets lie behind a build, and of which topics."""

    records: int = 0
    topics: frozenset[str] = frozenset()


_STANDING = f"""
SELECT projection, name, version, build, state, begun_at, live_since FROM {READ_SIDE}.builds ORDER BY name, version, build
"""
_EXTENTS = f"""
SELECT projection, sum(next_offset)::bigint AS records, array_agg(DISTINCT topic) AS topics FROM {READ_SIDE}.checkpoints
WHERE next_offset > 0 GROUP BY projection
"""

_SIZES = """
SELECT n.nspname, sum(pg_total_relation_size(c.oid))::bigint AS bytes FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND c.relkind = 'r' GROUP BY n.nspname
"""


async def standing(pool: Pool, name: str | None = None) -> Sequence[Build]:
    """All there are, of one projection or of all. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        try:
            async with pool.acquire() as connection:
                return await _told(connection, name)
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return ()


async def extents(pool: Pool) -> Mapping[str, Extent]:
    """How far each build is. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        try:
            found = await pool.fetch(_EXTENTS)
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return {}
    return {each["projection"]: Extent(records=each["records"], topics=frozenset(each["topics"])) for each in found}


async def sizes(pool: Pool, builds: Collection[Build]) -> Mapping[str, int]:
    """How many bytes each build takes, with its indexes and all its parts. Raises StoreUnavailable."""
    schemas = {_schema(each.name, each.version, each.build): each.projection for each in builds}
    with raising(StoreUnavailable):
        found, elsewhere = await pool.fetch(_SIZES, list(schemas)), await hypertables.sizes(pool, schemas)
    return {schemas[each["nspname"]]: each["bytes"] + elsewhere.get(each["nspname"], 0) for each in found}


async def _told(connection: Connection, name: str | None) -> Sequence[Build]:
    found = [dict(each) for each in await connection.fetch(_STANDING)]
    return [Build(**{**each, "state": BuildState(each["state"])}) for each in found if name in (None, each["name"])]


async def live_builds(pool: Pool, projections: Collection[Projection]) -> Sequence[Projection]:
    """The projections as readers see them, where it is a build of the very version; else as they are. Raises StoreUnavailable."""
    numbers = {(each.name, each.version): each.build for each in await standing(pool) if each.state is BuildState.LIVE}
    return [build_of(each, numbers.get((each.name, each.version), each.build)) for each in projections]


def build_of(projection: Projection, number: int) -> Projection:
    """A build of a version. The same is the same object: what is compiled for it is compiled once."""
    known = _BUILDS.setdefault(projection, {})
    if number not in known:
        known[number] = projection if number == projection.build else replace(projection, build=number)
    return known[number]


_BUILDS: dict[Projection, dict[int, Projection]] = {}


async def register(connection: Connection, projection: Projection, *, building: bool) -> None:
    """Note that this build is there, and show what is live to the readers of its version. The first one of a name is live at once.

    `building`: it is not, whatever else there is: somebody builds it and switches later.
    """
    await connection.execute(_REGISTER, named(projection), projection.name, projection.version, projection.build, building)
    if await connection.fetchval("SELECT to_regclass($1)", shown_in(projection)) is None:
        await show(connection, projection)


async def show_all(pool: Pool, projections: Collection[Projection]) -> None:
    """Make the views that are not there of versions whose rows can be read from what is live. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", OPENING)
            if await connection.fetchval("SELECT to_regclass($1)", f"{READ_SIDE}.builds") is None:
                return
            for projection in projections:
                if await connection.fetchval("SELECT to_regclass($1)", shown_in(projection)) is None:
                    await show(connection, projection)


async def show(connection: Connection, projection: Projection) -> bool:
    """Make the view of this version's readers upon what is live; False where they could not read it: it lacks what their rows need."""
    live = await connection.fetchrow(
        f"SELECT version, build FROM {READ_SIDE}.builds WHERE name = $1 AND state = 'live'", projection.name
    )  # fmt: skip
    if live is None:
        return False
    relation = _relation(projection.name, live["version"], live["build"])
    there = await _columns(connection, relation)
    defaults = {} if isinstance(projection, Journal) else _defaults(projection)
    chosen = [_chosen(column, there, defaults) for column in columns_of(projection)]
    if not there or None in chosen:
        return False
    if isinstance(projection, Journal) or (isinstance(projection, Series) and projection.over_time is not None):
        # Its counts, or its pieces, are of one version: readers of another wait for theirs.
        if live["version"] != projection.version:
            return False
        at = live["build"]
        script = shown(projection, at) if isinstance(projection, Journal) else "; ".join(over_time.shown(replace(projection, build=at)))
        await connection.execute(script)
        return True
    select = f"SELECT {', '.join(str(each) for each in chosen)} FROM {relation}"
    await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{view_schema_of(projection)}"')
    await connection.execute(f"CREATE OR REPLACE VIEW {view_of(projection)} WITH (security_invoker = true) AS {select}")
    await connection.execute(seen_by_readers(projection))
    return True


def _chosen(column: SqlColumn, there: Mapping[str, str], defaults: Mapping[str, str]) -> str | None:
    if there.get(column.name) == column.type:
        return f'"{column.name}"'
    if column.name in there or column.name not in defaults:
        return None
    return f'{defaults[column.name]}::{column.type} AS "{column.name}"'


def _defaults(projection: Any) -> dict[str, str]:
    """What a row has where it is told nothing, as SQL says it, column by column."""
    lowered = {column.name: column.lower for column in projection.columns}
    found = {}
    for field in fields(projection.row):
        value = field.default if field.default_factory is MISSING else field.default_factory()
        if value is not MISSING and field.name in lowered:
            lower = lowered[field.name]
            found[field.name] = _literal(lower(value) if lower else value)
    return found


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    text = "\\x" + value.hex() if isinstance(value, bytes) else str(value).replace("'", "''")
    return f"'{text}'"


async def _columns(connection: Connection, relation: str) -> Mapping[str, str]:
    return {each["attname"]: each["format_type"] for each in await connection.fetch(_COLUMNS, relation)}


def _relation(name: str, version: int, build: int) -> str:
    return f'"{_schema(name, version, build)}"."{name}"'


def _schema(name: str, version: int, build: int) -> str:
    return schema_of(Journal(name=name, version=version, build=build))


async def mark(pool: Pool, projection: str, state: BuildState) -> None:
    """Say how a build stands that is not live. Whoever folds it is superseded, and looks again. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                f"UPDATE {READ_SIDE}.builds SET state = $2 WHERE projection = $1 AND state <> 'live'", projection, state.value
            )
            await connection.execute(f"UPDATE {READ_SIDE}.checkpoints SET epoch = epoch + 1 WHERE projection = $1", projection)


async def forget(pool: Pool, build: Build) -> None:
    """Drop rows, checkpoints and what is parked of a build that is not live. Raises CannotSwitch or StoreUnavailable."""
    with raising(StoreUnavailable):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", OPENING)
            gone = await connection.fetchval(
                f"DELETE FROM {READ_SIDE}.builds WHERE projection = $1 AND state <> 'live' RETURNING 1", build.projection
            )
            if gone is None:
                raise CannotSwitch(f"{build.projection} is live: readers would have nothing. Switch to another build first")
            for table in ("checkpoints", "parked"):
                await connection.execute(f"DELETE FROM {READ_SIDE}.{table} WHERE projection = $1", build.projection)
            await connection.execute(f'DROP SCHEMA IF EXISTS "{_schema(build.name, build.version, build.build)}" CASCADE')


async def switch(pool: Pool, build: Build, known: Collection[Projection], *, within_seconds: float = 10.0) -> Build | None:
    """Let readers see this build from one moment on; returns the one they saw before, which stays warm.

    `known`: the versions of this projection that this program reads and folds. Readers of others follow where the build has all their
    columns; else they stay with what they have.

    All of it is one transaction: rows, checkpoints that waiting readers ask for, and every version's view. The live one's runner is held
    for the moment that the other one needs to come up to it, so that nobody who has seen a write loses sight of it.
    Raises CannotSwitch or StoreUnavailable.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within_seconds
    with raising(StoreUnavailable):
        while True:
            late = loop.time() > until
            try:
                async with pool.acquire() as connection, connection.transaction():
                    return await _switched(connection, build, known)
            except _NotYet as cause:
                if late:
                    raise CannotSwitch(str(cause)) from cause
            except asyncpg.LockNotAvailableError as cause:
                # A long answer is under way: those who ask behind us are let through before we try again.
                if late:
                    raise CannotSwitch("somebody has been reading for too long; try again") from cause
            await asyncio.sleep(_LOOK_SECONDS)


async def _switched(connection: Connection, build: Build, known: Collection[Projection]) -> Build | None:
    """Raises _NotYet before anybody is held, or where the other one does not come up in the moment for which the live one is."""
    loop = asyncio.get_running_loop()
    await connection.execute("SELECT pg_advisory_xact_lock($1)", OPENING)
    found = await connection.fetch(f"SELECT projection, state FROM {READ_SIDE}.builds WHERE name = $1 FOR UPDATE", build.name)
    states = {each["projection"]: each["state"] for each in found}
    live = next((name for name, state in states.items() if state == BuildState.LIVE), None)
    if states.get(build.projection) != BuildState.WARM:
        raise CannotSwitch(f"{build.projection} is {states.get(build.projection, 'not there')}; only a warm build can be switched to")
    if live is not None:
        until = loop.time() + _HELD_SECONDS if await connection.fetchval(_BEHIND, live, build.projection) <= _NEAR else 0.0
        if until:
            await connection.execute(f"SELECT FROM {READ_SIDE}.checkpoints WHERE projection = $1 FOR UPDATE", live)
        while behind := await connection.fetchval(_BEHIND, live, build.projection):
            if loop.time() > until:
                raise _NotYet(f"{build.projection} is {behind} records behind {live} and does not come up; do the projections run?")
            await asyncio.sleep(_LOOK_SECONDS)
    await connection.execute(f"UPDATE {READ_SIDE}.builds SET state = 'warm' WHERE projection = $1", live)
    await connection.execute(f"UPDATE {READ_SIDE}.builds SET state = 'live', live_since = now() WHERE projection = $1", build.projection)
    await connection.execute(f"SET LOCAL lock_timeout = {_VIEW_LOCK_MS}")
    await _show_again(connection, build, known)
    return None if live is None else next(each for each in await _told(connection, build.name) if each.projection == live)


async def _show_again(connection: Connection, build: Build, known: Collection[Projection]) -> None:
    for projection in known:
        if not await show(connection, projection):
            raise CannotSwitch(f"{build.projection} lacks a column that the readers of {projection.name}.v{projection.version} need")
    relation = _relation(build.name, build.version, build.build)
    there = await _columns(connection, relation)
    for each in await connection.fetch(_VIEWS, build.name):
        view = f'"{each["schemaname"]}"."{build.name}"'
        if view not in {view_of(projection) for projection in known}:
            columns = await _columns(connection, view)
            if columns.items() <= there.items():
                listed = ", ".join(f'"{column}"' for column in columns)
                await connection.execute(f"CREATE OR REPLACE VIEW {view} WITH (security_invoker = true) AS SELECT {listed} FROM {relation}")
