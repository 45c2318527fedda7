"""Checkpoints stepped by compare-and-set: first in a transaction or, where little is written, in one statement with all of it."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from events.leaves import leaf_hash
from events.records import RawRecord, version_of
from infra.adapters.postgres.connections import Connection
from infra.adapters.postgres.over_time import minutes_of, noting_of
from infra.adapters.postgres.partials import partials, records_of
from infra.adapters.postgres.shapes import JOURNAL_COLUMNS, READ_SIDE, Insert, relation, relation_of
from projections.journal import Journal, stored_type, stream_text
from projections.ports import Advance, Superseded, Writes
from projections.series import Series

CHANNEL = "read_side"
# The predicate on epoch and on all that was seen is what makes a batch count once, and keeps a zombie out.
STEP = f"""
UPDATE {READ_SIDE}.checkpoints c SET next_offset = s.next_offset, term = s.term, claim_id = s.claim_id
FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[],
            $8::bigint[], $9::bigint[], $10::bytea[])
    s (projection, topic, partition, epoch, seen_offset, seen_term, seen_claim, next_offset, term, claim_id)
WHERE c.projection = s.projection AND c.topic = s.topic AND c.partition = s.partition
    AND c.epoch = s.epoch AND c.next_offset = s.seen_offset AND c.term = s.seen_term AND c.claim_id = s.seen_claim
RETURNING 1
"""
_COLUMNS_OF_A_STEP = 10
_TOLD = f"pg_notify('{CHANNEL}', '')"
FEW = 64
"""More than these are copied, in a transaction of several statements."""
# A longer statement would be made ready anew each time.
_LONGEST = 15_000


@dataclass(frozen=True, slots=True)
class AtOnce:
    """A statement that is a transaction by itself, with its values."""

    statement: str
    values: Sequence[Any]

    async def run(self, connection: Connection) -> bool:
        """False where a relation is not there: then nothing was done. Raises Superseded."""
        try:
            await connection.fetchval(self.statement, *self.values)
        except asyncpg.DivisionByZeroError as cause:
            raise Superseded("some of the checkpoints are another runner's by now") from cause
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return False
        return True


async def step(connection: Connection, advances: Sequence[Advance], *, tells: bool) -> None:
    """First in a transaction, so that whoever comes too late waits for nothing and writes nothing. Raises Superseded."""
    stepped = await connection.fetchval(f"WITH stepped AS ({STEP}) SELECT count(*){_and_told(tells)} FROM stepped", *_steps(advances))
    if stepped != len(advances):
        raise Superseded(f"{len(advances) - stepped} of {len(advances)} checkpoints are another runner's by now")


def at_once(writes: Writes, journal: Journal, noted: Sequence[Series[Any]], *, tells: bool) -> AtOnce | None:
    """All of it in one statement; None where there is too much of it, or what happens seldom. `noted`: the series that note minutes.

    At a few hundred commands a second a transaction is a record or two, and most of its cost is the asking and the answering.
    """
    if writes.healed or writes.parked or not is_little(_size(writes)):
        return None
    values = _steps(writes.advances)
    inserts = []
    for insert, columns in _inserts(writes, journal, noted):
        inserts.append(insert)
        values += columns
    statement = _statement(STEP, tuple(inserts), tells=tells)
    return AtOnce(statement, [*values, len(writes.advances)]) if len(statement) <= _LONGEST else None


def is_little(rows: int) -> bool:
    """Whether so many are written at once."""
    return rows <= FEW


def _size(writes: Writes) -> int:
    rows = 0
    for changed in writes.rows.values():
        if any(folded.row is None for folded in changed.values()):
            return FEW + 1
        rows += len(changed)
    added = sum(len(each.rows) for streams in writes.added.values() for each in streams.values())
    return rows + added + len(writes.journal) + sum(map(len, writes.entries.values()))


def _inserts(writes: Writes, journal: Journal, noted: Sequence[Series[Any]]) -> Iterator[tuple[Insert, list[Any]]]:
    """What is inserted, with the columns of its values."""
    if entries_of_journal := _columns(_entries(writes.journal)):
        yield _into_journal(journal), entries_of_journal
    for series, entries in writes.entries.items():
        if entries:
            yield relation(series).insert, _columns(map(relation(series).values, entries))
            if series in noted:
                yield noting_of(series), [minutes_of(entries)]
    for table, rows in writes.rows.items():
        if rows:
            yield relation(table).insert, _columns(relation(table).values(folded.row) for folded in rows.values())
    for aggregate, added in writes.added.items():
        if records := records_of(aggregate, added):
            yield partials(aggregate).insert, _columns(records)


@functools.cache
def _into_journal(journal: Journal) -> Insert:
    listed = ", ".join(f'"{name}"' for name, _ in JOURNAL_COLUMNS)
    return Insert(f"{relation_of(journal)} ({listed})", [kind for _, kind in JOURNAL_COLUMNS])


@functools.lru_cache(maxsize=1000)
def _statement(stepping: str, inserts: tuple[Insert, ...], *, tells: bool) -> str:
    parts, first = [f"stepped AS ({stepping})"], _COLUMNS_OF_A_STEP + 1
    for number, insert in enumerate(inserts):
        parts.append(f"written{number} AS ({insert.sql(first)})")
        first += len(insert.types)
    # The main query is carried out before the others of a WITH that it does not read: whoever comes too late fails here, waits for
    # nothing and writes nothing. Nothing else divides.
    return f"WITH {', '.join(parts)} SELECT 1 / (count(*) = ${first}::bigint)::integer{_and_told(tells)} FROM stepped"


def _and_told(tells: bool) -> str:
    return f", {_TOLD}" if tells else ""


def _entries(records: Iterable[RawRecord]) -> Iterator[tuple[Any, ...]]:
    """As `projections.journal.entry_of`, of the packed header's own bytes."""
    for raw in records:
        topic, partition, offset, timestamp_ms, key, value, ce_type, packed = raw
        if packed is not None:
            leaf = leaf_hash(key=key, timestamp_ms=timestamp_ms, ce_type=ce_type, packed_header=packed, value=value)
            yield (
                topic, partition, offset, stream_text(key), version_of(raw), packed[1], stored_type(ce_type), timestamp_ms, packed, value,
                leaf,
            )  # fmt: skip


def _columns(records: Iterable[Sequence[Any]]) -> list[Any]:
    return list(zip(*records, strict=True))


def _steps(advances: Sequence[Advance]) -> list[Any]:
    return _columns(
        (
            step.projection, step.place.topic, step.place.partition, step.epoch,
            step.seen.next_offset, step.seen.fence.term, step.seen.fence.claim_id,
            step.reached.next_offset, step.reached.fence.term, step.reached.fence.claim_id,
        )
        for step in advances
    )  # fmt: skip
