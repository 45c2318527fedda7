"""The whole platform in one process: owners, read side, voice worker and API, wired over the local stack or the given one."""

import asyncio
import hashlib
import os
import platform as machine
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from api.app import create_app
from api.ports import Check, Health, Ports
from commands.dispatching import LocalOwners
from commands.ownership.appending import World
from commands.ownership.streams import CannotOwn
from commands.ports import HistoryLost, LogAway
from commands.rooms import DECIDERS
from events.identifiers import uuid7
from events.rooms import ROOMS, prepared_codec
from infra.adapters.kafka.link import KafkaUnreachable
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import TopicsRefused, ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.keyfile import BrokenKeyFile
from infra.adapters.picows_media import MediaServer
from infra.adapters.postgres.connections import PostgresUnreachable
from infra.adapters.postgres.store import ShapeChanged
from infra.adapters.rate_tables import read_rate_tables
from infra.adapters.recording_folder import RecordingFolder
from infra.adapters.redis import RedisUnreachable
from infra.adapters.twilio import SignatureCheck
from infra.apps.alongside import alongside
from infra.apps.engines import Engines, KeyMissing, opened_engines
from infra.apps.installation import Installation
from infra.apps.read_side import ReadSide, running_read_side
from infra.apps.recordings import StoredRecordings
from infra.apps.standing import forget_api, remember_api
from infra.apps.web import AddressUnavailable, listen, serving
from infra.local.stack import Addresses as Services
from infra.settings import Settings
from projections.directory import Directory
from realtime import conductor
from realtime.ports import EngineUnavailable
from realtime.reception import Addresses, ReceptionPorts
from realtime.tokens import Tokens
from realtime.worker import CallWorker, WorkerPorts, WorkerSettings

# What keeps the platform from beginning, and a person can mend.
PLATFORM_FAILURES = (
    KafkaUnreachable, TopicsRefused, CannotOwn, HistoryLost, LogAway, PostgresUnreachable, ShapeChanged, RedisUnreachable, KeyMissing,
    BrokenKeyFile, EngineUnavailable, AddressUnavailable, OSError,
)  # fmt: skip
_MEDIA_PATH = "/media"
_CATCH_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What runs. `url` is where the API and the webhooks listen."""

    url: str
    owners: LocalOwners
    reader: KafkaLogReader
    read_side: ReadSide
    worker: CallWorker
    recordings: StoredRecordings
    engines: Engines
    installation: Installation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the voice worker and the API are wired from."""

    settings: Settings
    installation: Installation
    owners: LocalOwners
    read_side: ReadSide
    engines: Engines
    recordings: RecordingFolder


