"""What readers ask of the tables and series, answered from PostgreSQL."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from events.admission import Fence
from events.positions import Position
from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.over_time import counts_of
from infra.adapters.postgres.packed import all_of
from infra.adapters.postgres.partials import partials
from infra.adapters.postgres.progress import Progress
from infra.adapters.postgres.reaching import fetched, plain
from infra.adapters.postgres.shapes import key_of, names, relation, view_of
from infra.adapters.postgres.walls import Asked
from projections.columns import Column, Stored
from projections.partial import PartialAggregate, PartialRow
from projections.ports import Projection, named
from projections.queries import RowsUnavailable, read_cursor
from projections.series import EntryRow, Series
from projections.table import ORGANISATION, StreamRow, Table

R = TypeVar("R", bound=StreamRow)
E = TypeVar("E", bound=EntryRow)
A = TypeVar("A", bound=PartialRow)
# Reading every row of a long journal.
_WHOLE_SECONDS = 3600.0
_NOTHING: Mapping[str, object] = {}
_ALL: Mapping[str, str] = {}


class PostgresRows:
    """`projections.queries.Rows`, of the projections it is told of. `asked`: where the rows are asked for, if not of the pool itself."""

    def __init__(self, pool: Pool, projections: Sequence[Projection], progress: Progress, asked: Asked | None = None) -> None:
        self._pool = pool
        self._asked: Asked = asked or pool
        self._projections = projections
        self._progress = progress

    async def get(self, table: Table[R], tenant: str, row_id: str) -> R | None:
        compiled = relation(table)
        with unavailable():
            sql, stream = f"{compiled.select} WHERE tenant = $1 AND id = $2", f"{tenant}/{table.category}/{row_id}"
            found = await fetched(self._asked, sql, (tenant, row_id), table.name, stream)
        return compiled.build(found[0]) if found else None

    async def find(
        self,
        table: Table[R],
        *,
        organisation: str | None,
        where: Mapping[str, object] = _NOTHING,
        after: str | None = None,
        limit: int = 50,
        newest_first: bool = True,
    ) -> Sequence[R]:
        compiled = relation(table)
        values: list[object] = []
        conditions: list[str] = []

        def given(value: object) -> str:
            values.append(value)
            return f"${len(values)}"

        if organisation is not None:
            conditions.append(f"{ORGANISATION} = {given(organisation)}")
        for name, value in where.items():
            column = _column(table, name)
            lowered = column.lower(value) if column.lower and value is not None else value
            # The other spelling for both would find no index.
            conditions.append(f'"{name}" IS NULL' if lowered is None else f'"{name}" = {given(lowered)}')
        if after is not None:
            last_id, last_tenant = read_cursor(after)
            conditions.append(f"(id, tenant) {'<' if newest_first else '>'} ({given(last_id)}, {given(last_tenant)})")
        direction = "DESC" if newest_first else "ASC"
        sql = (
            f"{compiled.select} {'WHERE ' if conditions else ''}{' AND '.join(conditions)} "
            f"ORDER BY id {direction}, tenant {direction} LIMIT {given(limit)}"
        )
        with unavailable():
            return [compiled.build(record) for record in await fetched(self._asked, sql, values, table.name)]

    async def entries(
        self, series: Series[E], tenant: str, row_id: str, *, after_version: int = 0, limit: int | None = None
    ) -> Sequence[E]:
        compiled = relation(series)
        sql = f"{compiled.select} WHERE tenant = $1 AND id = $2 AND version > $3 ORDER BY version, n LIMIT $4"
        with unavailable():
            found = await fetched(
                self._asked, sql, (tenant, row_id, after_version, limit), series.name, f"{tenant}/{series.category}/{row_id}"
            )
        return [compiled.build(record) for record in found]

    async def combined(
        self,
        aggregate: PartialAggregate[A, Any],
        tenant: str,
        *,
        where: Mapping[str, str] = _ALL,
        by: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[A]:
        compiled = partials(aggregate)
        values = [tenant, *where.values(), *([] if after is None else [after]), limit]
        with unavailable():
            found = await fetched(self._asked, compiled.combined(by, tuple(where), after=after is not None), values, aggregate.name)
        return [compiled.build(record) for record in found]

    async def counts_over_time(
        self, series: Series[E], organisation: str, *, per: str, begins: datetime, ends: datetime, limit: int
    ) -> Sequence[Mapping[str, Any]]:
        sql = counts_of(series, per)
        with unavailable():
            return [plain(each) for each in await fetched(self._asked, sql, (organisation, begins, ends, limit), series.name)]

    async def wait_for(self, positions: Sequence[Position], timeout_seconds: float) -> bool:
        return await self._progress.wait_for(positions, timeout_seconds)

    async def progress(self) -> Mapping[tuple[str, int], tuple[int, Fence]]:
        return await self._progress.read()

    async def digest(self) -> Mapping[str, str]:
        with unavailable():
            async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
                return {named(each): await digest_of(connection, each, view_of(each)) for each in self._projections}

    async def counts(self) -> Mapping[str, int]:
        """How many rows each projection has. Raises RowsUnavailable."""
        with unavailable():
            async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
                return {named(each): await count_of(connection, each, view_of(each)) for each in self._projections}


async def digest_of(connection: Connection, projection: Projection, relation: str | None = None) -> str:
    """SHA-256 over a build's rows in key order, in PostgreSQL's binary form of them. `relation`: what to look at instead."""
    digest = hashlib.sha256()

    async def take(part: bytes) -> None:
        digest.update(part)

    order = ", ".join(f'"{name}"' for name in key_of(projection))
    sql = f"SELECT {names(projection)} FROM {relation or await all_of(connection, projection)} ORDER BY {order}"
    await connection.copy_from_query(sql, output=take, format="binary", timeout=_WHOLE_SECONDS)
    return digest.hexdigest()


async def count_of(connection: Connection, projection: Projection, relation: str | None = None) -> int:
    """How many rows it has."""
    rows = relation or await all_of(connection, projection)
    count: int = await connection.fetchval(f"SELECT count(*) FROM {rows}", timeout=_WHOLE_SECONDS)
    return count


@contextmanager
def unavailable() -> Iterator[None]:
    """Relations that are not there are being built: that is away, too."""
    with raising(RowsUnavailable):
        try:
            yield
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as cause:
            raise RowsUnavailable(f"a projection is being built ({cause})") from cause


def _column(table: Table[Any], name: str) -> Column:
    for column in table.columns:
        if column.name == name and column.stored is not Stored.JSON:
            return column
    raise ValueError(f"{table.name} cannot be searched by {name}")
