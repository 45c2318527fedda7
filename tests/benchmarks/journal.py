"""What a million events take in the journal, live and packed, and what its parts cost who appends: `make bench NAME=journal` (EVENTS=)."""

import asyncio
import gc
import logging
import os
import random
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
import uvloop

from events.rooms import ROOMS, prepared_codec
from events.streams import StreamId
from infra.adapters.postgres import parts
from infra.adapters.postgres.connections import Pool
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.packing import pack
from infra.adapters.postgres.packing import parts as parts_of
from infra.adapters.postgres.shapes import CHECKPOINTS, PARTED_BY, created, relation_of, schema_of
from infra.adapters.postgres.store import PostgresStore
from infra.apps.cold_parts import Pace, keep_packed
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.journal import JOURNAL
from projections.ports import Projection, Writes
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.projection import databases, progress
from tests.projections.facts import agent_turn, answered, caller_turn, received
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

EVENTS = int(os.environ.get("EVENTS", "200000"))
_MILLION = 1_000_000
_PARTITIONS = 8
# Narrow, so that most of what is written is cold.
_OFFSETS = 1 << 13
_PACKED_BYTES = """
SELECT pg_total_relation_size('p_journal_v1.packed') + pg_total_relation_size('p_journal_v1.packed_streams')
"""
_BATCHES = 30
_WORDS = "could you tell me whether you are open on saturday and if there is a free hour in the morning please for my son who broke a tooth"