@asynccontextmanager
async def running_platform(settings: Settings, services: Services, installation: Installation) -> AsyncIterator[Platform]:
    """Everything runs within, and stops in order at the end: calls first, the owners of the log last.

    Raises what its parts raise where they cannot begin: KafkaUnreachable, TopicsRefused, PostgresUnreachable, RedisUnreachable,
    EngineUnavailable, AddressUnavailable. A bug of a part ends the whole.
    """
    async with AsyncExitStack() as stack:
        topics = await ensure_topics(services.kafka, manifests(), "local")
        kafka = await stack.enter_async_context(KafkaLog(services.kafka))
        schemas = SchemaTopic(kafka, prepared_codec())
        by_room = {each.room: (each.topic(), topics[each.topic()]) for each in manifests() if each.room in ROOMS}
        world = World(log=kafka, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        owners = await stack.enter_async_context(LocalOwners(by_room, DECIDERS, schemas.codec, world, address="local"))
        reader = KafkaLogReader(services.kafka, schemas)
        read_side = await stack.enter_async_context(
            running_read_side(reader, owners, postgres=services.postgres, redis=services.redis, rates=read_rate_tables())
        )
        engines = await stack.enter_async_context(opened_engines(settings, installation))
        listening = listen(settings.http_host, settings.http_port, setting="AYBIZA_HTTP_PORT")
        stack.callback(listening.close)
        url = f"http://{settings.http_host}:{listening.getsockname()[1]}"
        recordings = RecordingFolder(settings.state_dir / "recordings", installation.key_ring)
        parts = _Parts(
            settings=settings, installation=installation, owners=owners, read_side=read_side, engines=engines, recordings=recordings
        )  # fmt: skip
        worker = await _voice_worker(stack, parts, url)
        stored = StoredRecordings(rows=read_side.rows, store=recordings)
        app = create_app(_api_ports(installation, owners, read_side, stored, HealthOf(owners, reader, read_side, worker)))
        app.include_router(worker.router)
        async with asyncio.timeout(_CATCH_UP_SECONDS):
            await read_side.directory.caught_up.wait()
        await stack.enter_async_context(alongside({"prepare engines for agents": lambda: _prepare(engines, read_side.directory)}))
        await stack.enter_async_context(serving(app, listening))
        # Calls end before the web server stops: the carrier asks it what follows.
        stack.push_async_callback(worker.stop)
        remember_api(settings.state_dir, url)
        stack.callback(forget_api, settings.state_dir)
        yield Platform(
            url=url,
            owners=owners,
            reader=reader,
            read_side=read_side,
            worker=worker,
            recordings=stored,
            engines=engines,
            installation=installation,
        )


async def _prepare(engines: Engines, directory: Directory) -> None:
    """What is live now, and then each version as it is published."""
    prepared: set[str] = set()
    while True:
        fresh = {name: each for name, each in directory.configurations().items() if name not in prepared}
        for version_hash, configuration in fresh.items():
            await engines.prepare(configuration)
            prepared.add(version_hash)
        if not fresh:
            await directory.moved()


async def _voice_worker(stack: AsyncExitStack, parts: _Parts, url: str) -> CallWorker:
    settings, installation, owners, engines = parts.settings, parts.installation, parts.owners, parts.engines
    public_url = (settings.public_url or url).rstrip("/")
    listening = listen(settings.media_host, settings.media_port, setting="AYBIZA_MEDIA_PORT")
    stack.callback(listening.close)
    media_url = _media_url(settings, public_url, listening.getsockname()[1])
    reception = ReceptionPorts(
        dispatch=owners, routes=parts.read_side.directory, keyring=installation.key_ring, tokens=Tokens(installation.token_secret),
        addresses=Addresses(public_url=public_url, media_url=media_url), now=_now, new_call_id=_new_call_id,
    )  # fmt: skip
    call_engines = conductor.Engines(
        recogniser=engines.recogniser, model=engines.model, voice=engines.voice, activity=engines.activity, telephony=engines.telephony,
        recordings=parts.recordings, watch=owners.watch,
    )  # fmt: skip
    signed = SignatureCheck(installation.twilio_auth_token)
    ports = WorkerPorts(engines=call_engines, reception=reception, tools=engines.tools, models=engines.models, signed=signed)
    worker = CallWorker(ports, WorkerSettings(name=f"{machine.node()}-{os.getpid()}"))
    media = MediaServer(
        worker.accept, path=_MEDIA_PATH, signed=lambda signature: signed(media_url, {}, signature), counters=worker.counters
    )  # fmt: skip
    await media.start_on(listening)
    stack.callback(media.stop)
    return worker


def _media_url(settings: Settings, public_url: str, port: int) -> str:
    """The carrier dials the public address; without one it is our own loopback, where TLS would prove nothing."""
    if settings.public_url is None:
        return f"ws://{settings.media_host}:{port}{_MEDIA_PATH}"
    return f"wss://{public_url.partition('://')[2]}{_MEDIA_PATH}"


def _api_ports(
    installation: Installation, owners: LocalOwners, read_side: ReadSide, recordings: StoredRecordings, health: Health
) -> Ports:  # fmt: skip
    return Ports(
        dispatch=owners, rows=read_side.rows, journal=read_side.journal, api_keys=read_side.directory, keyring=installation.key_ring,
        recordings=recordings, health=health, clock=_now, draw=secrets.token_bytes,
        operator_key_hash=hashlib.sha256(installation.operator_key.encode()).digest(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HealthOf:
    """`api.ports.Health` of this process, from what its parts know of themselves."""

    owners: LocalOwners
    reader: KafkaLogReader
    read_side: ReadSide
    worker: CallWorker

    async def __call__(self) -> Sequence[Check]:
        ownerships = self.owners.ownerships()
        lost = [str(each.place) for each in ownerships if not each.owned]
        why = f"{len(lost)} of {len(ownerships)} partitions are not ours: {', '.join(lost[:3])}" if lost else ""
        if away := self.reader.away:
            why = f"Kafka is away ({'; '.join(away.values())})"
        parts = [Check(name=name, ready=not why, why=why, needed=False) for name, why in self.read_side.waits_for().items()]
        return [
            Check(name="log", ready=not why, why=why),
            *parts,
            Check(name="calls", ready=True, why=_counted(self.worker), needed=False),
        ]


def _counted(worker: CallWorker) -> str:
    return ", ".join(f"{name} {count}" for name, count in worker.health().items())


def _now() -> datetime:
    return datetime.now(UTC)


def _new_call_id() -> str:
    return f"call_{uuid7(time.time_ns() // 1_000_000, secrets.randbits(74)).hex}"
