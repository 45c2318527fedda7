"""Projected events a second, exactly once, and the time from an acknowledged write to its row: `make bench NAME=projection`."""

import asyncio
import logging
import random
import statistics
import sys
import time
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import structlog
import uvloop
from rich.console import Console

from events.calls.thinking import ModelChosen
from events.flags import FlagSet
from events.rooms import ROOMS
from events.streams import StreamId
from infra.adapters.kafka.reader import open_reader
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.progress import following
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.store import PostgresStore
from infra.apps.allocating import allocate_for_groups
from infra.apps.sharing import PartOfTheLog
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.calls import CALL_TIMELINE, CALLS
from projections.flags import FLAGS
from projections.journal import JOURNAL
from projections.ports import Opened, Place, Projection, Writes
from projections.registry import STORED
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show
from tests.projections.facts import agent_turn, answered, caller_turn, received
from tests.projections.log import TestLog, open_log
from tests.projections.told import AYB

EVENTS = 120_000
CALLS_ALIVE = 2_000
_AT_ONCE = 1_000
_PARTITIONS, _PROCESSES, _TIMES = 8, 2, 3
_VISIBLE = 300
_ASIDES = Console(stderr=True)
_FLAG = FlagSet(enabled=True, variant="v")
_TURNS: Sequence[Any] = (
    caller_turn(1, "could you tell me whether you are open on saturday"),
    ModelChosen(turn=1, rule="short questions", logical="fast", model="claude-haiku-4-5"),
    agent_turn(
        1, "on saturdays we are open from nine to three", model="claude-haiku-4-5", input_tokens=900, output_tokens=14, characters=44
    ),
)


class Keeping(PostgresStore):
    """Keeps what was written, so that the same can be written again by the bare client."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.written: list[Writes] = []

    async def write(self, writes: Writes) -> None:
        self.written.append(writes)
        await super().write(writes)


async def fill(log: TestLog) -> None:
    """Facts of many calls at once, one to a commit, in an order that gives no batch two of one call if it can help it."""
    draw = random.Random(1)
    streams = [StreamId(AYB, "calls", f"call_{number:032x}") for number in range(CALLS_ALIVE)]
    for at in range(0, CALLS_ALIVE, _AT_ONCE):
        await _together(log.append(stream, received(), answered()) for stream in streams[at : at + _AT_ONCE])
    left = EVENTS - 2 * CALLS_ALIVE
    for _ in range(left // _AT_ONCE):
        await _together(log.append(draw.choice(streams), draw.choice(_TURNS)) for _ in range(_AT_ONCE))


async def _together(work: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each)


async def projected(log: TestLog, store: PostgresStore, projections: Sequence[Projection]) -> float:
    """Seconds for the whole log."""
    runner = Runner(log.reader, store, projections, topic_of=log.topic_of, journal_rooms=("calls",))
    begun = time.perf_counter()
    await runner.run(stop_at_end=True)
    return time.perf_counter() - begun


async def shared(log: TestLog, dsn: str) -> float:
    """Seconds in which so many processes have the whole log written, each its share of the partitions, from when all were ready."""
    async with AsyncExitStack() as stack:
        children = []
        for share in range(_PROCESSES):
            words = [sys.executable, "-m", "tests.benchmarks.projection", log.kafka, log.prefix, dsn, str(share)]
            child = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE)
            stack.callback(_ended, child)
            children.append(child)
            await _line(child)
        begun = time.perf_counter()
        for child in children:
            if child.stdin is not None:
                child.stdin.write(b"go\n")
        for child in children:
            await _line(child)
        return time.perf_counter() - begun


async def _line(child: Process) -> None:
    if child.stdout is None or not await child.stdout.readline():
        raise SystemExit("a process that shares the projections died")


def _ended(child: Process) -> None:
    if child.returncode is None:
        child.kill()


async def share_of(kafka: str, prefix: str, dsn: str, share: int) -> None:
    """What such a process does: says that it is ready, is told to begin, says that it is done."""
    async with open_reader(kafka, prefix=prefix) as reader, connected(dsn, purpose="bench", durable=False) as pool:
        topic = f"{prefix}.calls.v1"
        places = [Place(topic, partition) for partition in range(_PARTITIONS) if partition % _PROCESSES == share]
        part = PartOfTheLog(reader, places)
        runner = Runner(part, PostgresStore(pool), (JOURNAL, CALLS), topic_of=lambda _: topic, journal_rooms=("calls",))
        print("ready", flush=True)  # noqa: T201 - a program's answer
        await asyncio.to_thread(sys.stdin.readline)
        await runner.run(stop_at_end=True)
        print("done", flush=True)  # noqa: T201 - a program's answer


async def bare(pool: Pool, written: Sequence[Writes], projections: Sequence[Projection]) -> float:
    """Seconds for the same rows in the same transactions, without reading, decoding and folding: what asyncpg can do here."""
    store = PostgresStore(pool)
    places = sorted({step.place for writes in written for step in writes.advances})
    plan = [(projection, place) for projection in projections for place in places]
    opened: Opened = await store.open([*plan])
    renewed = [
        Writes(
            advances=[_owned(step, opened) for step in writes.advances], rows=writes.rows, entries=writes.entries, journal=writes.journal
        )
        for writes in written
    ]  # fmt: skip
    begun = time.perf_counter()
    for writes in renewed:
        await store.write(writes)
    return time.perf_counter() - begun


def _owned(step: Any, opened: Opened) -> Any:
    return type(step)(
        projection=step.projection, place=step.place, epoch=opened.epochs[step.projection, Place(*step.place)], seen=step.seen,
        reached=step.reached,
    )  # fmt: skip


async def visible(log: TestLog, pool: Pool) -> list[float]:
    """Milliseconds from an acknowledged write to its row, with every projection running."""
    runner = Runner(log.reader, PostgresStore(pool), STORED, topic_of=log.topic_of, journal_rooms=ROOMS)
    running = asyncio.create_task(runner.run())
    taken = []
    async with following(pool, STORED) as progress:
        rows = PostgresRows(pool, STORED, progress)
        for number in range(_VISIBLE):
            stream = StreamId(AYB, "flags", f"flag-{number % 20}")
            committed = await log.append(stream, _FLAG)
            begun = time.perf_counter()
            if not await rows.wait_for([committed.position], 60) or await rows.get(FLAGS, AYB, stream.id) is None:
                raise SystemExit("a write was not seen within a minute")
            taken.append((time.perf_counter() - begun) * 1000)
    running.cancel()
    await asyncio.wait([running])
    # The first ones wait for the history of the other topics.
    return sorted(taken[20:])


@asynccontextmanager
async def databases(dsn: str, count: int) -> AsyncIterator[list[Pool]]:
    """Pools on fresh databases that are dropped afterwards."""
    connection = await asyncpg.connect(dsn)
    try:
        async with AsyncExitStack() as stack:
            pools = []
            for _ in range(count):
                name = f"bench{uuid.uuid4().hex[:12]}"
                await connection.execute(f'CREATE DATABASE "{name}"')
                stack.push_async_callback(connection.execute, f'DROP DATABASE "{name}" WITH (FORCE)')
                own = urlsplit(dsn)._replace(path=f"/{name}").geturl()
                pools.append(await stack.enter_async_context(connected(own, purpose="bench", durable=False)))
            yield pools
    finally:
        await connection.close()


async def dsn_of(dsn: str, pool: Pool) -> str:
    """The address of a pool's database."""
    return urlsplit(dsn)._replace(path=f"/{await pool.fetchval('SELECT current_database()')}").geturl()


