"""The platform in one process for API tests: owners on a real Kafka, projections in a real PostgreSQL, the app on a real socket."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from api.app import create_app
from api.auth import hash_of
from api.ports import Check, Ports
from commands.decider import Decider
from commands.dispatch import Committed, Order
from commands.dispatching import LocalOwners
from commands.owning import World
from commands.rooms import DECIDERS
from events.identifiers import uuid7
from events.rooms import ROOMS, prepared_codec
from events.sealing import KeyRing
from events.streams import StreamId
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.keyfile import open_key_ring
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import following
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.store import PostgresStore
from infra.apps.recordings import stereo_wav
from infra.local.stack import Addresses
from projections.directory import Directory, follow
from projections.journal import JOURNAL
from projections.ports import Projection
from projections.registry import SERIES, TABLES
from projections.runner import Runner
from realtime.ports import RecordedStretch

OPERATOR_KEY = f"aybiza_operator_{'o' * 40}"
PROJECTIONS: tuple[Projection, ...] = (JOURNAL, *TABLES, *SERIES)


@dataclass(slots=True)
class Shelf:
    """Recordings that a test put there: `api.ports.Recordings`."""

    kept: dict[tuple[str, str], Sequence[RecordedStretch]] = field(default_factory=dict)

    async def wav(self, organisation_id: str, call_id: str) -> bytes | None:
        stretches = self.kept.get((organisation_id, call_id))
        return None if stretches is None else stereo_wav(stretches, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a test needs: the address, the keys, and a way to make facts that no route makes."""

    url: str
    prefix: str
    owners: LocalOwners
    key_ring: KeyRing
    shelf: Shelf
    ports: Ports

    async def do(self, decider: Decider[Any, Any, Any], stream: StreamId, command: object) -> Committed:
        """A command of somebody who is not the API, e.g. a call's worker."""
        order = Order(command_id=os.urandom(16), digest=os.urandom(16), actor="worker:test", occurred_at=datetime.now(UTC))
        return await self.owners(decider, stream, command, order)

    def client(self, key: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A program that talks to the API."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organisation of a test, with its first key."""

    id: str
    key: str
    api: httpx.AsyncClient


def fresh_call_id() -> str:
    return f"call_{uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(9), 'big')).hex}"


async def all_is_well() -> Sequence[Check]:
    return [Check(name="log", ready=True), Check(name="live calls", ready=False, why="Redis is away", needed=False)]


@asynccontextmanager
async def platform(addresses: Addresses, dsn: str, folder: Path, prefix: str) -> AsyncIterator[Platform]:
    """Everything runs when the context is entered, and has ended when it is left. Its topics begin with `prefix`."""

    def topic_of(room: str) -> str:
        return f"{prefix}.{room}.v1"

    async with AsyncExitStack() as stack:
        key_ring, store = open_key_ring(folder / "wrapping.key")
        stack.callback(store.close)
        counts = await ensure_topics(addresses.kafka, manifests(), "local", prefix=prefix)
        by_room = {room: (topic_of(room), counts[topic_of(room)]) for room in ROOMS}
        kafka = await stack.enter_async_context(KafkaLog(addresses.kafka))
        codec = prepared_codec()
        schemas = SchemaTopic(kafka, codec, f"{prefix}.schemas")
        world = World(log=kafka, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        owners = await stack.enter_async_context(LocalOwners(by_room, DECIDERS, codec, world, address="test"))
        reader = KafkaLogReader(addresses.kafka, schemas)
        pool = await stack.enter_async_context(connected(dsn, purpose="API tests", most=8, durable=False))
        progress = await stack.enter_async_context(following(pool, PROJECTIONS))
        runner = Runner(reader, PostgresStore(pool), PROJECTIONS, topic_of=topic_of, journal_rooms=ROOMS)
        directory = Directory(topic_of=topic_of)
        await stack.enter_async_context(_running(runner.run()))
        await stack.enter_async_context(_running(follow(reader, directory)))
        await directory.caught_up.wait()
        rows, journal, shelf = PostgresRows(pool, PROJECTIONS, progress), PostgresJournal(pool, codec), Shelf()
        ports = Ports(
            dispatch=owners, rows=rows, journal=journal, api_keys=directory, keyring=key_ring, recordings=shelf, health=all_is_well,
            clock=lambda: datetime.now(UTC), draw=os.urandom, operator_key_hash=hash_of(OPERATOR_KEY),
            topics=frozenset(map(topic_of, ROOMS)),
        )  # fmt: skip
        url = await stack.enter_async_context(served(ports))
        yield Platform(url=url, prefix=prefix, owners=owners, key_ring=key_ring, shelf=shelf, ports=ports)


@asynccontextmanager
async def _running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class _Server(uvicorn.Server):
    """Leaves signals to the test runner."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(ports: Ports) -> AsyncIterator[str]:
    """The app on a free port; the context's value is its address."""
    config = uvicorn.Config(create_app(ports), host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    sockets = [config.bind_socket()]
    serving = asyncio.create_task(server.serve(sockets))
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
