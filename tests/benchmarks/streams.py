"""What an owner's streams cost: memory, the commit as they grow, loading one that is cold, claiming: `make bench NAME=streams`.

Memory and the cost of a commit are measured on the pure owner over a log on paper, so that nothing but the owner is measured; loading
and claiming on real Kafka and PostgreSQL.
"""

import asyncio
import gc
import os
import random
import statistics
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
import uvloop

from commands.dispatch import Committed, Order
from commands.flags import FLAGS, SetFlag
from commands.ownership.appending import Ticket, World
from commands.ownership.groups import Submission
from commands.ownership.loading import LoadingPatience
from commands.ownership.memory import Bounds, Room
from commands.ownership.naming import Names
from commands.ownership.owner import Owner
from commands.ownership.partition import OwnedPartition, Patience
from commands.ownership.remembering import Tags, pack_answered
from commands.ownership.streams import Stream, Streams
from commands.ports import Histories, Place, Snapshots
from events.admission import Fence
from events.flags import FlagSet
from events.rooms import prepared_codec
from events.streams import StreamId
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.snapshots import KafkaSnapshots
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres.history import PostgresHistories
from infra.adapters.postgres.store import PostgresStore
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.journal import JOURNAL
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.projection import databases, progress

TENANT = "AYB-BENC-HBEN-CHBE"
CODEC = prepared_codec()
FENCE = Fence(1, b"f" * 16)
BOUNDLESS = Bounds(streams=2**40, commands=2**40, names=2**40, tail=2**40)
SIZES = (10_000, 100_000, 1_000_000)
GROUP = 64
COMMITS = 20_000
EVENTS = 100_000
SHORT, LONG = 10, 4_000
LOADS = 200


def rss() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_each(count: int, make: Callable[[int], Any]) -> int:
    """Resident bytes for each of many things, as the process has them."""
    before = rss()
    kept = [make(number) for number in range(count)]
    each = (rss() - before) // count
    del kept
    return each


def open_stream(streams: Streams, number: int) -> None:
    """A stream with one fact that one command brought about: its key, its state, its version, the answer."""
    key = f"{TENANT}/flags/{number:012d}".encode()
    state = FlagSet(enabled=True, variant=f"variant {number}")
    streams.commit({key: (FLAGS, state, 1)}, [(key, os.urandom(16), number, answer(number))])


def name(names: Names, count: int) -> None:
    for number in range(count):
        names.add(f"{TENANT}/calls/{number:032x}".encode())


def answer(number: int) -> bytes:
    return pack_answered(os.urandom(16), 1_000_000 + number, 1, FENCE)


def memory() -> list[Figure]:
    """Each kind of thing that an owner keeps, many times over."""
    names = Names(Room(BOUNDLESS))
    per_name = bytes_each(1, lambda _: name(names, 1_000_000)) / 1_000_000
    streams = Streams({"flags": FLAGS}, CODEC, Room(BOUNDLESS))
    per_stream = bytes_each(200_000, lambda number: open_stream(streams, number))
    gc.collect()
    begun = time.process_time()
    gc.collect()
    collected = (time.process_time() - begun) * 1000
    streams.begin(0)
    busy = [Stream(None) for _ in range(1_000)]

    def remember(number: int) -> None:
        busy[number % 1_000].answered[os.urandom(16)] = answer(number)

    per_command = bytes_each(400_000, remember)
    tags = Tags()
    per_tag = bytes_each(4_000, lambda _: tags.add(os.urandom(16) for _ in range(256))) / 256
    return [
        figure("memory_per_open_stream", per_stream, "B"),
        figure("memory_per_million_open_streams", per_stream, "MB"),
        figure("full_garbage_collection_with_200000_streams_open", round(collected), "ms"),
        figure("memory_per_remembered_command", per_command, "B"),
        figure("memory_per_older_command", round(per_tag, 1), "B"),
        figure("memory_per_stream_that_was_put_out", round(per_name, 1), "B"),
    ]


def figure(name: str, value: float, unit: str, **more: Any) -> Figure:
    return Figure(figure=name, value=value, unit=unit, better="lower", **more)