async def measure(kafka: str, dsn: str) -> list[Figure]:
    one_table: tuple[Projection, ...] = (JOURNAL, CALLS)
    with_timeline: tuple[Projection, ...] = (JOURNAL, CALLS, CALL_TIMELINE)
    async with open_log(kafka, f"bench{uuid.uuid4().hex[:12]}", partitions=_PARTITIONS) as log, databases(dsn, 6 + _TIMES) as pools:
        begun = time.perf_counter()
        await fill(log)
        progress("log", f"{EVENTS} events appended in {time.perf_counter() - begun:.1f} s")
        keeping = Keeping(pools[0])
        await projected(log, keeping, one_table)
        cpu = time.process_time()
        seconds = statistics.median([await projected(log, PostgresStore(pool), one_table) for pool in pools[6:]])
        cpu = (time.process_time() - cpu) / _TIMES / EVENTS
        limit = await bare(pools[1], keeping.written, one_table)
        journal_seconds = await projected(log, PostgresStore(pools[2]), (JOURNAL,))
        wide_seconds = await projected(log, PostgresStore(pools[3]), with_timeline)
        shared_seconds = await shared(log, await dsn_of(dsn, pools[5]))
        waited = await visible(log, pools[4])

    def rate(figure: str, taken_seconds: float, **more: Any) -> Figure:
        return Figure(figure=figure, value=round(EVENTS / taken_seconds), unit="1/s", better="higher", **more)

    raw, rival = round(EVENTS / limit), "eventsourcing 9.5 on PostgreSQL, measured elsewhere"
    return [
        rate("projected_events_per_second", seconds, target=50_000, reference="raw asyncpg, the same transactions", reference_value=raw),
        Figure(figure="cpu_per_projected_event", value=round(cpu * 1e6, 1), unit="us", better="lower"),
        rate("projected_events_per_second_by_two_processes", shared_seconds, target=None),
        rate("journal_events_per_second", journal_seconds, target=None),
        rate("journal_table_and_series_events_per_second", wide_seconds, target=None),
        Figure(
            figure="write_to_visible_p50", value=round(statistics.median(waited), 2), unit="ms", better="lower", target=10,
            reference=rival, reference_value=104,
        ),
        Figure(figure="write_to_visible_p99", value=round(waited[int(len(waited) * 0.99)], 2), unit="ms", better="lower", target=50),
    ]  # fmt: skip


def progress(part: str, words: str) -> None:
    _ASIDES.print(f"{part}: {words}")


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = await ensure_stack(state_dir, settings, progress)
    try:
        show("projection", "journal and one Table, one process, exactly once", await measure(services.kafka, services.postgres))
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    allocate_for_groups()
    uvloop.run(main() if len(sys.argv) == 1 else share_of(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
