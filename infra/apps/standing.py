"""What stands already, for verbs that only look: the three services' addresses, ways to read them, and the API that runs."""

import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from commands.ports import HistoryLost, LogAway
from events.rooms import prepared_codec
from events.sealing import KeyRing
from infra.adapters.kafka.link import KafkaUnreachable
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.keyfile import BrokenKeyFile
from infra.adapters.postgres.connections import PostgresUnreachable, connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import Progress
from infra.adapters.postgres.rows import PostgresRows
from infra.apps.brokers import security_of
from infra.apps.installation import open_installation
from infra.apps.terminal import VerbFailed
from infra.apps.whereabouts import processes
from infra.local.stack import Addresses, stack_status
from infra.settings import Settings, load_settings
from projections.ports import Projection
from projections.queries import RowsUnavailable
from projections.registry import SERIES, TABLES

_WELL = ("running", "given")
_SAID = {"died": "has died"}
_ANSWER_SECONDS = 10.0
_HEALTH_SECONDS = 2.0
_NO_API = "No API of this stack answers. Type: aybiza run all"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSide:
    """The read models of the stack that is up, and the keys that open them."""

    rows: PostgresRows
    journal: PostgresJournal
    key_ring: KeyRing


async def addresses_of(settings: Settings, *needed: str) -> Addresses:
    """Where the three services are. Raises VerbFailed with what is not up, of those that are needed (all, when none is named)."""
    found = await stack_status(settings.state_dir, settings)
    away = [each for each in found if each.condition not in _WELL and (not needed or each.name in needed)]
    ill = [f"{each.name} {_SAID.get(each.condition, f'is {each.condition}')}" for each in away]
    if ill:
        raise VerbFailed(f"The stack is not up: {', '.join(ill)}. Type: aybiza up")
    known = {service.name: service.address for service in found}
    database, redis = settings.database_url, settings.redis_url
    return Addresses(
        kafka=settings.kafka_bootstrap_servers or known["kafka"] or "",
        postgres=database.get_secret_value() if database else known["postgres"] or "",
        redis=redis.get_secret_value() if redis else known["redis"] or "",
    )


@asynccontextmanager
async def read_side() -> AsyncIterator[ReadSide]:
    """Raises VerbFailed where it cannot be read, also within."""
    settings = load_settings()
    addresses = await addresses_of(settings)
    try:
        async with AsyncExitStack() as stack:
            installation = stack.enter_context(open_installation(settings))
            pool = await stack.enter_async_context(connected(addresses.postgres, purpose="command line", most=2))
            projections: tuple[Projection, ...] = (*TABLES, *SERIES)
            rows = PostgresRows(pool, projections, Progress(pool, projections))
            journal = PostgresJournal(pool, prepared_codec())
            yield ReadSide(rows=rows, journal=journal, key_ring=installation.key_ring)
    except (PostgresUnreachable, RowsUnavailable, BrokenKeyFile) as error:
        raise VerbFailed(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSide:
    """The log of the stack that is up, and the keys that open what is sealed on it."""

    reader: KafkaLogReader
    key_ring: KeyRing


@asynccontextmanager
async def log_side() -> AsyncIterator[LogSide]:
    """Raises VerbFailed."""
    settings = load_settings()
    addresses = await addresses_of(settings, "kafka")
    try:
        async with AsyncExitStack() as stack:
            installation = stack.enter_context(open_installation(settings))
            security = security_of(settings)
            kafka = await stack.enter_async_context(KafkaLog(addresses.kafka, security=security))
            reader = KafkaLogReader(addresses.kafka, SchemaTopic(kafka, prepared_codec()), security=security)
            yield LogSide(reader=reader, key_ring=installation.key_ring)
    except (BrokenKeyFile, KafkaUnreachable, LogAway, HistoryLost) as error:
        raise VerbFailed(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the API said."""

    status: int
    body: bytes

    @property
    def document(self) -> Mapping[str, Any]:
        """The JSON object; empty where it is none."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}


def api_url(settings: Settings) -> str | None:
    """Where an API of this stack listens, if one answers there."""
    return next((each.api for each in processes(settings.state_dir) if each.api is not None and _answers(each.api)), None)


def voice_url(settings: Settings) -> str | None:
    """Where a voice worker of this stack listens for the carrier, if one answers there."""
    return next((each.voice for each in processes(settings.state_dir) if each.voice is not None and _answers(each.voice)), None)


def _answers(url: str) -> bool:
    try:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_HEALTH_SECONDS)
        connection.request("GET", "/health")
        return connection.getresponse().status in (200, 503)
    except (OSError, http.client.HTTPException):
        return False


def ask_api(method: str, path: str, organisation_id: str | None, body: Mapping[str, Any] | None = None) -> Answer:
    """Ask the API that runs, as the operator, on behalf of an organisation or of none. Raises VerbFailed where none answers."""
    settings = load_settings()
    try:
        found = api_url(settings)
        if found is None:
            raise VerbFailed(_NO_API)
        url = urlsplit(found)
        with open_installation(settings) as installation:
            key = installation.operator_key
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=_ANSWER_SECONDS)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        if organisation_id is not None:
            headers["Aybiza-Organisation"] = organisation_id
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return Answer(status=response.status, body=response.read())
    except (OSError, http.client.HTTPException) as error:
        raise VerbFailed(_NO_API) from error
    except BrokenKeyFile as error:
        raise VerbFailed(str(error)) from error
