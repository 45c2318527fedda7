"""The platform in one process for API tests: owners on a real Kafka, projections in a real PostgreSQL, the app on a real socket."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from argon2 import PasswordHasher

from api.app import create_app
from api.auth import hash_of
from api.limits import Policy
from api.ports import Check, Ports
from commands.calls.deciding import CALLS
from commands.calls.orders import Witness
from commands.decider import Decider
from commands.dispatch import Committed, Order
from commands.ownership.appending import World
from commands.rates import Verified
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from events.calls.recording import RecordingKept
from events.identifiers import uuid7
from events.rooms import ROOMS, prepared_codec
from events.sealing import KeyRing
from events.streams import StreamId
from infra.adapters.argon2id import Argon2Passwords
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import PREFIX, ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.keyfile import open_key_ring
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.public_addresses import LookedUp
from infra.adapters.rate_tables import read_rate_tables
from infra.adapters.recording_folder import RecordingFolder
from infra.adapters.redis import connected as redis_connected
from infra.adapters.redis_vectors import RedisVectors
from infra.apps.alongside import alongside
from infra.apps.export_files import StoredExports
from infra.apps.exporting import export_work
from infra.apps.listening import listen
from infra.apps.operations import Operating
from infra.apps.read_side import running_read_side
from infra.apps.recordings import StoredRecordings
from infra.apps.web import serving
from infra.local.stack import Addresses
from projections.feed import Feed
from projections.queries import RowsUnavailable
from realtime.ports import RecordedStretch
from realtime.recording import pieces

MANY = Policy(name="many", quota=100_000, window_seconds=60)
_PARTITIONS = 2
OPERATOR_KEY = f"aybiza_operator_{'o' * 40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a test needs: the address, the keys, and a way to make facts that no route makes."""

    url: str
    prefix: str
    owners: Owners
    key_ring: KeyRing
    recordings: RecordingFolder
    reader: KafkaLogReader
    ports: Ports

    async def do(self, decider: Decider[Any, Any, Any], stream: StreamId, command: object) -> Committed:
        """A command of somebody who is not the API, e.g. a call's worker."""
        order = Order(command_id=os.urandom(16), digest=os.urandom(16), actor="worker:test", occurred_at=datetime.now(UTC))
        return await self.owners(decider, stream, command, order)

    async def keep(
        self, call: StreamId, piece: RecordedStretch, subject: str, *, stream_sid: str = "MZ1", ring: KeyRing | None = None
    ) -> None:
        """A piece of a recording, as a call's worker keeps it."""
        name = pieces.name_of(call.id, stream_sid, piece.from_ms)
        content = pieces.sealed(piece, name, subject, ring or self.key_ring)
        await self.recordings.put(name, content)
        to_ms = piece.from_ms + len(piece.caller) // 8
        fact = RecordingKept(object=name, from_ms=piece.from_ms, to_ms=to_ms, digest=pieces.digest_of(content))
        await self.do(CALLS, call, Witness(fact=fact))

    def client(self, key: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A program that talks to the API."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organisation of a test, with its first key."""

    id: str
    key: str
    api: httpx.AsyncClient


def fresh_call_id() -> str:
    return f"call_{uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(9), 'big')).hex}"


class SomeNames(AbstractResolver):
    """Every name is there for everybody, but those below `inside` and `nowhere`; what is an address already is looked at as ever."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        if host.endswith(".nowhere"):
            raise OSError(f"{host} is not known")
        if ":" in host or host.replace(".", "").isdigit() or host.endswith("localhost"):
            return await ThreadedResolver().resolve(host, port, family)
        address = "10.0.0.9" if host.endswith(".inside") else "93.184.216.34"
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        return None


async def all_is_well() -> Sequence[Check]:
    return [Check(name="log", ready=True), Check(name="live calls", ready=False, why="Redis is away", needed=False)]


@asynccontextmanager
async def platform(addresses: Addresses, dsn: str, folder: Path, prefix: str, operator_key: str = OPERATOR_KEY) -> AsyncIterator[Platform]:
    """Everything runs when the context is entered, and has ended when it is left. Its topics begin with `prefix`.

    Keys and recordings lie in `folder` as they do in a state folder.
    """

    def topic_of(room: str) -> str:
        return f"{prefix}.{room}.v1"

    async with AsyncExitStack() as stack:
        key_ring, store = open_key_ring(folder / "keys" / "wrapping.key")
        stack.callback(store.close)
        # A broker that is busy takes long to make many partitions; the product's own topics have theirs for life.
        few = [
            each if prefix == PREFIX else replace(each, partitions=dict.fromkeys(each.partitions, _PARTITIONS if each.generation else 1))
            for each in manifests()
        ]
        counts = await ensure_topics(addresses.kafka, few, "local", prefix=prefix)
        by_room = {room: (topic_of(room), counts[topic_of(room)]) for room in ROOMS}
        kafka = await stack.enter_async_context(KafkaLog(addresses.kafka))
        codec = prepared_codec()
        schemas = SchemaTopic(kafka, codec, f"{prefix}.schemas")
        world = World(log=kafka, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        owners = await stack.enter_async_context(Owners(by_room, DECIDERS, codec, world, address="test"))
        reader = KafkaLogReader(addresses.kafka, schemas)
        read_side = await stack.enter_async_context(
            running_read_side(
                reader, owners, postgres=dsn, redis=addresses.redis, rates=read_rate_tables(), topic_of=topic_of, prefix=f"{prefix}:"
            )
        )
        await read_side.directory.caught_up.wait()
        await _built(read_side.rows)
        models = read_side.models
        recordings = RecordingFolder(folder / "recordings")
        client = await stack.enter_async_context(redis_connected(addresses.redis))
        feed = Feed(reader, list(map(topic_of, ROOMS)), read_side.rows.progress, RedisVectors(client, prefix=f"{prefix}:"))
        exports = StoredExports(store=RecordingFolder(folder / "exports"), keyring=key_ring)
        works = {"export": export_work(reader, exports, key_ring, topic_of=topic_of)}
        operating = Operating(
            reader=reader,
            dispatch=owners,
            works=works,
            remove=exports.remove,
            worker="test",
            topic_of=topic_of,
            now=lambda: datetime.now(UTC),
        )
        await stack.enter_async_context(alongside({"feed": feed.run, "operations": operating.run}))
        # The parameters are for speed: what is tested is not how dear a guess is.
        passwords = stack.enter_context(closing(Argon2Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))))
        ports = Ports(
            dispatch=owners, rows=models.guarded_rows, journal=models.guarded_journal, api_keys=read_side.directory, keyring=key_ring,
            recordings=StoredRecordings(rows=models.guarded_rows, store=recordings, keyring=key_ring), exports=exports,
            feed=feed, health=all_is_well, webhook_addresses=LookedUp(SomeNames()),
            clock=lambda: datetime.now(UTC), draw=os.urandom, operator_key_hash=hash_of(operator_key),
            topics=frozenset(map(topic_of, ROOMS)), access=read_side.directory.access, passwords=passwords,
            sign_ins=[MANY], sign_ins_to_one=MANY, sign_ins_from_one=MANY, verified=Verified(read_rate_tables()),
        )  # fmt: skip
        url = await stack.enter_async_context(served(ports))
        yield Platform(
            url=url, prefix=prefix, owners=owners, key_ring=key_ring, recordings=recordings, reader=reader, ports=ports
        )  # fmt: skip


async def _built(rows: PostgresRows) -> None:
    """Returns once there is every table: until then reading is refused, which is no test's subject here."""
    async with asyncio.timeout(120):
        while True:
            with suppress(RowsUnavailable):
                await rows.counts()
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def served(ports: Ports) -> AsyncIterator[str]:
    """The app on a free port; the context's value is its address."""
    listening = listen("127.0.0.1", None)
    with closing(listening):
        async with serving(create_app(ports), listening):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
