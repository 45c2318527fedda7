"""Taking projections down in PostgreSQL, to build them anew, while whoever runs them waits."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from events.admission import Fence
from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.rows import count_of, digest_of
from infra.adapters.postgres.shapes import CHECKPOINTS, READ_SIDE, relation_of, schema_of
from infra.adapters.postgres.store import REBUILDING
from projections.ports import Checkpoint, Mark, Place, Projection, StoreUnavailable, named


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A projection at one moment. Two of them are the same when every byte of every row is."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Album:
    """Projections at one moment, and up to where they had read then. One that cannot be looked at has no picture."""

    pictures: Mapping[str, Picture]
    checkpoints: Mapping[Mark, Checkpoint]


@asynccontextmanager
async def rebuilding(pool: Pool) -> AsyncIterator[Connection]:
    """While this lasts no runner opens its store but the one that rebuilds. Ends with the connection, whatever happens to us."""
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", REBUILDING, timeout=_FOR_EVER)
            try:
                yield connection
            finally:
                await connection.execute("SELECT pg_advisory_unlock($1)", REBUILDING)


_FOR_EVER = 3600.0


async def picture(connection: Connection, projections: Collection[Projection]) -> Album:
    """All of them as they are at one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        there = await connection.fetchval("SELECT to_regclass($1)", f"{READ_SIDE}.checkpoints") is not None
        records = await connection.fetch(
            f"SELECT projection, topic, partition, next_offset, term, claim_id FROM {READ_SIDE}.checkpoints WHERE projection = ANY($1)",
            [named(projection) for projection in projections],
        ) if there else []  # fmt: skip
        checkpoints = {
            (each["projection"], Place(each["topic"], each["partition"])): Checkpoint(
                each["next_offset"], Fence(each["term"], each["claim_id"])
            )
            for each in records
        }
        pictures = {named(each): taken for each in projections if (taken := await _picture(connection, each)) is not None}
    return Album(pictures=pictures, checkpoints=checkpoints)


async def _picture(connection: Connection, projection: Projection) -> Picture | None:
    if await connection.fetchval("SELECT to_regclass($1)", relation_of(projection)) is None:
        return None
    try:
        async with connection.transaction():
            return Picture(rows=await count_of(connection, projection), sha256=await digest_of(connection, projection))
    except asyncpg.UndefinedColumnError:
        # Built by a program whose rows had other columns: that is why it is rebuilt.
        return None


async def drop(connection: Connection, projections: Collection[Projection]) -> None:
    """Delete rows, checkpoints and what is parked, at once. The runner that wrote them finds that it is superseded."""
    names = [named(projection) for projection in projections]
    async with connection.transaction():
        await connection.execute(CHECKPOINTS)
        for projection in projections:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{schema_of(projection)}" CASCADE')
        await connection.execute(f"DELETE FROM {READ_SIDE}.checkpoints WHERE projection = ANY($1)", names)
        await connection.execute(f"DELETE FROM {READ_SIDE}.parked WHERE projection = ANY($1)", names)
        # What is built now is what readers see, whichever version they saw before.
        await connection.execute(f"DELETE FROM {READ_SIDE}.builds WHERE projection = ANY($1)", names)
        await connection.execute(
            f"UPDATE {READ_SIDE}.builds SET state = 'paused' WHERE name = ANY($1) AND state = 'live'", [each.name for each in projections]
        )
