"""`aybiza run api`: the HTTP API and its documentation, over the tables that the projections write."""

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from api.app import create_app
from api.ports import Health, Ports
from commands.dispatch import Dispatch
from commands.rates import Verified
from infra.adapters.argon2id import Argon2Passwords
from infra.adapters.public_addresses import LookedUp
from infra.adapters.rate_tables import read_rate_tables
from infra.adapters.redis_limits import RedisLimits
from infra.adapters.rpc.certificate import ServerCertificate, guarded
from infra.adapters.rpc.serving import serving_grpc
from infra.apps.alongside import alongside
from infra.apps.export_files import StoredExports
from infra.apps.footing import ANY_PROCESS, Footing, opened_footing
from infra.apps.health import HealthOf, of_directory, of_grpc, of_lag, of_log, of_read_models, of_redis
from infra.apps.installation import Installation
from infra.apps.lag import seen_lag
from infra.apps.listening import listen
from infra.apps.owning import running_owners
from infra.apps.read_side import ReadModels, caught_up, opened_read_models, running_directory, running_feed
from infra.apps.recordings import StoredRecordings
from infra.apps.web import serving, settle
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses
from infra.settings import Settings
from projections.directory import LETTING_IN, Directory
from projections.feed import Feed

FAILURES = ANY_PROCESS


@asynccontextmanager
async def running(settings: Settings, services: Addresses, installation: Installation) -> AsyncIterator[str]:
    """The value is what a person is told. Raises FAILURES."""
    async with AsyncExitStack() as stack:
        footing = await stack.enter_async_context(opened_footing("api", settings, services, installation))
        owning = await stack.enter_async_context(running_owners(footing))
        owners = owning.owners
        models = await stack.enter_async_context(opened_read_models(footing.reader, postgres=services.postgres, redis=services.redis))
        directory = await stack.enter_async_context(running_directory(footing.reader, followed=LETTING_IN))
        listening = listen(settings.http_host, settings.http_port, setting="AYBIZA_HTTP_PORT")
        stack.callback(listening.close)
        url = f"http://{settings.http_host}:{listening.getsockname()[1]}"
        lag = await stack.enter_async_context(seen_lag(settings, footing.reader, models.stores.pool))
        certificate = certificate_of(settings)
        looks = [of_log(owning, footing.reader), of_directory(directory), of_read_models(models.progress, directory), of_lag(lag)]
        looks.append(of_grpc(certificate, lambda: datetime.now(UTC)))
        health = HealthOf([*looks, of_redis(models.stores.redis)])
        feed = await stack.enter_async_context(running_feed(footing.reader, models))
        app = create_app(await stack.enter_async_context(opened_ports(footing, owners, models, directory, feed, health)))
        await caught_up(directory)
        await stack.enter_async_context(serving(app, listening))
        grpc_port = await stack.enter_async_context(
            serving_grpc(app, f"{settings.http_host}:{settings.grpc_port or 0}", time.monotonic, certificate)
        )
        # Who listens is told that it ends, else the web server would wait for them.
        stack.callback(feed.close)
        stack.enter_context(remembered(settings.state_dir, "api", api=url, peer=owning.address))
        settle()
        yield f"{url}   API, its documentation at /docs, how it is at /health; gRPC at port {grpc_port}"


@asynccontextmanager
async def opened_ports(
    footing: Footing, dispatch: Dispatch, models: ReadModels, directory: Directory, feed: Feed, health: Health
) -> AsyncIterator[Ports]:
    """What the API is wired with. When keys were last used is written within, and what is answered at once."""
    installation, passwords = footing.installation, Argon2Passwords()
    limits = RedisLimits(models.stores.redis, prefix=models.stores.prefix)
    ports = Ports(
        dispatch=dispatch, rows=models.guarded_rows, journal=models.guarded_journal, api_keys=directory, keyring=installation.key_ring,
        recordings=recordings_of(footing, models),
        exports=StoredExports(store=footing.objects.exports, keyring=installation.key_ring),
        feed=feed, health=health, webhook_addresses=LookedUp(), clock=lambda: datetime.now(UTC), draw=secrets.token_bytes,
        operator_key_hash=hashlib.sha256(installation.operator_key.encode()).digest(),
        limits=limits, webhooks_private=footing.settings.webhooks_private,
        browser_origins=frozenset(filter(None, footing.settings.browser_origins.split(","))),
        access=directory.access, passwords=passwords,
        graph_queries=listed_queries(footing.settings.graph_queries_file), verified=Verified(read_rate_tables()),
    )  # fmt: skip
    with closing(passwords):
        async with alongside({"last use of keys": lambda: ports.last_use.run(dispatch), "what is answered at once": limits.run}):
            yield ports


def certificate_of(settings: Settings) -> ServerCertificate | None:
    """That of the gRPC view. Raises InClear."""
    return guarded(settings.http_host, settings.grpc_certificate_file, settings.grpc_key_file, in_clear=settings.grpc_in_clear)


def listed_queries(file: Path | None) -> Mapping[str, str] | None:
    """The queries of a list by their SHA-256. Raises OSError for a file that is no such list."""
    if file is None:
        return None
    try:
        queries = TypeAdapter(list[str]).validate_json(file.read_bytes())
    except ValidationError as cause:
        raise OSError(f"{file} is no JSON array of GraphQL queries; write one text for each") from cause
    return {hashlib.sha256(query.encode()).hexdigest(): query for query in queries}


def recordings_of(footing: Footing, models: ReadModels) -> StoredRecordings:
    """What was recorded, as the facts say."""
    return StoredRecordings(rows=models.rows, store=footing.objects.recordings, keyring=footing.installation.key_ring)
