"""Rows and checkpoints in PostgreSQL, written in one transaction that only the runner of the day can commit."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import asyncpg

from events.admission import Fence
from events.records import RawRecord
from infra.adapters.postgres import hypertables, over_time
from infra.adapters.postgres.builds import OPENING, register
from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.copying import Copying
from infra.adapters.postgres.event_ids import Run, Runs, made, runs_of
from infra.adapters.postgres.healing import sick
from infra.adapters.postgres.partials import add
from infra.adapters.postgres.parts import Parts
from infra.adapters.postgres.shapes import (
    CHECKPOINTS,
    READ_SIDE,
    columns_of,
    created,
    indexed,
    indexed_names,
    indexed_rest,
    relation,
    relation_of,
    schema_of,
)
from infra.adapters.postgres.stepping import at_once, is_little, step
from infra.adapters.postgres.walls import OPENED, ensure_reader, walled
from projections.journal import Journal
from projections.partial import PartialAggregate
from projections.ports import (
    Checkpoint,
    Folded,
    Mark,
    Opened,
    Parked,
    Place,
    Projection,
    RowsRefused,
    Sick,
    StoreUnavailable,
    Superseded,
    Writes,
    named,
)
from projections.series import Series
from projections.table import Key, Table

# Any number that nobody else takes.
REBUILDING = 0x61796202
_FOR_EVER = 3600.0
_MANY_ROWS = 100
_TAKE_OVER = f"""
UPDATE {READ_SIDE}.checkpoints c SET epoch = c.epoch + 1
FROM unnest($1::text[], $2::text[], $3::integer[]) m (projection, topic, partition)
WHERE c.projection = m.projection AND c.topic = m.topic AND c.partition = m.partition
RETURNING c.projection, c.topic, c.partition, c.next_offset, c.term, c.claim_id, c.epoch
"""
_SHAPE = """
SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_PARKED = [field.name for field in fields(Parked) if field.name != "place"]


class ShapeChanged(Exception):
    """The relation of a projection has other columns than its row; the text says what to do."""


