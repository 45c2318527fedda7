"""Durable commits a second, the time of one, and the speed of reading back, beside the bare client's: `make bench NAME=log`."""

import asyncio
import gc
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import structlog
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from commands.dispatch import Order
from commands.flags import FLAGS, SetFlag
from commands.ownership.appending import World
from commands.ownership.owner import Owner
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from events.headers import Kind
from events.records import recorded
from events.rooms import ROOMS, prepared_codec
from events.streams import StreamId
from infra.adapters.kafka.link import Connection
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from tests.benchmarks.figures import Figure, show

CALLERS = 64
_TITLE = f"one process, acks=all, expected version and deduplication, {CALLERS} waiting callers"
SECONDS = 5.0
WARM_UP_SECONDS = 1.0
SINGLE = 2_000
TENANT = "AYB-BENC-HBEN-CHBE"
_NUMBERS = count()
# About what a fact of a call carries.
DESCRIPTION = "the caller asked whether the shop is open on saturday, and the agent said from nine to three"


@asynccontextmanager
async def open_log(kafka: str, prefix: str) -> AsyncIterator[tuple[Owners, KafkaLogReader, float]]:
    """Owners of every partition of every room, a reader, and the seconds in which the owners were ready."""
    topics = await ensure_topics(kafka, manifests(), "local", prefix=prefix)
    async with KafkaLog(kafka) as log:
        schemas = SchemaTopic(log, prepared_codec(), f"{prefix}.schemas")
        world = World(log=log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        by_room = {room: (f"{prefix}.{room}.v1", topics[f"{prefix}.{room}.v1"]) for room in ROOMS}
        begun = time.perf_counter()
        async with Owners(by_room, DECIDERS, schemas.codec, world, address="bench") as owners:
            ready = time.perf_counter() - begun
            yield owners, KafkaLogReader(kafka, schemas), ready


def order() -> Order:
    number = next(_NUMBERS).to_bytes(16, "big")
    return Order(command_id=number, digest=number, actor="bench", occurred_at=datetime.now(UTC))


async def commit(owners: Owners, stream: StreamId, version: int) -> int:
    command = SetFlag(enabled=version % 2 == 0, variant="on", description=DESCRIPTION)
    return (await owners(FLAGS, stream, command, order(), expected_version=version)).version


async def single(owners: Owners) -> list[float]:
    """Milliseconds of one command after another, sorted."""
    taken, version, stream = [], 0, StreamId(TENANT, "flags", uuid.uuid4().hex)
    for _ in range(SINGLE):
        begun = time.perf_counter()
        version = await commit(owners, stream, version)
        taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken[SINGLE // 10 :])


async def grouped(owners: Owners, seconds: float = SECONDS) -> tuple[float, list[float], float]:
    """Commits a second of waiting callers, the milliseconds of each, sorted, and the microseconds of CPU for one."""
    taken: list[float] = []
    begun = time.perf_counter()
    counting, end = begun + WARM_UP_SECONDS, begun + WARM_UP_SECONDS + seconds

    async def caller() -> None:
        version, stream = 0, StreamId(TENANT, "flags", uuid.uuid4().hex)
        while (now := time.perf_counter()) < end:
            version = await commit(owners, stream, version)
            if now >= counting:
                taken.append((time.perf_counter() - now) * 1000)

    cpu = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(caller())
    counted = time.perf_counter() - counting
    cpu = (time.process_time() - cpu) * seconds / (seconds + WARM_UP_SECONDS)
    return len(taken) / counted, sorted(taken), cpu / len(taken) * 1e6


async def shares(owners: Owners) -> dict[str, float]:
    """Microseconds of CPU a commit in the owner's parts, while they are looked at, which costs about one more."""
    spent: Counter[str] = Counter()
    commits = 0

    def timed(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any) -> Any:
            begun = time.thread_time_ns()
            answer = inner(*args)
            spent[name] += time.thread_time_ns() - begun
            return answer

        return outer

    parts = [
        (Owner, "group", "decide_and_encode"),
        (KafkaLog, "batch", "batch"),
        (Owner, "confirm", "confirm"),
        (Connection, "post", "send"),
    ]
    inners = [getattr(cls, method) for cls, method, _ in parts]
    for (cls, method, name), inner in zip(parts, inners, strict=True):
        setattr(cls, method, timed(name, inner))
    try:
        rate, _, cpu = await grouped(owners, SECONDS / 2)
        commits = int(rate * (SECONDS / 2 + WARM_UP_SECONDS))
    finally:
        for (cls, method, _), inner in zip(parts, inners, strict=True):
            setattr(cls, method, inner)
    each = {name: spent[name] / commits / 1000 for _, _, name in parts}
    return each | {"callers_and_event_loop": cpu - sum(each.values())}


async def bare_produce(kafka: str, topic: str, batch: int) -> float:
    """Records a second of aiokafka's own producer, one batch under way on each of 8 partitions, with as many headers and bytes."""
    headers = [("ce_type", b"flag-set.v1"), ("ce_specversion", b"1.0"), ("ce_id", b"x" * 34), ("ce_source", b"aybiza/flags"),
               ("content-type", b"application/avro"), ("aybiza", b"x" * 159)]  # fmt: skip
    value, key = b"x" * (len(DESCRIPTION) + 18), b"x" * 57
    done = 0
    async with AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, acks="all", max_batch_size=1 << 20) as producer:
        end = time.perf_counter() + SECONDS / 2

        async def partition(number: int) -> None:
            nonlocal done
            while time.perf_counter() < end:
                builder = producer.create_batch()
                for _ in range(batch):
                    builder.append(key=key, value=value, timestamp=None, headers=headers)
                builder.close()
                await (await producer.send_batch(builder, topic, partition=number))
                done += batch

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(partition(number))
        return done / (time.perf_counter() - begun)


async def bare_read(kafka: str, topic: str) -> float:
    """Records a second of aiokafka's own consumer."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20) as consumer:
        places = [TopicPartition(topic, number) for number in range(8)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        total: int = sum((await consumer.end_offsets(places)).values())
        read, begun = 0, time.perf_counter()
        while read < total:
            read += sum(map(len, (await consumer.getmany(timeout_ms=200, max_records=4000)).values()))
        return total / (time.perf_counter() - begun)


async def replay(reader: KafkaLogReader, topic: str, *, decoded: bool) -> float:
    """Admitted records a second, by their headers or as facts."""
    read, begun = 0, time.perf_counter()
    async with aclosing(reader.batches([topic], {}, stop_at_end=True)) as batches:
        async for batch in batches:
            read += len(batch.records)
            if decoded:
                for raw in batch.records:
                    if raw.kind is Kind.EVENT:
                        recorded(raw, reader.codec)
    return read / (time.perf_counter() - begun)


async def median_of(measure: Callable[[], Awaitable[float]], times: int = 3) -> float:
    return sorted([await measure() for _ in range(times)])[times // 2]


async def measure(kafka: str) -> list[Figure]:
    prefix = f"bench{uuid.uuid4().hex[:12]}"
    flags = f"{prefix}.flags.v1"
    async with open_log(kafka, prefix) as (owners, reader, ready):
        # A broker that has just started is slow for some seconds, whoever asks it.
        await grouped(owners, SECONDS / 2)
        alone = await single(owners)
        bare = await bare_produce(kafka, f"{prefix}.usage.v1", CALLERS // 8)
        rate, waited, cpu = await grouped(owners)
        parts = await shares(owners)
        headers = await median_of(lambda: replay(reader, flags, decoded=False))
        decoded = await median_of(lambda: replay(reader, flags, decoded=True))
        limit = await median_of(lambda: bare_read(kafka, flags))
    produced, read = (f"bare client, {CALLERS // 8} records a batch", round(bare)), ("bare client", round(limit))
    return [
        _rate("commits_per_second", rate, 50_000, *produced),
        _time("commit_p50_at_64_callers", _at(waited, 50)),
        _time("commit_p99_at_64_callers", _at(waited, 99), 5),
        Figure(figure="cpu_per_commit", value=round(cpu, 1), unit="us", better="lower"),
        *(Figure(figure=f"cpu_per_commit_{name}", value=round(value, 1), unit="us", better="lower") for name, value in parts.items()),
        _time("one_commit_p50", _at(alone, 50), 0.4),
        _time("one_commit_p99", _at(alone, 99), 1),
        _rate("replay_headers_per_second", headers, 250_000, *read),
        _rate("replay_decoded_per_second", decoded, 110_000, *read),
        _time("claim_56_partitions", round(ready * 1000)),
    ]


def _rate(figure: str, value: float, target: float, reference: str, reference_value: float) -> Figure:
    return Figure(
        figure=figure, value=round(value), unit="1/s", better="higher", target=target, reference=reference, reference_value=reference_value
    )


def _time(figure: str, value: float, target: float | None = None) -> Figure:
    return Figure(figure=figure, value=value, unit="ms", better="lower", target=target)


def _at(values: Sequence[float], percent: int) -> float:
    return round(values[len(values) * percent // 100], 3)


def _tell(part: str, words: str) -> None:
    sys.stderr.write(f"{part}: {words}\n")


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    if settings.kafka_bootstrap_servers is not None:
        show("log", _TITLE, await measure(settings.kafka_bootstrap_servers))
        return
    services = await ensure_stack(state_dir, settings, _tell)
    try:
        show("log", _TITLE, await measure(services.kafka))
    finally:
        await stop_stack(state_dir, settings, lambda _part, _words: None)


if __name__ == "__main__":
    # As every process of the platform has it.
    gc.set_threshold(100_000, 50, 1_000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    uvloop.run(main())
