"""`aybiza run all`: the whole platform in one process, which shares the work with every other that runs on the same log."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from api.app import create_app
from commands.routing.owners import Owners
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.rate_tables import read_rate_tables
from infra.adapters.rpc.serving import serving_grpc
from infra.apps.allocating import allocate_for_calls
from infra.apps.api import certificate_of, opened_ports, recordings_of
from infra.apps.cold_parts import packed_after
from infra.apps.engines import Engines, KeyMissing
from infra.apps.footing import ANY_PROCESS, opened_footing
from infra.apps.health import HealthOf, of_calls, of_directory, of_grpc, of_lag, of_log, of_parts, of_redis
from infra.apps.installation import Installation
from infra.apps.lag import seen_lag
from infra.apps.listening import listen
from infra.apps.long_work import running_operations
from infra.apps.owning import running_owners
from infra.apps.read_side import (
    ReadSide,
    caught_up,
    opened_read_models,
    running_directory,
    running_feed,
    running_processors,
    running_projections,
)
from infra.apps.recordings import StoredRecordings
from infra.apps.voice import running_voice
from infra.apps.web import serving, settle
from infra.apps.webhooks import Sending, running_webhooks
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses as Services
from infra.settings import Settings
from projections.directory import WITH_ACCESS
from realtime.ports import EngineUnavailable
from realtime.worker import CallWorker

# What keeps the platform from beginning, and a person can mend.
PLATFORM_FAILURES: tuple[type[Exception], ...] = (*ANY_PROCESS, KeyMissing, EngineUnavailable)
FAILURES = PLATFORM_FAILURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What runs. `url` is where the API and the webhooks listen."""

    url: str
    owners: Owners
    reader: KafkaLogReader
    read_side: ReadSide
    worker: CallWorker
    recordings: StoredRecordings
    engines: Engines
    installation: Installation


@asynccontextmanager
async def running(settings: Settings, services: Services, installation: Installation) -> AsyncIterator[str]:
    """The value is what a person is told. Raises FAILURES."""
    async with running_platform(settings, services, installation) as platform:
        yield f"{platform.url}   API, its documentation at /docs, how it is at /health"


@asynccontextmanager
async def running_platform(settings: Settings, services: Services, installation: Installation) -> AsyncIterator[Platform]:
    """Everything runs within, and stops in order at the end: calls first, the owners of the log last.

    Raises PLATFORM_FAILURES where a part cannot begin. A bug of a part ends the whole.
    """
    async with AsyncExitStack() as stack:
        allocate_for_calls()
        footing = await stack.enter_async_context(opened_footing("all", settings, services, installation))
        reader, shared = footing.reader, footing.shared
        owning = await stack.enter_async_context(running_owners(footing))
        owners = owning.owners
        models = await stack.enter_async_context(opened_read_models(reader, postgres=services.postgres, redis=services.redis))
        side = ReadSide(
            models=models,
            projecting=await stack.enter_async_context(
                running_projections(reader, models.stores, shared=shared, packed_after=packed_after(settings))
            ),
            directory=await stack.enter_async_context(running_directory(reader, followed=WITH_ACCESS)),
            managing=await stack.enter_async_context(running_processors(reader, owners, read_rate_tables(), shared=shared)),
        )
        sending = Sending(keyring=installation.key_ring, private=settings.webhooks_private)
        await stack.enter_async_context(
            running_webhooks(reader, owners, models.rows.progress, sending, claims=owning.claims, shared=shared)
        )
        await stack.enter_async_context(running_operations(footing, owners, owning.address))
        listening = listen(settings.http_host, settings.http_port, setting="AYBIZA_HTTP_PORT")
        stack.callback(listening.close)
        url = f"http://{settings.http_host}:{listening.getsockname()[1]}"
        voice = await stack.enter_async_context(running_voice(footing, owners, side.directory, url))
        parts = [of_parts(side.projecting.waits_for), of_parts(side.managing.waits_for)]
        lag = await stack.enter_async_context(seen_lag(settings, reader, models.stores.pool))
        certificate = certificate_of(settings)
        looks = [of_log(owning, reader), *parts, of_directory(side.directory), of_calls(voice.worker), of_lag(lag)]
        looks.append(of_grpc(certificate, lambda: datetime.now(UTC)))
        health = HealthOf([*looks, of_redis(models.stores.redis)])
        feed = await stack.enter_async_context(running_feed(reader, models))
        app = create_app(await stack.enter_async_context(opened_ports(footing, owners, models, side.directory, feed, health)))
        app.include_router(voice.worker.router)
        await caught_up(side.directory)
        await stack.enter_async_context(serving(app, listening))
        grpc = f"{settings.http_host}:{settings.grpc_port or 0}"
        await stack.enter_async_context(serving_grpc(app, grpc, time.monotonic, certificate))
        # Who listens is told that it ends, else the web server would wait for them.
        stack.callback(feed.close)
        # Calls end before the web server stops: the carrier asks it what follows.
        stack.push_async_callback(voice.worker.stop)
        settle()
        stack.enter_context(remembered(settings.state_dir, "all", api=url, voice=url, peer=owning.address))
        yield Platform(
            url=url,
            owners=owners,
            reader=reader,
            read_side=side,
            worker=voice.worker,
            recordings=recordings_of(footing, models),
            engines=voice.engines,
            installation=installation,
        )
