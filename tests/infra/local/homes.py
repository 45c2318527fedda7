"""A state folder with a stack in it, for tests that start, kill and mend."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.local.remembered import Memory
from infra.local.stack import Addresses, ServiceStatus, ensure_stack, stack_status, stop_stack
from infra.settings import Settings

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One stack, driven as the command line drives it."""

    state_dir: Path
    settings: Settings

    async def up(self) -> Addresses:
        return await ensure_stack(self.state_dir, self.settings, lambda _part, _words: None)

    async def down(self) -> None:
        await stop_stack(self.state_dir, self.settings, lambda _part, _words: None)

    async def status(self) -> dict[str, ServiceStatus]:
        return {service.name: service for service in await stack_status(self.state_dir, self.settings)}

    async def pid(self, name: str) -> int:
        pid = (await self.status())[name].pid
        assert pid is not None
        return pid

    async def kill(self, name: str) -> None:
        """`kill -9`; returns when the stack has noticed."""
        os.kill(await self.pid(name), signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.status())[name].condition != "died":
                await asyncio.sleep(0.01)

    def memory(self) -> Memory:
        return Memory(self.state_dir)


_PARENT = """
import asyncio, sys
from infra.local.stack import ensure_stack
from infra.settings import load_settings

told = load_settings()
asyncio.run(ensure_stack(told.state_dir, told, lambda _part, _words: None))
print("up", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def a_parent_of(home: Home) -> AsyncIterator[None]:
    """Another process that started the stack and lives on, as `aybiza run all` does: what dies stays its child, unfetched."""
    own = {"AYBIZA_STATE_DIR": str(home.state_dir), "KAFKA_BOOTSTRAP_SERVERS": home.settings.kafka_bootstrap_servers or ""}
    pipe = asyncio.subprocess.PIPE
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", _PARENT, env={**os.environ, **own}, stdin=pipe, stdout=pipe)
    try:
        assert parent.stdout is not None
        assert await parent.stdout.readline() == b"up\n"
        yield
    finally:
        parent.kill()
        await parent.wait()


async def append(bootstrap: str, topic: str, value: bytes) -> None:
    """Put one record on a topic of one partition, which is made if need be."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        if topic not in await admin.list_topics():
            await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def records(bootstrap: str, topic: str) -> list[bytes]:
    """Everything on the topic's one partition."""
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await consumer.position(partition) < end:
                values.append((await consumer.getone(partition)).value)
        return values


async def execute(dsn: str, statement: str) -> list[object]:
    """One statement on a connection of its own; the first column of its rows."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()
