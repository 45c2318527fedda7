"""Organisations are separated in PostgreSQL too: who asks for one sees its rows and no others, whatever the statement says.

This is the second wall, behind the statements' own conditions. Who asks does so under a role that owns nothing and passes by no policy,
and names an organisation first; whoever names none sees nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg

from infra.adapters.postgres.connections import Connection, Pool, PostgresUnreachable, as_it_is, connected
from infra.adapters.postgres.shapes import READ_SIDE, relation_of, schema_of, view_of, view_schema_of
from projections.journal import Journal
from projections.partial import PartialAggregate
from projections.ports import Projection
from projections.queries import asked_for
from projections.series import Series
from projections.table import ORGANISATION

READER = "aybiza_reader"
_SETTING = "aybiza.organisation"
# A database that is there says at once whose rows are asked for. One that is silent, and not gone, must not keep everybody waiting: who
# asks next is refused until it may have come back.
_WORD_SECONDS = 2.0
_PLACE_SECONDS = 3.0
_STATEMENT_SECONDS = 20.0
_SILENT_SECONDS = 1.0
# A subquery without a reference to the row is asked once a statement, not once a row.
_ASKED = f"(SELECT current_setting('{_SETTING}', true))"
_ROLE = f"""
DO $$ BEGIN
    CREATE ROLE {READER} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
_MEMBER = "SELECT pg_has_role(rolname, 'MEMBER') FROM pg_roles WHERE rolname = $1"
OPENED = f"GRANT USAGE ON SCHEMA {READ_SIDE} TO {READER}; GRANT SELECT ON {READ_SIDE}.checkpoints, {READ_SIDE}.builds TO {READER}"


class Asked(Protocol):
    """What can be asked: a pool, or one behind the wall."""

    async def fetch(self, query: str, *values: Any) -> Sequence[asyncpg.Record]: ...
    async def fetchrow(self, query: str, *values: Any) -> asyncpg.Record | None: ...
    async def fetchval(self, query: str, *values: Any) -> Any: ...


def walled(projection: Projection) -> str:
    """The statements that put a relation behind the wall. Those who own it, the runners, walk around it."""
    relation = relation_of(projection)
    return (
        f'GRANT USAGE ON SCHEMA "{schema_of(projection)}" TO {READER}; GRANT SELECT ON {relation} TO {READER}; '
        f"ALTER TABLE {relation} ENABLE ROW LEVEL SECURITY; "
        f"CREATE POLICY of_one_organisation ON {relation} FOR SELECT TO {READER} USING ({visible(projection)})"
    )


def seen_by_readers(projection: Projection) -> str:
    """The statements by which they may ask a version's view. What they see through it is what they may see of the relation."""
    return f'GRANT USAGE ON SCHEMA "{view_schema_of(projection)}" TO {READER}; GRANT SELECT ON {view_of(projection)} TO {READER}'


def visible(projection: Projection) -> str:
    """The condition of the rows that belong to whom is asked for."""
    everybodys = f"{_ASKED} = '*'"
    if isinstance(projection, Journal):
        # Whose number it is is found by everybody who may ask at all; what else is the platform's own is of people.
        return f"{everybodys} OR (split_part(stream, '/', 1) = {_ASKED} OR stream LIKE 'platform/numbers/%') AND {_ASKED} <> ''"
    if isinstance(projection, Series | PartialAggregate):
        return f"{everybodys} OR tenant = {_ASKED}"
    return f"{everybodys} OR {ORGANISATION} = {_ASKED}"


async def ensure_reader(connection: Connection) -> None:
    """Make the role that may only look. Raises PostgresUnreachable where we may not."""
    if await connection.fetchval(_MEMBER, READER):
        return
    try:
        await connection.execute(_ROLE)
        if not await connection.fetchval(_MEMBER, READER):
            await connection.execute(f"GRANT {READER} TO CURRENT_USER")
    except asyncpg.InsufficientPrivilegeError as cause:
        raise PostgresUnreachable(
            f"the database's user may not make the role {READER}. As an administrator, type in psql: "
            f"CREATE ROLE {READER} NOLOGIN; GRANT {READER} TO the user of DATABASE_URL"
        ) from cause


class Wall:
    """A pool whose every statement sees what `projections.queries.asked_for` may see. Raises TimeoutError, soon, of a silent database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._silent_until = 0.0

    async def fetch(self, query: str, *values: Any) -> Sequence[asyncpg.Record]:
        async with self._asking() as connection:
            return await connection.fetch(query, *values, timeout=_STATEMENT_SECONDS)

    async def fetchrow(self, query: str, *values: Any) -> asyncpg.Record | None:
        async with self._asking() as connection:
            return await connection.fetchrow(query, *values, timeout=_STATEMENT_SECONDS)

    async def fetchval(self, query: str, *values: Any) -> Any:
        async with self._asking() as connection:
            return await connection.fetchval(query, *values, timeout=_STATEMENT_SECONDS)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Connection]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._silent_until:
            raise TimeoutError("it was silent a moment ago")
        try:
            # The time is for giving it back, too: a statement that was broken off is waited for until the database says so.
            async with self._pool.acquire(timeout=_PLACE_SECONDS) as connection:
                # Each time anew, whatever the connection was asked for before.
                await connection.fetchval(f"SELECT set_config('{_SETTING}', $1, false)", asked_for.get(), timeout=_WORD_SECONDS)
                yield connection
        except TimeoutError:
            self._silent_until = loop.time() + _SILENT_SECONDS
            raise


@asynccontextmanager
async def behind_the_wall(dsn: str, *, most: int) -> AsyncIterator[Wall]:
    """Raises PostgresUnreachable."""

    async def become_reader(connection: Connection) -> None:
        await ensure_reader(connection)
        await connection.execute(f"SET ROLE {READER}")

    # Nothing is set on it but whose rows are asked for, which the next one says for himself.
    async with connected(dsn, purpose="asked", most=most, prepare=become_reader, tidy=as_it_is) as pool:
        yield Wall(pool)
