"""A projection built beside the one that is read: how fast, how large, what is noticed: `make bench NAME=rebuild` (EVENTS=, BUILDS=)."""

import asyncio
import logging
import os
import statistics
import sys
import time
import uuid
from collections.abc import Mapping, Sequence

import structlog
import uvloop

from events.admission import Fence
from events.flags import FlagSet
from events.positions import Position
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
from infra.apps.allocating import allocate_for_groups
from infra.apps.beside import build_beside
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.calls import CALLS
from projections.flags import FLAGS
from projections.journal import JOURNAL
from projections.ports import Projection, named
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show, tell
from tests.benchmarks.filling import fill
from tests.benchmarks.projection import databases, dsn_of, progress
from tests.projections.log import TestLog, open_log
from tests.projections.told import AYB

EVENTS = int(os.environ.get("EVENTS", "300000"))
BUILDS = os.environ.get("BUILDS", "calls,journal").split(",")
"""What is built beside. With ten million events one after the other takes longer than most callers wait."""
_PARTITIONS = 8
_LOOKS = 150
_WARMING = 20
_SAY_SECONDS = 10.0
_READ: Sequence[Projection] = (JOURNAL, CALLS, FLAGS)
_BUILT: Mapping[str, Projection] = {"calls": build_of(CALLS, 2), "journal": build_of(JOURNAL, 2)}
_PEAK = "VmHWM:"


