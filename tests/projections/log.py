"""A log of a test's own on the real broker: topics with a prefix, owners that take commands, a reader."""

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from commands.decider import Decider
from commands.dispatch import Committed, Order
from commands.ownership.appending import World
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from events.codec import Codec
from events.registry import Fact
from events.rooms import ROOMS, prepared_codec
from events.streams import StreamId
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog

PARTITIONS = 2


@dataclass(frozen=True, slots=True)
class Append:
    """A command that brings about any facts."""

    facts: tuple[Fact, ...]


def _also_appending(decider: Decider[Any, Any, Any]) -> Decider[Any, Any, Any]:
    """A room's decider that also takes Append: folds are tested on histories that no rule would allow, too."""

    def decide(command: object, state: Any) -> Sequence[Fact]:
        return command.facts if isinstance(command, Append) else decider.decide(command, state)

    return Decider(room=decider.room, category=decider.category, initial=decider.initial, decide=decide, evolve=decider.evolve)


_FREE: Mapping[str, Decider[Any, Any, Any]] = {category: _also_appending(decider) for category, decider in DECIDERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestLog:
    """What a test writes to and reads from."""

    __test__ = False
    prefix: str
    kafka: str
    owners: Owners
    reader: KafkaLogReader
    codec: Codec

    def topic_of(self, room: str) -> str:
        return f"{self.prefix}.{room}.v1"

    async def append(self, stream: StreamId, *facts: Fact) -> Committed:
        """Facts as they are, in one commit."""
        return await self.do(stream, Append(facts))

    async def do(self, stream: StreamId, command: object) -> Committed:
        order = Order(command_id=os.urandom(16), digest=os.urandom(16), actor="test", occurred_at=datetime.now(UTC))
        return await self.owners(_FREE[stream.category], stream, command, order)

    async def dispatch(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        """`commands.dispatch.Dispatch` for who knows the rooms' own deciders."""
        return await self.owners(_FREE[decider.category], stream, command, order, expected_version=expected_version)


@asynccontextmanager
async def open_log(kafka: str, prefix: str, *, partitions: int = PARTITIONS) -> AsyncIterator[TestLog]:
    """Topics of this prefix with few partitions, all owned here. Opened again under the same prefix it finds what it has."""
    async with AsyncExitStack() as stack:
        few = [replace(each, partitions=dict.fromkeys(each.partitions, partitions if each.generation else 1)) for each in manifests()]
        counts = await ensure_topics(kafka, few, "local", prefix=prefix)
        log = await stack.enter_async_context(KafkaLog(kafka))
        codec = prepared_codec()
        schemas = SchemaTopic(log, codec, f"{prefix}.schemas")
        world = World(log=log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        topics = {room: (f"{prefix}.{room}.v1", counts[f"{prefix}.{room}.v1"]) for room in ROOMS}
        owners = await stack.enter_async_context(Owners(topics, _FREE, codec, world, address="test"))
        yield TestLog(prefix=prefix, kafka=kafka, owners=owners, reader=KafkaLogReader(kafka, schemas), codec=codec)
