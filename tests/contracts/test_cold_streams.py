"""An owner with little memory on real Kafka and PostgreSQL: whatever it forgets it finds again, while the journal runs behind it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from commands.dispatch import Committed
from commands.flags import FLAGS, SetFlag
from commands.ownership.appending import Ticket, World
from commands.ownership.groups import Submission
from commands.ownership.loading import LoadingPatience
from commands.ownership.memory import Bounds, Room
from commands.ownership.owner import Owner
from commands.ownership.partition import OwnedPartition, Patience
from commands.ownership.streams import Streams
from commands.ports import Histories, Place
from infra.adapters.kafka.snapshots import KafkaSnapshots
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.history import PostgresHistories
from infra.adapters.postgres.store import PostgresStore
from projections.journal import JOURNAL
from projections.runner import Runner
from tests.kafka_corner import DECIDERS, Corner, corner, order, stream, streams_on

PARTITION = 3
SMALL = Bounds(streams=8, commands=40, tail=10)
AWAY = LoadingPatience(whole_records=0, refresh_seconds=0.02)
# A busy machine's journal may be long in coming.
RUNNING = replace(AWAY, journal_seconds=60)


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    await ensure_topics(kafka, [each for each in manifests() if each.room == "snapshots"], "local", prefix=unique)
    return await corner(kafka, unique)


@pytest.fixture
async def log(here: Corner) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(here.bootstrap) as log:
        yield log


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with connected(database, purpose="test") as pool:
        yield pool


@asynccontextmanager
async def owner(here: Corner, log: KafkaLog, histories: Histories | None, loading: LoadingPatience) -> AsyncIterator[OwnedPartition]:
    schemas = here.schemas(log)
    world = World(
        log=log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom, histories=histories,
        snapshots=KafkaSnapshots(log, 8, f"{here.prefix}.snapshots"),
    )  # fmt: skip
    streams = Streams(DECIDERS, schemas.codec, Room(SMALL))
    partition = OwnedPartition(
        Owner(Place(here.flags, PARTITION), streams, "test"), world, Patience(answer_seconds=100, loading=loading), lambda _: None
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(partition.run())
        partition.assign()
        await partition.started
        yield partition
        partition.stop()


async def ask(partition: OwnedPartition, at: str, name: str, variant: str) -> Committed:
    loop = asyncio.get_running_loop()
    ticket = Ticket(loop.create_future(), loop.time() + 100)
    partition.submit(Submission(FLAGS, stream(at), SetFlag(enabled=True, variant=variant), order(name), None, ticket))
    return await ticket.answer


async def begins_without_a_look(partition: OwnedPartition, name: str) -> None:
    """A stream that never was is known to be new, by the names of all that were."""
    streams = partition.owner.streams
    async with asyncio.timeout(120):
        while not streams.names.whole:
            await asyncio.sleep(0.01)
    assert streams.horizon > 0
    before = streams.memory.loads
    assert (await ask(partition, name, name, "first")).version == 1
    after = streams.memory.loads
    assert {source: after[source] - before.get(source, 0) for source in after if after[source] != before.get(source)} == {"new": 1}


@pytest.mark.parametrize("journal", ["running", "away"])
async def test_an_owner_finds_again_what_it_forgot(here: Corner, log: KafkaLog, pool: Pool, journal: str) -> None:
    *names, _, _, _ = those = [each.id for each in streams_on(PARTITION, 33)]
    runner = Runner(
        here.reader(log), PostgresStore(pool), [JOURNAL], topic_of=lambda room: f"{here.prefix}.{room}.v1", journal_rooms=("flags",)
    )
    running = asyncio.create_task(runner.run()) if journal == "running" else None
    histories = PostgresHistories(pool)
    for turn in range(1, 4):
        async with owner(here, log, histories, RUNNING if journal == "running" else AWAY) as partition:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(ask(partition, name, f"{name}-{turn}", str(turn))) for name in names]
            assert {task.result().version for task in asked} == {turn}
            again = await ask(partition, names[0], f"{names[0]}-1", "1")
            assert (again.version, again.repeated) == (1, True)
            async with asyncio.timeout(120):
                while len(partition.owner.streams) * 8 > SMALL.streams * 9:
                    await asyncio.sleep(0.01)
            memory = partition.owner.streams.memory
            assert memory.evicted > 0
            if turn > 1:
                assert memory.loads.keys() <= ({"journal", "tail"} if journal == "running" else {"partition"})
                assert memory.loads
            await begins_without_a_look(partition, those[-turn])
    if running is not None:
        running.cancel()
        await asyncio.wait([running])
