"""A projection built beside the one that is read: how fast, how large, what readers notice: `make bench NAME=rebuild` (EVENTS=)."""

import asyncio
import gc
import logging
import os
import random
import resource
import statistics
import sys
import time
import uuid
from collections.abc import Sequence

import structlog
import uvloop

from events.flags import FlagSet
from events.rooms import ROOMS, prepared_codec
from events.streams import StreamId
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import build_of
from infra.adapters.postgres.comparing import compare
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.progress import following
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.store import PostgresStore
from infra.apps.beside import build_beside
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.calls import CALLS
from projections.flags import FLAGS
from projections.journal import JOURNAL
from projections.ports import Projection, named
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.projection import databases, progress
from tests.projections.facts import agent_turn, answered, caller_turn, received
from tests.projections.log import TestLog, open_log
from tests.projections.told import AYB

EVENTS = int(os.environ.get("EVENTS", "300000"))
_CALL = 102
_AT_ONCE = 64
_LOOKS = 150
_MEBIBYTE = 1 << 20
_READ: Sequence[Projection] = (JOURNAL, CALLS, FLAGS)
_BUILT: dict[str, Projection] = {"calls": build_of(CALLS, 2), "journal": build_of(JOURNAL, 2)}


async def fill(log: TestLog) -> None:
    """Calls of many turns; a commit holds some turns of one."""
    left = iter(range(EVENTS // _CALL))
    draw = random.Random(1)

    async def caller() -> None:
        for number in left:
            call = StreamId(AYB, "calls", f"call_{draw.getrandbits(96):024x}{number:08x}")
            await log.append(call, received(), answered())
            for first in range(1, 51, 10):
                turns = [
                    fact
                    for turn in range(first, first + 10)
                    for fact in (caller_turn(turn, "is there an hour"), agent_turn(turn, "at nine"))
                ]
                await log.append(call, *turns)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(caller())


async def build(kafka: str, prefix: str, dsn: str, name: str) -> None:
    """As a process of its own: says seconds and mebibytes."""
    async with KafkaLog(kafka) as log, connected(dsn, purpose="builder", durable=False) as pool:
        reader = KafkaLogReader(kafka, SchemaTopic(log, prepared_codec(), f"{prefix}.schemas"))
        begun = time.perf_counter()
        await build_beside(reader, pool, _BUILT[name], topic_of=lambda room: f"{prefix}.{room}.v1")
        seconds = time.perf_counter() - begun
    sys.stdout.write(f"{seconds} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}\n")


async def seen_after(log: TestLog, rows: PostgresRows, times: int | None, over: asyncio.Event) -> list[float]:
    """Milliseconds from an acknowledged write to its row in what is read, while other work goes on."""
    taken: list[float] = []
    while not over.is_set() if times is None else len(taken) < times:
        committed = await log.append(StreamId(AYB, "flags", f"flag-{len(taken) % 20}"), FlagSet(enabled=True, variant="v"))
        begun = time.perf_counter()
        if not await rows.wait_for([committed.position], 60):
            raise SystemExit("a write was not seen within a minute")
        taken.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(0.01)
    return sorted(taken)


async def built_beside(log: TestLog, kafka: str, dsn: str, name: str) -> tuple[float, float]:
    """Seconds and mebibytes."""
    words = ("-m", "tests.benchmarks.rebuild", kafka, log.prefix, dsn, name)
    child = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    if child.returncode:
        raise SystemExit(f"the builder ended with {child.returncode}")
    seconds, mebibytes = map(float, output.split())
    return seconds, mebibytes


async def measure(kafka: str, dsn: str) -> list[Figure]:
    async with open_log(kafka, f"bench{uuid.uuid4().hex[:12]}", partitions=8) as log, databases(dsn, 1) as (pool,):
        begun = time.perf_counter()
        await fill(log)
        progress("log", f"{EVENTS} events appended in {time.perf_counter() - begun:.1f} s")
        runner = Runner(log.reader, PostgresStore(pool), _READ, topic_of=log.topic_of, journal_rooms=ROOMS)
        running = asyncio.create_task(runner.run())
        own = await pool.fetchval("SELECT current_database()")
        address = dsn.replace(dsn.partition("?")[0].rpartition("/")[2], own, 1)
        async with following(pool, _READ) as follow:
            rows, over = PostgresRows(pool, _READ, follow), asyncio.Event()
            committed = await log.append(StreamId(AYB, "flags", "first"), FlagSet(enabled=True, variant="v"))
            if not await rows.wait_for([committed.position], 3_600):
                raise SystemExit("what is read never came up")
            progress("live", "what is read has come up")
            alone = await seen_after(log, rows, _LOOKS, over)
            meanwhile = asyncio.create_task(seen_after(log, rows, None, over))
            figures: dict[str, tuple[float, float]] = {}
            for name in _BUILT:
                figures[name] = await built_beside(log, kafka, address, name)
                progress(name, f"{figures[name][0]:.1f} s, {figures[name][1]:.0f} MB")
            over.set()
            waited = await meanwhile
            return await _told(log, pool, figures, alone, waited, running)


async def _told(
    log: TestLog, pool: Pool, figures: dict[str, tuple[float, float]], alone: list[float], waited: list[float], running: asyncio.Task[None]
) -> list[Figure]:
    second = _BUILT["calls"]
    warm = Runner(log.reader, PostgresStore(pool), [second], topic_of=log.topic_of, journal_rooms=ROOMS)
    keeping = asyncio.create_task(warm.run())
    begun = time.perf_counter()
    report = await compare(pool, CALLS, second)
    compared = time.perf_counter() - begun
    (there,) = [each for each in await builds.standing(pool, "calls") if each.projection == named(second)]
    begun = time.perf_counter()
    await builds.switch(pool, there, [CALLS])
    switched = time.perf_counter() - begun
    for task in (running, keeping):
        task.cancel()
        await asyncio.wait([task])
    if not report.same or report.digests is None or report.digests[0] != report.digests[1]:
        raise SystemExit("the rebuilt table has other bytes")

    def lower(figure: str, value: float, unit: str, reference: str | None = None, reference_value: float | None = None) -> Figure:
        return Figure(figure=figure, value=round(value, 2), unit=unit, better="lower", reference=reference, reference_value=reference_value)

    rates = [
        Figure(figure=f"rebuilt_{name}_events_per_second", value=round(EVENTS / seconds), unit="1/s", better="higher")
        for name, (seconds, _) in figures.items()
    ]
    return [
        *rates,
        *(lower(f"rebuilding_{name}_memory", mebibytes, "MB") for name, (_, mebibytes) in figures.items()),
        lower("write_to_visible_p50_meanwhile", statistics.median(waited), "ms", "without", round(statistics.median(alone), 2)),
        lower("write_to_visible_p99_meanwhile", _p99(waited), "ms", "without", round(_p99(alone), 2)),
        lower("compared", compared * 1000, "ms"),
        lower("switched", switched * 1000, "ms"),
        Figure(figure="rows_that_differ", value=len(report.differing), unit="rows", better="lower", target=0),
    ]


def _p99(taken: list[float]) -> float:
    return taken[int(len(taken) * 0.99)]


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = await ensure_stack(state_dir, settings, progress)
    try:
        figures = await measure(services.kafka, services.postgres)
        show("rebuild", f"{EVENTS} events, built beside what is read", figures, events=EVENTS)
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    gc.set_threshold(100_000, 50, 1_000)
    uvloop.run(build(*sys.argv[1:]) if len(sys.argv) > 1 else main())
