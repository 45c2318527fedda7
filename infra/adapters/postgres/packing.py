"""A cold part of the journal is packed step by step, unseen: its records are in one place or the other, and nobody who reads waits long."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.packed import packed_of, packing_of, streams_of, unpacked_of
from infra.adapters.postgres.parts import ranges_of
from infra.adapters.postgres.shapes import READ_SIDE, names, relation_of, schema_of
from infra.local.services import Progress
from projections.journal import Journal
from projections.ports import StoreUnavailable, named

RECORDS_OF_A_PIECE = 256
"""A piece is read whole: half a millisecond. Four times as many take an eighth less room."""
PIECES_OF_A_STEP = 8
"""So much is packed and compared in one transaction: some 2,000 records, 70 ms of one core at most."""
# Any number that nobody else takes.
_PACKING = 0x61796204
_SECONDS = 24 * 3600.0
_LOCK_MS, _LOCK_TIMES, _BETWEEN_SECONDS = 500, 60, 0.5
_PACKED = """
SELECT topic, part, min(first_offset) AS first, max(last_offset) + 1 AS end,
    sum(pg_column_size(p.*))::bigint AS bytes
FROM {} p WHERE part NOT IN (SELECT part FROM {}) GROUP BY topic, part
"""
_REACHED = f"SELECT topic, min(next_offset) AS reached FROM {READ_SIDE}.checkpoints WHERE projection = $1 GROUP BY topic"
_NEWEST = f"""
SELECT max(last.appended_at_ms) FROM {READ_SIDE}.checkpoints c CROSS JOIN LATERAL (
    SELECT appended_at_ms FROM {{}} h WHERE h.topic = c.topic AND h.partition = c.partition
    ORDER BY h.topic DESC, h.partition DESC, h."offset" DESC LIMIT 1
) last WHERE c.projection = $1 AND c.topic = $2
"""


class CannotPack(Exception):
    """The part is not there, or not cold, or what was packed is not what was there; the text says which. Readers see what they saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A range of offsets of a topic, from `first` on, before `end`. It is cold once every partition has been read beyond it.

    `bytes`: with its indexes; of a packed one its pieces alone. `packing`: so many of its records are packed, and the rest is to be.
    """

    name: str
    topic: str
    first: int
    end: int
    packed: bool
    cold: bool
    bytes: int
    packing: int | None = None


class Step(NamedTuple):
    """What was done: so many records are packed of the part; it is done; it would be, but somebody has been reading for too long."""

    records: int
    done: bool = False
    held: bool = False


class Behind(NamedTuple):
    """How far a part is packed: to which record of which partition, and how many records that is."""

    partition: int
    offset: int
    records: int


_NOTHING = Behind(-1, -1, 0)


async def parts(pool: Pool, journal: Journal) -> Sequence[Part]:
    """All of a build, in their order. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            found = list(await live_parts(connection, journal))
            if await _is_there(connection, journal):
                packed = await connection.fetch(_PACKED.format(packed_of(journal), packing_of(journal)), timeout=_SECONDS)
                found += [
                    Part(name=each["part"], topic=each["topic"], first=each["first"], end=each["end"], packed=True, cold=True,
                         bytes=each["bytes"]) for each in packed
                ]  # fmt: skip
            return sorted(found, key=lambda part: (part.topic, part.first))


async def live_parts(connection: Connection, journal: Journal) -> Sequence[Part]:
    """Those that are not packed, or not all of it, in their order."""
    if not await _is_there(connection, journal):
        return ()
    with _there():
        return await _live_parts(connection, journal)


async def _live_parts(connection: Connection, journal: Journal) -> Sequence[Part]:
    reached = {each["topic"]: each["reached"] for each in await connection.fetch(_REACHED, named(journal))}
    under_way = {each["part"]: each["records"] for each in await connection.fetch(f"SELECT part, records FROM {packing_of(journal)}")}
    return [
        Part(packed=False, cold=reached.get(each.topic, 0) >= each.end, packing=under_way.get(each.name), **each._asdict())
        for each in await ranges_of(connection, journal)
    ]