def written() -> PaperReader:
    """Calls of 26 facts, as they come on a line: turn by turn, many calls at once."""
    reader, draw = PaperReader(partitions=_PARTITIONS, largest_batch=1_000), random.Random(1)
    words = _WORDS.split()
    for first in range(0, EVENTS // 26, 50):
        calls = [StreamId(AYB, "calls", f"call_{number:032x}") for number in range(first, first + 50)]
        for call in calls:
            reader.append(call, received(), answered())
        for turn in range(1, 13):
            for call in calls:
                said, heard = " ".join(draw.sample(words, 9)), " ".join(draw.sample(words, 14))
                reader.append(call, caller_turn(turn, said))
                spent = {"model": "claude-haiku-4-5", "input_tokens": 900, "output_tokens": 14, "characters": len(heard)}
                reader.append(call, agent_turn(turn, heard, **spent))  # type: ignore[arg-type]
    return reader


async def appended(reader: PaperReader, pool: Pool) -> float:
    """Seconds for all of it."""
    journal: Sequence[Projection] = [JOURNAL]
    runner = Runner(reader, PostgresStore(pool), journal, journal_rooms=ROOMS)
    begun = time.perf_counter()
    await runner.run(stop_at_end=True)
    return time.perf_counter() - begun


async def unparted(pool: Pool) -> None:
    """The journal as one table, as it was before there were parts."""
    async with pool.acquire() as connection:
        await connection.execute(created(JOURNAL).replace(f" PARTITION BY RANGE ({PARTED_BY})", ""))
        await connection.execute(CHECKPOINTS)


async def sizes(pool: Pool) -> tuple[int, int, int]:
    """Bytes of rows and of indexes, and how many rows."""
    found = await pool.fetchrow(
        "SELECT sum(pg_table_size(c.oid))::bigint AS rows, sum(pg_indexes_size(c.oid))::bigint AS indexes FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'",
        schema_of(JOURNAL),
    )
    assert found is not None
    return found["rows"], found["indexes"], await pool.fetchval(f"SELECT count(*) FROM {relation_of(JOURNAL)}")


async def packed(pool: Pool) -> tuple[float, float, float]:
    """Bytes of a record that is packed, with the index of streams; seconds for a million; milliseconds to read a stream of it back."""
    begun, records = time.perf_counter(), 0
    for part in await parts_of(pool, JOURNAL):
        if part.cold:
            records += await pack(pool, JOURNAL, part.name, progress)
    seconds = time.perf_counter() - begun
    size = await pool.fetchval(_PACKED_BYTES)
    taken = []
    journal = PostgresJournal(pool, prepared_codec())
    for stream in await journal.streams(AYB, "calls", limit=200, newest_first=False):
        begun = time.perf_counter()
        await journal.stream_events(stream)
        taken.append((time.perf_counter() - begun) * 1_000)
    return size / records, seconds / records * _MILLION, statistics.median(taken)


class Timed(PostgresStore):
    """Notes how long each batch took."""

    def __init__(self, pool: Pool, taken: list[float]) -> None:
        super().__init__(pool)
        self._taken = taken

    async def write(self, writes: Writes) -> None:
        begun = time.perf_counter()
        await super().write(writes)
        self._taken.append((time.perf_counter() - begun) * 1_000)


async def batches(reader: PaperReader, pool: Pool) -> list[float]:
    """Milliseconds of small batches, as they are written when little is behind."""
    taken: list[float] = []
    journal: Sequence[Projection] = [JOURNAL]
    for number in range(_BATCHES):
        reader.append(StreamId(AYB, "calls", f"call_{time.time_ns():025x}{number:07x}"), received(), answered())
        await Runner(reader, Timed(pool, taken), journal, journal_rooms=ROOMS).run(stop_at_end=True)
    return taken


async def beside(reader: PaperReader, pool: Pool) -> tuple[float, float]:
    """The p95 of a batch while cold parts are packed by themselves, and while they are not: in turns, for machines are noisy."""
    packing: list[float] = []
    alone: list[float] = []
    for _ in range(3):
        alone += await batches(reader, pool)
        keeping = asyncio.create_task(keep_packed(pool, timedelta(0), Pace(look_seconds=0.01)))
        packing += await batches(reader, pool)
        keeping.cancel()
        await asyncio.wait([keeping])
    return statistics.quantiles(packing, n=20)[18], statistics.quantiles(alone, n=20)[18]


async def measure(dsn: str) -> list[Figure]:
    parts.OFFSETS = _OFFSETS
    begun = time.perf_counter()
    reader = written()
    progress("log", f"{len(reader.all_records())} events on paper in {time.perf_counter() - begun:.1f} s")
    async with databases(dsn, 4) as pools:
        taken: dict[str, list[float]] = {"parted": [], "plain": []}
        for at, pool in enumerate(pools):
            kind = "parted" if at % 2 == 0 else "plain"
            if kind == "plain":
                await unparted(pool)
            taken[kind].append(await appended(reader, pool))
            progress("append", f"{kind}: {taken[kind][-1]:.1f} s")
        rows, indexes, count = await sizes(pools[0])
        toasted = await pools[0].fetchval(
            f"SELECT count(*) FROM {relation_of(JOURNAL)} WHERE pg_column_compression(value) IS NOT NULL LIMIT 1"
        )
        packed_bytes, packing_seconds, reading_ms = await packed(pools[0])
        while_packing, alone = await beside(reader, pools[2])

    def per_million(what: int) -> float:
        return round(what / count * _MILLION / 1e6, 1)

    def figure(name: str, value: float, unit: str, **more: Any) -> Figure:
        return Figure(figure=name, value=value, unit=unit, better=more.pop("better", "lower"), **more)

    whole = per_million(rows + indexes)
    return [
        figure("journal_events_per_second_in_parts", round(count / min(taken["parted"])), "1/s", better="higher",
               reference="the same in one table", reference_value=round(count / min(taken["plain"]))),
        figure("journal_mb_per_million_events", whole, "MB", reference="of that, rows", reference_value=per_million(rows)),
        figure("journal_index_mb_per_million_events", per_million(indexes), "MB"),
        figure("toasted_values", toasted, "rows", reference="rows", reference_value=count),
        figure("packed_mb_per_million_events", round(packed_bytes * _MILLION / 1e6, 1), "MB", reference="live", reference_value=whole),
        figure("packing_seconds_per_million_events", round(packing_seconds, 1), "s"),
        figure("packed_call_read_p50", round(reading_ms, 2), "ms"),
        figure("batch_p95_while_parts_are_packed", round(while_packing, 1), "ms", reference="while none is",
               reference_value=round(alone, 1)),
    ]  # fmt: skip


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = await ensure_stack(state_dir, settings, progress)
    try:
        show("journal", f"{EVENTS} events of calls", await measure(services.postgres), events=EVENTS)
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    gc.set_threshold(100_000, 50, 1_000)
    uvloop.run(main())