def commit_cost(count: int, bounds: Bounds = BOUNDLESS, *, new: bool = False) -> float:
    """Microseconds of CPU of a command, decided and confirmed with 63 others, where so many streams were written.

    `new`: each on a new stream.
    """
    owner = Owner(Place("aybiza.flags.v1", 0), Streams({"flags": FLAGS}, CODEC, Room(bounds)), "bench")
    owner.claim(b"c" * 16, 0)
    owner.settle(0)
    for number in range(count):
        open_stream(owner.streams, number)
        if number % GROUP == 0:
            owner.streams.trim()
    # What set-up left behind would be collected while we measure; it is a figure of its own.
    gc.collect()
    draw = random.Random(1)
    waiting: deque[Submission] = deque()
    now, spent = datetime.now(UTC), 0.0
    for at in range(COMMITS // GROUP):
        for each in range(GROUP):
            number = count + at * GROUP + each if new else draw.randrange(count)
            stream = StreamId(TENANT, "flags", f"{number:012d}")
            if new:
                owner.streams.minted(stream.key)
            order = Order(command_id=os.urandom(16), digest=b"d" * 16, actor="bench", occurred_at=now)
            waiting.append(Submission(FLAGS, stream, SetFlag(enabled=True, variant=str(at)), order, None, None))
        owner.streams.journal_reached(owner.next_offset)
        # CPU time: what else the machine does is no part of it.
        begun = time.process_time()
        owner.group(waiting, 0)
        owner.confirm(owner.next_offset)
        spent += time.process_time() - begun
    return spent / COMMITS * 1e6


def growth() -> list[Figure]:
    figures: list[Figure] = []
    for count in SIZES:
        figures.append(figure(f"commit_with_{count}_streams_open", round(commit_cost(count), 2), "us", **beside(figures)))
        gc.collect()
    bounded = Bounds(streams=10_000, commands=20_000, tail=1_000)
    evicting: list[Figure] = []
    for count in SIZES:
        cost = round(commit_cost(count, bounded, new=True), 2)
        evicting.append(figure(f"commit_of_a_new_stream_after_{count}_with_room_for_10000", cost, "us", **beside(evicting)))
    return figures + evicting


def beside(figures: Sequence[Figure]) -> dict[str, Any]:
    return {"reference": figures[0].figure, "reference_value": figures[0].value} if figures else {}


@dataclass(frozen=True, slots=True)
class Bench:
    """One partition of a topic of our own, and everything that it is read with."""

    place: Place
    log: KafkaLog
    schemas: SchemaTopic

    @asynccontextmanager
    async def owner(
        self, histories: Histories | None = None, snapshots: Snapshots | None = None, *, every_s: float = 1.0
    ) -> AsyncIterator[OwnedPartition]:
        """Somebody who has just claimed it."""
        world = World(
            log=self.log, schemas=self.schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom, histories=histories,
            snapshots=snapshots,
        )  # fmt: skip
        owner = Owner(self.place, Streams({"flags": FLAGS}, self.schemas.codec), "bench")
        patience = Patience(answer_seconds=60, loading=LoadingPatience(refresh_seconds=every_s))
        partition = OwnedPartition(owner, world, patience, lambda _: None)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(partition.run())
            partition.assign()
            await partition.started
            yield partition
            partition.stop()


async def ask(partition: OwnedPartition, stream: str, variant: str) -> Committed:
    order = Order(command_id=os.urandom(16), digest=b"d" * 16, actor="bench", occurred_at=datetime.now(UTC))
    loop = asyncio.get_running_loop()
    ticket = Ticket(loop.create_future(), loop.time() + 60)
    command = SetFlag(enabled=True, variant=variant)
    partition.submit(Submission(FLAGS, StreamId(TENANT, "flags", stream), command, order, None, ticket))
    return await ticket.answer


async def fill(bench: Bench, snapshots: KafkaSnapshots) -> None:
    """Many short streams and a few long ones."""
    async with bench.owner(snapshots=snapshots, every_s=0.05) as partition:
        longs = [f"long{number}" for number in range(LOADS // 20)]
        shorts = [f"short{number}" for number in range((EVENTS - LONG * len(longs)) // SHORT)]

        async def write(streams: Sequence[str], times: int) -> None:
            for at in range(times):
                for stream in streams:
                    await ask(partition, stream, str(at))

        async with asyncio.TaskGroup() as tasks:
            for stream in longs:
                tasks.create_task(write([stream], LONG))
            for at in range(256):
                tasks.create_task(write(shorts[at::256], SHORT))
        while partition.owner.streams.due:
            await asyncio.sleep(0.05)


async def first_commands(partition: OwnedPartition, streams: Sequence[str]) -> float:
    """The median of milliseconds of one command after another, each on another stream."""
    taken = []
    for stream in streams:
        begun = time.perf_counter()
        await ask(partition, stream, uuid.uuid4().hex)
        taken.append((time.perf_counter() - begun) * 1000)
    return round(statistics.median(taken), 2)


async def loading(bench: Bench, histories: Histories, snapshots: Snapshots) -> list[Figure]:
    """The first command on a stream, by where its state comes from; each owner is a new one, who remembers nothing."""
    shorts, longs = [f"short{number}" for number in range(LOADS)], [f"long{number}" for number in range(LOADS // 20)]
    times: dict[str, float] = {}
    async with bench.owner(histories) as partition:
        times[f"journal_of_{SHORT}_facts"] = await first_commands(partition, shorts)
        times["memory"] = await first_commands(partition, shorts)
        times[f"journal_of_{LONG}_facts"] = await first_commands(partition, longs)
        minted = [uuid.uuid4().hex for _ in range(LOADS)]
        for stream in minted:
            partition.owner.streams.minted(StreamId(TENANT, "flags", stream).key)
        times["minted"] = await first_commands(partition, minted)
    async with bench.owner(histories, snapshots) as partition:
        times[f"snapshot_of_{LONG}_facts"] = await first_commands(partition, longs)
        assert partition.owner.streams.loads["snapshot"] == len(longs), partition.owner.streams.loads
    async with bench.owner(histories) as partition:
        partition.owner.streams.horizon = 2**40
        partition._cold._loader._histories = None  # noqa: SLF001 - the journal went away
        partition.owner.streams.horizon = partition.owner.next_offset
        times[f"partition_of_{EVENTS}_facts"] = await first_commands(partition, shorts[:5])
    return [figure(f"first_command_from_{source}_p50", value, "ms") for source, value in times.items()]


async def claiming(bench: Bench, histories: Histories) -> list[Figure]:
    """Until the partition is ours: reading everything, and reading what the journal lacks."""
    times = []
    for known in (None, histories):
        each = []
        for _ in range(3):
            begun = time.perf_counter()
            async with bench.owner(known):
                each.append((time.perf_counter() - begun) * 1000)
        times.append(round(statistics.median(each), 1))
    return [
        figure(f"claim_of_{EVENTS}_facts_from_the_beginning", times[0], "ms"),
        figure(f"claim_of_{EVENTS}_facts_from_the_journals_end", times[1], "ms", reference="from the beginning", reference_value=times[0]),
    ]


async def real(kafka: str, dsn: str) -> list[Figure]:
    prefix = f"bench{uuid.uuid4().hex[:12]}"
    few = [replace(each, partitions=dict.fromkeys(each.partitions, 1)) for each in manifests()]
    await ensure_topics(kafka, [each for each in few if each.room in {"flags", "schemas", "snapshots"}], "local", prefix=prefix)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(KafkaLog(kafka))
        (pool,) = await stack.enter_async_context(databases(dsn, 1))
        schemas = SchemaTopic(log, prepared_codec(), f"{prefix}.schemas")
        bench = Bench(Place(f"{prefix}.flags.v1", 0), log, schemas)
        snapshots = KafkaSnapshots(log, 1, f"{prefix}.snapshots")
        begun = time.perf_counter()
        await fill(bench, snapshots)
        progress("log", f"{EVENTS} facts, {len(snapshots)} snapshots in {time.perf_counter() - begun:.1f} s")
        runner = Runner(
            KafkaLogReader(kafka, schemas), PostgresStore(pool), [JOURNAL], topic_of=lambda room: f"{prefix}.{room}.v1",
            journal_rooms=("flags",),
        )  # fmt: skip
        await runner.run(stop_at_end=True)
        histories = PostgresHistories(pool)
        # What loading writes is not in the journal any more, so that it comes last.
        return [*await claiming(bench, histories), *await loading(bench, histories, snapshots)]


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = await ensure_stack(state_dir, settings, progress)
    try:
        show("streams", "one partition, one process", await real(services.kafka, services.postgres))
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    show("streams", "an owner on paper", [*memory(), *growth()])
    uvloop.run(main())