async def next_cold(connection: Connection, journal: Journal, before_ms: int) -> str | None:
    """The part that is being packed, else one that is next in its topic, cold, and was last appended to before a time."""
    found = await live_parts(connection, journal)
    oldest = {part.topic: part for part in reversed(found)}
    for part in sorted(oldest.values(), key=lambda part: part.packing is None):
        if part.packing is not None:
            return part.name
        if part.cold:
            with _there():
                newest = await connection.fetchval(_NEWEST.format(_hot(journal, part.name)), named(journal), part.topic)
            if newest is None or newest < before_ms:
                return part.name
    return None


async def pack(pool: Pool, journal: Journal, name: str, progress: Progress) -> int:
    """Pack one part; returns how many records it has. Broken off, it is gone on with the next time. Raises CannotPack, StoreUnavailable."""
    records = held = 0
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            while True:
                try:
                    done = await step(connection, journal, name, lock_ms=_LOCK_MS)
                except CannotPack:
                    # Or the projections, which pack by themselves, were there first.
                    if records and not any(each.name == name for each in await live_parts(connection, journal)):
                        return records
                    raise
                records = done.records or records
                if done.done:
                    return records
                progress("pack", f"{name}: {records} records")
                held += done.held
                if held > _LOCK_TIMES:
                    raise CannotPack("somebody has been reading for too long; try again")
                # A long answer is under way: those who ask behind us are let through before we try again.
                await asyncio.sleep(_BETWEEN_SECONDS if done.held else 0)


async def step(connection: Connection, journal: Journal, name: str, *, lock_ms: int) -> Step:
    """Pack some more of a part, in one transaction; whoever does the next step, in whatever process, goes on behind it.

    What was packed is opened again and compared with what is there. The last step puts it in its place: it holds up readers and the
    journal's runner for a moment, and for `lock_ms` at most. Raises CannotPack.
    """
    try:
        with _there():
            return await _step(connection, journal, name, lock_ms)
    except asyncpg.LockNotAvailableError:
        return Step(0, held=True)


async def _step(connection: Connection, journal: Journal, name: str, lock_ms: int) -> Step:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _PACKING, timeout=_SECONDS)
        part, behind = await _begun(connection, journal, name)
        # Along the key, partition by partition.
        place = await connection.fetchrow(
            f'SELECT partition FROM {_hot(journal, name)} WHERE topic = $1 AND (partition, "offset") > ($2, $3) '
            'ORDER BY topic, partition, "offset" LIMIT 1',
            part.topic, behind.partition, behind.offset,
        )  # fmt: skip
        if place is None:
            await _exchange(connection, journal, part, behind.records, lock_ms)
            return Step(behind.records, done=True)
        since = behind.offset if place["partition"] == behind.partition else -1
        count, reached = await _pack(connection, journal, part, place["partition"], since)
        await connection.execute(
            f"UPDATE {packing_of(journal)} SET partition = $2, behind = $3, records = records + $4 WHERE part = $1",
            name, place["partition"], reached, count,
        )  # fmt: skip
        return Step(behind.records + count)


@contextmanager
def _there() -> Iterator[None]:
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as cause:
        raise StoreUnavailable("the journal was thrown away meanwhile, to be made anew") from cause


async def _is_there(connection: Connection, journal: Journal) -> bool:
    return await connection.fetchval("SELECT to_regclass($1)", packing_of(journal)) is not None


def _hot(journal: Journal, name: str) -> str:
    return f'"{schema_of(journal)}"."{name}"'


async def _begun(connection: Connection, journal: Journal, name: str) -> tuple[Part, Behind]:
    there = await live_parts(connection, journal)
    part = next((each for each in there if each.name == name), None)
    if part is None:
        raise CannotPack(f"{named(journal)} has no part {name} that is not packed")
    if not part.cold:
        raise CannotPack(f"{name} is not cold: some partition of {part.topic} has not been read up to offset {part.end}")
    if any(each.topic == part.topic and each.first < part.first for each in there):
        raise CannotPack(f"{name} has an older part before it: the oldest is packed first")
    select = f"SELECT partition, behind, records FROM {packing_of(journal)} WHERE part = $1"
    behind = await connection.fetchrow(select, name)
    if behind is None:
        await connection.execute(f"INSERT INTO {packing_of(journal)} VALUES ($1, $2, -1, -1, 0)", name, part.topic)
    return part, _NOTHING if behind is None else Behind(*behind)