class PostgresStore:
    """`projections.ports.Store`. `rebuilding`: this is who rebuilds; everybody else waits at `open` until that is done.

    `building`: nobody sees yet what is written, and nobody is woken by it.
    """

    def __init__(self, pool: Pool, *, rebuilding: bool = False, building: bool = False) -> None:
        self._pool = pool
        self._rebuilding = rebuilding
        self._building = building
        self._parts = Parts(pool)
        self._runs = Runs()
        self._copying = Copying()

    async def open(self, marks: Collection[tuple[Projection, Place]], held: Mapping[Mark, int] | None = None) -> Opened:
        """As the port says. Raises ShapeChanged."""
        with raising(StoreUnavailable):
            async with self._pool.acquire() as connection, connection.transaction():
                if await hypertables.lost(connection):
                    raise StoreUnavailable(hypertables.LOST)
                if not self._rebuilding:
                    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", REBUILDING, timeout=_FOR_EVER)
                await connection.execute("SELECT pg_advisory_xact_lock($1)", OPENING)
                await ensure_reader(connection)
                await connection.execute(CHECKPOINTS)
                await connection.execute(OPENED)
                for projection in {named(projection): projection for projection, _ in marks}.values():
                    await _make(connection, projection)
                    await register(connection, projection, building=self._building)
                await self._parts.opened(connection, {projection for projection, _ in marks})
                opened = await _take_over(connection, [(named(projection), place) for projection, place in marks], held)
                await self._runs.opened(connection, marks)
                return opened

    async def rows(self, table: Table[Any], keys: Collection[Key]) -> Mapping[Key, Any]:
        compiled = relation(table)
        with raising(StoreUnavailable):
            try:
                found = await self._pool.fetch(compiled.keyed, [tenant for tenant, _ in keys], [key for _, key in keys])
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as cause:
                raise Superseded(f"{compiled.name} was dropped: somebody rebuilds it") from cause
        return {(record["tenant"], record["id"]): compiled.build(record) for record in found}

    async def write(self, writes: Writes) -> None:
        with raising(StoreUnavailable), _refusing():
            await self._parts.ready(writes)
            noting, runs = self._parts.noting(writes), self._runs.begun(writes.journal)
            # A claim's first commit is rare.
            single = None if runs else at_once(writes, self._parts.journal, noting, tells=not self._building)
            async with self._pool.acquire() as connection:
                if single is None or not await single.run(connection):
                    await self._write(connection, writes, noting, runs)
            self._runs.noted(runs)

    async def prepare(self, journal: Sequence[RawRecord]) -> None:
        if not is_little(len(journal)):
            await self._copying.prepare(journal)

    async def _write_all(self, connection: Connection, writes: Writes) -> None:
        if writes.journal:
            await self._copying.copy(connection, self._parts.journal, writes.journal)
        await _write_rest(connection, writes)

    async def _write(self, connection: Connection, writes: Writes, noting: Sequence[Series[Any]], runs: Sequence[Run]) -> None:
        async with connection.transaction():
            await step(connection, writes.advances, tells=not self._building)
            await self._write_all(connection, writes)
            for series in noting:
                await over_time.note(connection, series, writes.entries[series])
            await self._runs.note(connection, runs)

    async def sick(self, marks: Collection[Mark]) -> Sequence[Sick]:
        with raising(StoreUnavailable):
            async with self._pool.acquire() as connection:
                return await sick(connection, marks)

    async def refused(self, writes: Writes) -> Mapping[tuple[str, Key], str]:
        refused: dict[tuple[str, Key], str] = {}
        with raising(StoreUnavailable):
            async with self._pool.acquire() as connection:
                whole = connection.transaction()
                await whole.start()
                try:
                    for projection, key, single in _one_by_one(writes):
                        try:
                            with _refusing():
                                async with connection.transaction():
                                    await self._write_all(connection, single)
                        except RowsRefused as cause:
                            refused.setdefault((named(projection), key), str(cause))
                finally:
                    await whole.rollback()
        return refused


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (asyncpg.DataError, ValueError, OverflowError) as cause:
        raise RowsRefused(f"{type(cause).__name__}: {cause}") from cause


async def _make(connection: Connection, projection: Projection) -> None:
    """Make the relation, or check that it is as its row says. Raises ShapeChanged."""
    name = relation_of(projection)
    by_time = isinstance(projection, Series) and projection.over_time is not None
    if await connection.fetchval("SELECT to_regclass($1)", name) is None:
        if isinstance(projection, Series) and by_time:
            await over_time.make(connection, projection)
            return
        await connection.execute(created(projection))
        await connection.execute(walled(projection))
        if isinstance(projection, Journal):
            await connection.execute(made(projection))
        return
    for each in (projection, projection.memories) if isinstance(projection, PartialAggregate) else (projection,):
        found = [tuple(record) for record in await connection.fetch(_SHAPE, relation_of(each))]
        if found != [(column.name, column.type, column.nullable) for column in columns_of(each)]:
            raise ShapeChanged(
                f"{relation_of(each)} has other columns than {each.name} has now: give the projection a new version, or type: "
                f"aybiza rebuild {projection.name}"
            )
    if isinstance(projection, Journal):
        await connection.execute(indexed(projection))
        if await connection.fetchval("SELECT to_regclass($1)", runs_of(projection)) is None:
            await connection.execute(made(projection))
    if isinstance(projection, Series) and by_time:
        await over_time.complete(connection, projection)
    if isinstance(projection, Table) and projection.done is not None:
        await connection.execute(indexed_rest(projection))
    if isinstance(projection, Table) and projection.named_by:
        await connection.execute("; ".join(indexed_names(projection)))
    # What is looked at by time has its wall in its views: compressed rows know no policies.
    if not by_time and not await connection.fetchval("SELECT relrowsecurity FROM pg_class WHERE oid = $1::regclass", name):
        await connection.execute(walled(projection))


