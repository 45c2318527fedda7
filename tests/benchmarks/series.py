"""What a series over time costs in ranges of our own and in hypertables, appended, counted and packed: `make bench NAME=series` (EVENTS=).

The other way is the reference; it is measured where AYBIZA_TIMESCALE_DSN names a PostgreSQL with TimescaleDB.
"""

import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog
import uvloop

from events.calls.talking import Latency
from events.streams import StreamId
from infra.adapters.postgres import builds
from infra.adapters.postgres.connections import Pool
from infra.adapters.postgres.over_time import is_native, refresh
from infra.adapters.postgres.shapes import relation_of
from infra.adapters.postgres.store import PostgresStore
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.measures import TURN_MEASURES
from projections.ports import named
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.projection import databases, progress
from tests.projections.facts import agent_turn
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

EVENTS = int(os.environ.get("EVENTS", "60000"))
_MILLION = 1_000_000
_COUNTS = "SELECT coalesce(sum(entries), 0)::bigint FROM v_turn_measures_v1.turn_measures_day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one way. Sizes are with indexes and counts; `packed_bytes` is None where nothing is packed."""

    per_second: float
    counted_seconds: float
    bytes: int
    packed_bytes: int | None


def history() -> PaperReader:
    """Answers a second apart, of calls of ten, with times that no two have in common."""
    draw, reader = random.Random(1), PaperReader(partitions=8, largest_batch=2_000)
    for number in range(EVENTS):
        at_ms = draw.randrange(100_000)
        stages = Latency(
            speech_ended_ms=at_ms, turn_decided_ms=at_ms + draw.randrange(90, 400), first_token_ms=at_ms + draw.randrange(400, 900),
            first_byte_ms=at_ms + draw.randrange(900, 1_200), on_wire_ms=at_ms + draw.randrange(1_200, 1_500),
        )  # fmt: skip
        turn = agent_turn(number % 10, "yes", model="claude", input_tokens=draw.randrange(2_000), output_tokens=draw.randrange(60))
        reader.append(StreamId(AYB, "calls", f"call_{number // 10:032x}"), replace(turn, latency=stages))
    return reader


async def cost_of(reader: PaperReader, pool: Pool) -> Cost:
    begun = time.perf_counter()
    await Runner(reader, PostgresStore(pool), [TURN_MEASURES], journal_rooms=()).run(stop_at_end=True)
    appended = time.perf_counter()
    await refresh(pool, TURN_MEASURES)
    counted = time.perf_counter()
    if await pool.fetchval(_COUNTS) != EVENTS:
        raise SystemExit("what was counted is not what was appended")
    (build,) = [each for each in await builds.standing(pool) if each.projection == named(TURN_MEASURES)]
    live = (await builds.sizes(pool, [build]))[build.projection]
    async with pool.acquire() as connection:
        native = await is_native(connection, TURN_MEASURES)
        if not native:
            await connection.fetch("SELECT compress_chunk(c) FROM show_chunks($1::regclass) c", relation_of(TURN_MEASURES))
    packed = None if native else (await builds.sizes(pool, [build]))[build.projection]
    return Cost(per_second=EVENTS / (appended - begun), counted_seconds=counted - appended, bytes=live, packed_bytes=packed)


async def measure(native: str, timescale: str | None) -> Sequence[Figure]:
    reader = history()
    async with databases(native, 1) as pools:
        ours = await cost_of(reader, pools[0])
    if timescale is None:
        progress("series", "AYBIZA_TIMESCALE_DSN names no TimescaleDB: ranges of our own alone")
        return figures("in_ranges", ours, None)
    async with databases(timescale, 1) as pools:
        theirs = await cost_of(reader, pools[0])
    if theirs.packed_bytes is None:
        raise SystemExit("AYBIZA_TIMESCALE_DSN names a PostgreSQL without TimescaleDB")
    ratio = Figure(figure="packed_ratio_in_hypertables", value=round(theirs.bytes / theirs.packed_bytes, 1), unit="", better="higher")
    return [*figures("in_ranges", ours, theirs), *figures("in_hypertables", theirs, ours), ratio]


def figures(where: str, cost: Cost, other: Cost | None) -> Sequence[Figure]:
    def figure(name: str, unit: str, better: str, of: Callable[[Cost], float]) -> Figure:
        return Figure(
            figure=f"{name}_{where}", value=round(of(cost), 2), unit=unit, better=better,
            reference=None if other is None else "the other way", reference_value=None if other is None else round(of(other), 2),
        )  # fmt: skip

    found = [
        figure("series_events_per_second", "1/s", "higher", lambda each: each.per_second),
        figure("series_counted", "s", "lower", lambda each: each.counted_seconds),
        figure("series_million_events", "MB", "lower", lambda each: _megabytes(each.bytes)),
    ]
    if cost.packed_bytes is not None:
        found.append(figure("series_million_events_packed", "MB", "lower", lambda each: _megabytes(each.packed_bytes or each.bytes)))
    return found


def _megabytes(size: int) -> float:
    return size / EVENTS * _MILLION / 1e6


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = await ensure_stack(state_dir, settings, progress)
    timescale = settings.timescale_dsn.get_secret_value() if settings.timescale_dsn else None
    try:
        show("series", f"{EVENTS:,} answers, read from memory", await measure(services.postgres, timescale), events=EVENTS)
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    uvloop.run(main())