async def _pack(connection: Connection, journal: Journal, part: Part, partition: int, behind: int) -> tuple[int, int]:
    """Returns how many records, and the last one's offset."""
    hot, place = _hot(journal, part.name), (part.topic, partition)
    arrays = [column for column in names(journal).split(", ") if column not in ('"topic"', '"partition"')]
    packed = ", ".join(f'array_agg({column} ORDER BY "offset")' for column in arrays)
    made = await connection.fetch(
        f"INSERT INTO {packed_of(journal)} (topic, partition, part, first_offset, last_offset, {', '.join(arrays)}) "
        f'SELECT topic, partition, $3, min("offset"), max("offset"), {packed} FROM ('
        f'SELECT *, (row_number() OVER (ORDER BY "offset") - 1) / {RECORDS_OF_A_PIECE} AS piece FROM ('
        f'SELECT * FROM {hot} WHERE topic = $1 AND partition = $2 AND "offset" > $4 ORDER BY topic, partition, "offset" '
        f"LIMIT {RECORDS_OF_A_PIECE * PIECES_OF_A_STEP}) some_) numbered GROUP BY topic, partition, piece "
        'RETURNING last_offset, cardinality("offset") AS records',
        *place, part.name, behind,
    )  # fmt: skip
    count, reached = sum(each["records"] for each in made), max(each["last_offset"] for each in made)
    there, here = [
        await connection.fetchrow(
            f"SELECT count(*), sum(hash_record_extended(each, 1)::numeric) FROM (SELECT {names(journal)} FROM {relation} "
            f"WHERE topic = $1 AND partition = $2 AND {offset} > $3 AND {offset} <= $4 {only}) each",
            *place, behind, reached,
        )
        for relation, offset, only in (
            (hot, '"offset"', ""), (unpacked_of(journal), "last_offset", f"AND part = '{part.name.replace(chr(39), chr(39) * 2)}'"),
        )
    ]  # fmt: skip
    if there != here or there is None or there[0] != count:
        raise CannotPack(f"{part.name}: of partition {partition} other records would be read than are there")
    await connection.execute(_streams(journal), *place, part.name, behind, reached)
    return count, reached


def _streams(journal: Journal) -> str:
    return f"""
        INSERT INTO {streams_of(journal)} AS known (stream, topic, partition, part, begins, pieces)
        SELECT u.stream, p.topic, p.partition, p.part, bool_or(u.version = 1 AND u.kind = 0), array_agg(DISTINCT p.last_offset)
        FROM {packed_of(journal)} p CROSS JOIN LATERAL unnest(p.stream, p.version, p.kind) u (stream, version, kind)
        WHERE p.topic = $1 AND p.partition = $2 AND p.part = $3 AND p.last_offset > $4 AND p.last_offset <= $5 AND u.kind IN (0, 4)
        GROUP BY u.stream, p.topic, p.partition, p.part
        ON CONFLICT (stream, topic, partition, part) DO UPDATE
        SET begins = known.begins OR excluded.begins, pieces = known.pieces || excluded.pieces
    """


async def _exchange(connection: Connection, journal: Journal, part: Part, records: int, lock_ms: int) -> None:
    hot = _hot(journal, part.name)
    count = await connection.fetchval(f"SELECT count(*) FROM {hot}", timeout=_SECONDS)
    if count != records:
        raise CannotPack(f"{part.name}: {records} records are packed, and {count} are there")
    await connection.execute(f"SET LOCAL lock_timeout = {lock_ms}")
    await connection.execute(f"ALTER TABLE {relation_of(journal)} DETACH PARTITION {hot}; DROP TABLE {hot}")
    await connection.execute(f"DELETE FROM {packing_of(journal)} WHERE part = $1", part.name)
