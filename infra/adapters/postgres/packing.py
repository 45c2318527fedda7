"""A cold part of the journal is packed in one transaction: its records are in one place or the other, and nobody who reads waits long."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.packed import packed_of, streams_of, unpacked_of, whole_of
from infra.adapters.postgres.parts import ranges_of
from infra.adapters.postgres.shapes import READ_SIDE, names, relation_of, schema_of
from infra.local.services import Progress
from projections.journal import Journal
from projections.ports import StoreUnavailable, named

RECORDS_OF_A_PIECE = 256
"""A piece is read whole: half a millisecond. Four times as many take an eighth less room."""
# Any number that nobody else takes.
_PACKING = 0x61796204
_SECONDS = 24 * 3600.0
_LOCK_MS, _LOCK_TIMES, _BETWEEN_SECONDS = 500, 60, 0.5
_PACKED = """
SELECT topic, part, min(first_offset) AS first, max(last_offset) + 1 AS end,
    sum(pg_column_size(p.*))::bigint AS bytes
FROM {} p GROUP BY topic, part
"""
_REACHED = f"SELECT topic, min(next_offset) AS reached FROM {READ_SIDE}.checkpoints WHERE projection = $1 GROUP BY topic"


class CannotPack(Exception):
    """The part is not there, or not cold, or what was packed is not what was there; the text says which. Nothing has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A range of offsets of a topic, from `first` on, before `end`. It is cold once every partition has been read beyond it.

    `bytes`: with its indexes; of a packed one its pieces alone.
    """

    name: str
    topic: str
    first: int
    end: int
    packed: bool
    cold: bool
    bytes: int


async def parts(pool: Pool, journal: Journal) -> Sequence[Part]:
    """All of a build, in their order. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            return await _parts(connection, journal)


async def _parts(connection: Connection, journal: Journal) -> Sequence[Part]:
    if await connection.fetchval("SELECT to_regclass($1)", whole_of(journal)) is None:
        return ()
    reached = {each["topic"]: each["reached"] for each in await connection.fetch(_REACHED, named(journal))}
    found = [
        Part(name=each["part"], topic=each["topic"], first=each["first"], end=each["end"], packed=True, cold=True, bytes=each["bytes"])
        for each in await connection.fetch(_PACKED.format(packed_of(journal)), timeout=_SECONDS)
    ]
    found += [
        Part(packed=False, cold=reached.get(each.topic, 0) >= each.end, **each._asdict()) for each in await ranges_of(connection, journal)
    ]
    return sorted(found, key=lambda part: (part.topic, part.first))


async def pack(pool: Pool, journal: Journal, name: str, progress: Progress) -> int:
    """Pack one part; returns how many records it has. Broken off at any point nothing has changed. Raises CannotPack, StoreUnavailable.

    What was packed is opened again and compared before what was there goes. Readers and the journal's runner are held for the moment of
    the exchange only, and for half a second at most.
    """
    with raising(StoreUnavailable):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _PACKING, timeout=_SECONDS)
            part = await _cold(connection, journal, name)
            hot = f'"{schema_of(journal)}"."{name}"'
            await connection.execute("SET LOCAL work_mem = '64MB'")
            count, partitions = 0, await connection.fetch(f"SELECT DISTINCT partition FROM {hot} ORDER BY 1", timeout=_SECONDS)
            for number, (partition,) in enumerate(partitions, start=1):
                count += await _pack(connection, journal, part, partition)
                progress("pack", f"{name}: {count} records, {number} of {len(partitions)} partitions")
            await connection.execute(_streams(journal), part.topic, part.name, timeout=_SECONDS)
            await _exchange(connection, relation_of(journal), hot)
    return count


async def _cold(connection: Connection, journal: Journal, name: str) -> Part:
    there = await _parts(connection, journal)
    part = next((each for each in there if each.name == name and not each.packed), None)
    if part is None:
        raise CannotPack(f"{named(journal)} has no part {name} that is not packed")
    if not part.cold:
        raise CannotPack(f"{name} is not cold: some partition of {part.topic} has not been read up to offset {part.end}")
    if any(each.topic == part.topic and each.first < part.first and not each.packed for each in there):
        raise CannotPack(f"{name} has an older part before it: the oldest is packed first")
    return part


async def _pack(connection: Connection, journal: Journal, part: Part, partition: int) -> int:
    hot, place = f'"{schema_of(journal)}"."{part.name}"', (part.topic, partition)
    arrays = [column for column in names(journal).split(", ") if column not in ('"topic"', '"partition"')]
    packed = ", ".join(f'array_agg({column} ORDER BY "offset")' for column in arrays)
    await connection.execute(
        f"INSERT INTO {packed_of(journal)} (topic, partition, part, first_offset, last_offset, {', '.join(arrays)}) "
        f'SELECT topic, partition, $3, min("offset"), max("offset"), {packed} FROM ('
        f'SELECT *, (row_number() OVER (ORDER BY "offset") - 1) / {RECORDS_OF_A_PIECE} AS piece FROM {hot} '
        "WHERE topic = $1 AND partition = $2) numbered GROUP BY topic, partition, piece",
        *place, part.name, timeout=_SECONDS,
    )  # fmt: skip
    there, here = [
        await connection.fetchrow(
            f"SELECT count(*), sum(hash_record_extended(each, 1)::numeric) FROM (SELECT {names(journal)} FROM {relation} "
            f"WHERE topic = $1 AND partition = $2 {only}) each",
            *place, timeout=_SECONDS,
        )
        for relation, only in ((hot, ""), (unpacked_of(journal), f"AND part = '{part.name.replace(chr(39), chr(39) * 2)}'"))
    ]  # fmt: skip
    if there is None or there != here:
        raise CannotPack(f"{part.name}: of partition {partition} other records would be read than are there")
    count: int = there[0]
    return count


def _streams(journal: Journal) -> str:
    return f"""
        INSERT INTO {streams_of(journal)} (stream, topic, partition, part, begins, pieces)
        SELECT u.stream, p.topic, p.partition, p.part, bool_or(u.version = 1 AND u.kind = 0), array_agg(DISTINCT p.last_offset)
        FROM {packed_of(journal)} p CROSS JOIN LATERAL unnest(p.stream, p.version, p.kind) u (stream, version, kind)
        WHERE p.topic = $1 AND p.part = $2 AND u.kind IN (0, 4) GROUP BY u.stream, p.topic, p.partition, p.part
    """


async def _exchange(connection: Connection, journal: str, hot: str) -> None:
    await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
    for last in range(_LOCK_TIMES, -1, -1):
        try:
            async with connection.transaction():
                await connection.execute(f"ALTER TABLE {journal} DETACH PARTITION {hot}; DROP TABLE {hot}")
                return
        except asyncpg.LockNotAvailableError as cause:
            # A long answer is under way: those who ask behind us are let through before we try again.
            if not last:
                raise CannotPack("somebody has been reading for too long; try again") from cause
        await asyncio.sleep(_BETWEEN_SECONDS)