async def _take_over(connection: Connection, marks: Sequence[Mark], held: Mapping[Mark, int] | None) -> Opened:
    arrays = [name for name, _ in marks], [place.topic for _, place in marks], [place.partition for _, place in marks]
    start = Checkpoint()
    await connection.execute(
        f"INSERT INTO {READ_SIDE}.checkpoints SELECT *, $4, $5, $6, 0 FROM unnest($1::text[], $2::text[], $3::integer[]) "
        "ON CONFLICT DO NOTHING",
        *(*arrays, start.next_offset, start.fence.term, start.fence.claim_id),
    )
    checkpoints: dict[Mark, Checkpoint] = {}
    epochs: dict[Mark, int] = {}
    for record in await connection.fetch(_TAKE_OVER, *arrays):
        mark = (record["projection"], Place(record["topic"], record["partition"]))
        checkpoints[mark] = Checkpoint(record["next_offset"], Fence(record["term"], record["claim_id"]))
        epochs[mark] = record["epoch"]
    if held is not None and any(held.get(mark) != epoch - 1 for mark, epoch in epochs.items()):
        raise Superseded("another runner has taken over")
    waiting = await connection.fetch(
        f"SELECT DISTINCT projection, stream FROM {READ_SIDE}.parked WHERE projection = ANY($1)",
        arrays[0],
    )
    parked: defaultdict[str, set[str]] = defaultdict(set)
    for record in waiting:
        parked[record["projection"]].add(record["stream"])
    return Opened(checkpoints=checkpoints, epochs=epochs, parked=parked)


async def _write_rest(connection: Connection, writes: Writes) -> None:
    for series, entries in writes.entries.items():
        if entries:
            await _copy(connection, series, relation(series).columns, map(relation(series).values, entries))
    for table, rows in writes.rows.items():
        await _write_rows(connection, table, rows)
    for aggregate, added in writes.added.items():
        await add(connection, aggregate, added)
    if writes.healed:
        streams = [name for name, _ in writes.healed], [stream for _, stream in writes.healed]
        await connection.execute(
            f"DELETE FROM {READ_SIDE}.parked p USING unnest($1::text[], $2::text[]) h (projection, stream) "
            "WHERE p.projection = h.projection AND p.stream = h.stream",
            *streams,
        )
    if writes.parked:
        records = [[*each.place, *(getattr(each, name) for name in _PARKED)] for each in writes.parked]
        await connection.copy_records_to_table("parked", schema_name=READ_SIDE, columns=["topic", "partition", *_PARKED], records=records)


async def _write_rows(connection: Connection, table: Table[Any], rows: Mapping[Key, Folded]) -> None:
    compiled = relation(table)
    gone = [key for key, folded in rows.items() if folded.row is None]
    if gone:
        await connection.execute(compiled.delete, [tenant for tenant, _ in gone], [key for _, key in gone])
    kept = [compiled.values(folded.row) for folded in rows.values() if folded.row is not None]
    if len(kept) >= _MANY_ROWS:
        await connection.execute(compiled.staged)
        await connection.copy_records_to_table(compiled.stage, schema_name="pg_temp", columns=compiled.columns, records=kept)
        await connection.execute(compiled.upsert_staged)
    elif kept:
        await connection.execute(compiled.upsert, *(list(column) for column in zip(*kept, strict=True)))


async def _copy(connection: Connection, projection: Projection, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
    await connection.copy_records_to_table(
        projection.name, schema_name=schema_of(projection), columns=columns, records=records
    )  # fmt: skip


def _one_by_one(writes: Writes) -> Iterator[tuple[Projection, Key, Writes]]:
    """Each row and entry, and what each stream adds, by itself."""
    for table, rows in writes.rows.items():
        for key, folded in rows.items():
            yield table, key, Writes(advances=(), rows={table: {key: folded}})
    for series, entries in writes.entries.items():
        for entry in entries:
            yield series, (entry.tenant, entry.id), Writes(advances=(), entries={series: [entry]})
    for aggregate, streams in writes.added.items():
        for key, added in streams.items():
            yield aggregate, key, Writes(advances=(), added={aggregate: {key: added}})