def peak_mebibytes() -> float:
    """Of this process and this program: what getrusage says begins with the peak of whoever started it."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - not a file of ours
        return next(int(line.split()[1]) for line in status if line.startswith(_PEAK)) / 1024


async def build(kafka: str, prefix: str, dsn: str, name: str) -> None:
    """As a process of its own: says seconds and mebibytes."""
    last = time.perf_counter()

    def said(_part: str, words: str) -> None:
        nonlocal last
        if time.perf_counter() - last > _SAY_SECONDS:
            last = time.perf_counter()
            progress(name, f"{words}, {peak_mebibytes():.0f} MB")

    async with KafkaLog(kafka) as log, connected(dsn, purpose="builder", durable=False) as pool:
        reader = KafkaLogReader(kafka, SchemaTopic(log, prepared_codec(), f"{prefix}.schemas"))
        begun = time.perf_counter()
        await build_beside(reader, pool, _BUILT[name], topic_of=lambda room: f"{prefix}.{room}.v1", progress=said)
        seconds = time.perf_counter() - begun
    sys.stdout.write(f"{seconds} {peak_mebibytes()}\n")


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


async def come_up(log: TestLog, rows: PostgresRows, runner: Runner) -> float:
    """Seconds until all there is can be seen."""
    begun = said = time.perf_counter()
    committed = await log.append(StreamId(AYB, "flags", "first"), FlagSet(enabled=True, variant="v"))
    ends = await log.reader.end_offsets([committed.position.topic, log.topic_of("calls")])
    positions = [Position(*place, end - 1, Fence()) for place, end in ends.items() if end]
    while not await rows.wait_for(positions, 1.0):
        now = time.perf_counter()
        if now - said > _SAY_SECONDS:
            said, done = now, sum(each.next_offset for (name, _), each in runner.checkpoints.items() if name == named(CALLS))
            progress("live", f"{done:,} of {EVENTS:,} events, {done / (now - begun):,.0f} a second")
    return time.perf_counter() - begun


async def measure(kafka: str, dsn: str) -> list[Figure]:
    figures: list[Figure] = []

    def tell_now(*found: Figure) -> None:
        tell("rebuild", found, events=EVENTS)
        figures.extend(found)

    async with open_log(kafka, f"bench{uuid.uuid4().hex[:12]}", partitions=_PARTITIONS) as log, databases(dsn, 1) as (pool,):
        progress("log", f"{EVENTS:,} events appended in {await fill(kafka, log.prefix, _PARTITIONS, EVENTS):.1f} s")
        runner = Runner(log.reader, PostgresStore(pool), _READ, topic_of=log.topic_of, journal_rooms=ROOMS)
        running = asyncio.create_task(runner.run())
        async with following(pool, _READ) as follow:
            rows, over = PostgresRows(pool, _READ, follow), asyncio.Event()
            seconds = await come_up(log, rows, runner)
            progress("live", f"what is read has come up in {seconds:.1f} s, {EVENTS / seconds:,.0f} a second")
            tell_now(_higher("live_from_nothing_events_per_second", EVENTS / seconds))
            await seen_after(log, rows, _WARMING, over)
            alone = await seen_after(log, rows, _LOOKS, over)
            for name in BUILDS:
                over.clear()
                meanwhile = asyncio.create_task(seen_after(log, rows, None, over))
                seconds, mebibytes = await built_beside(log, kafka, await dsn_of(dsn, pool), name)
                over.set()
                waited = await meanwhile
                progress(name, f"{seconds:.1f} s, {mebibytes:.0f} MB; meanwhile visible after {statistics.median(waited):.1f} ms")
                tell_now(
                    _higher(f"rebuilt_{name}_events_per_second", EVENTS / seconds),
                    _lower(f"rebuilding_{name}_seconds", seconds, "s"),
                    _lower(f"rebuilding_{name}_memory", mebibytes, "MB"),
                    _lower(f"write_to_visible_p50_meanwhile_{name}", statistics.median(waited), "ms", statistics.median(alone)),
                    _lower(f"write_to_visible_p99_meanwhile_{name}", _p99(waited), "ms", _p99(alone)),
                    _lower(f"write_to_visible_worst_meanwhile_{name}", waited[-1], "ms", alone[-1]),
                )
                # Every row of two journals takes longer to compare than to write.
                if name == CALLS.name:
                    tell_now(*await _switched(log, pool, _BUILT[name]))
        running.cancel()
        await asyncio.wait([running])
    return figures


async def _switched(log: TestLog, pool: Pool, second: Projection) -> Sequence[Figure]:
    """Compared with what is read, then in its place, while both are folded."""
    first = build_of(second, 1)
    warm = Runner(log.reader, PostgresStore(pool), [second], topic_of=log.topic_of, journal_rooms=ROOMS)
    keeping = asyncio.create_task(warm.run())
    begun = time.perf_counter()
    report = await compare(pool, first, second)
    compared = time.perf_counter() - begun
    progress(second.name, f"compared in {compared:.1f} s")
    (there,) = [each for each in await builds.standing(pool, second.name) if each.projection == named(second)]
    begun = time.perf_counter()
    await builds.switch(pool, there, [first])
    switched = time.perf_counter() - begun
    # Back again, so that what goes on being read is what went on being folded.
    (before,) = [each for each in await builds.standing(pool, second.name) if each.projection == named(first)]
    await builds.switch(pool, before, [first])
    keeping.cancel()
    await asyncio.wait([keeping])
    if not report.same or report.digests is None or report.digests[0] != report.digests[1]:
        raise SystemExit("what was rebuilt has other bytes")
    return (
        _lower(f"compared_{second.name}", compared * 1000, "ms"),
        _lower(f"switched_{second.name}", switched * 1000, "ms"),
        Figure(figure=f"rows_that_differ_{second.name}", value=len(report.differing), unit="rows", better="lower", target=0),
    )


def _lower(figure: str, value: float, unit: str, without: float | None = None) -> Figure:
    reference = None if without is None else "without"
    return Figure(
        figure=figure, value=round(value, 2), unit=unit, better="lower", reference=reference,
        reference_value=None if without is None else round(without, 2),
    )  # fmt: skip


def _higher(figure: str, per_second: float) -> Figure:
    return Figure(figure=figure, value=round(per_second), unit="1/s", better="higher")


def _p99(taken: list[float]) -> float:
    return taken[int(len(taken) * 0.99)]


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = await ensure_stack(state_dir, settings, progress)
    try:
        figures = await measure(services.kafka, services.postgres)
        show("rebuild", f"{EVENTS:,} events, built beside what is read", figures, told=True)
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    allocate_for_groups()
    uvloop.run(build(*sys.argv[1:]) if len(sys.argv) > 1 else main())
