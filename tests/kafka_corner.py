"""A corner of a real Kafka for one test: topics of its own, and owners who work there."""

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from commands.decider import Decider
from commands.dispatch import Order
from commands.flags import FLAGS
from commands.ownership.appending import World
from commands.ownership.partition import Patience
from commands.ports import Log, Place
from commands.routing.owners import Owners
from events.codec import Codec
from events.records import RawRecord
from events.rooms import prepared_codec
from events.streams import StreamId, partition_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog

DECIDERS: Mapping[str, Decider[Any, Any, Any]] = {"flags": FLAGS}
WANTED = [manifest for manifest in manifests() if manifest.room in {"claims", "flags", "schemas"}]


@dataclass(frozen=True, slots=True)
class Corner:
    """Topics with a prefix of their own."""

    bootstrap: str
    prefix: str

    @property
    def flags(self) -> str:
        return f"{self.prefix}.flags.v1"

    @property
    def partitions(self) -> int:
        return 8

    def place(self, stream: StreamId) -> Place:
        return Place(self.flags, partition_of(stream.key, self.partitions))

    def schemas(self, log: Log, codec: Codec | None = None) -> SchemaTopic:
        return SchemaTopic(log, codec or prepared_codec(), f"{self.prefix}.schemas")

    def reader(self, log: Log, codec: Codec | None = None) -> KafkaLogReader:
        return KafkaLogReader(self.bootstrap, self.schemas(log, codec))

    @asynccontextmanager
    async def owners(self, log: Log, patience: Patience | None = None, name: str = "test") -> AsyncIterator[Owners]:
        """Owners of all partitions, as a process has them."""
        schemas = self.schemas(log)
        world = World(log=log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        topics = {"flags": (self.flags, self.partitions)}
        async with Owners(topics, DECIDERS, schemas.codec, world, address=name, patience=patience) as owners:
            yield owners


async def corner(bootstrap: str, prefix: str) -> Corner:
    await ensure_topics(bootstrap, WANTED, "local", prefix=prefix)
    return Corner(bootstrap, prefix)


async def everything(log: KafkaLog, place: Place) -> list[RawRecord]:
    """Every record of a partition, admitted or not."""
    return [raw async for part in log.read(place, 0, await log.end_offset(place)) for raw in part]


async def admitted(reader: KafkaLogReader, topic: str) -> list[RawRecord]:
    """What every reader takes of a topic, to its present end."""
    return [raw async for batch in reader.batches([topic], {}, stop_at_end=True) for raw in batch.records]


def stream(name: str = "greeting") -> StreamId:
    return StreamId("AYB-TEST-TEST-TEST", "flags", name)


def order(name: str, body: str = "") -> Order:
    """The order of a command with this id; another `body` is another digest."""
    command_id, digest = (text.encode().ljust(16, b".")[:16] for text in (name, body or name))
    return Order(command_id=command_id, digest=digest, actor="tester", occurred_at=datetime.now(UTC))


def streams_on(partition: int, count: int, prefix: str = "s") -> Sequence[StreamId]:
    """Streams that fall on one partition."""
    found: list[StreamId] = []
    number = 0
    while len(found) < count:
        candidate = stream(f"{prefix}{number}")
        if partition_of(candidate.key, 8) == partition:
            found.append(candidate)
        number += 1
    return found
