"""What every process of the platform stands on: the topics as their manifests say, the log, its schemas, and a reader."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from commands.ownership.streams import CannotOwn
from commands.ports import HistoryLost, LogAway
from events.rooms import ROOMS, prepared_codec
from infra.adapters.kafka.membership import GroupAssignments
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.security import KafkaSecurity
from infra.adapters.kafka.topics import PREFIX, TopicsRefused, ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.keyfile import BrokenKeyFile
from infra.adapters.peer_identity import IdentityUnusable
from infra.adapters.postgres.connections import PostgresUnreachable
from infra.adapters.postgres.store import ShapeChanged
from infra.adapters.redis import RedisUnreachable
from infra.apps.brokers import security_of
from infra.apps.installation import Installation
from infra.apps.listening import AddressUnavailable
from infra.apps.recording_store import ObjectStores, opened_objects
from infra.apps.whereabouts import Role
from infra.local.stack import Addresses
from infra.settings import Settings

# What keeps any process from beginning, and a person can mend.
ANY_PROCESS: tuple[type[Exception], ...] = (
    TopicsRefused, CannotOwn, HistoryLost, LogAway, PostgresUnreachable, ShapeChanged, RedisUnreachable, BrokenKeyFile,
    AddressUnavailable, IdentityUnusable, OSError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """`topics` are the rooms' topics with their partition counts, by room."""

    role: Role
    settings: Settings
    services: Addresses
    security: KafkaSecurity
    installation: Installation
    topics: Mapping[str, tuple[str, int]]
    kafka: KafkaLog
    schemas: SchemaTopic
    reader: KafkaLogReader
    objects: ObjectStores

    def shared(self, work: str, topics: Collection[str]) -> GroupAssignments:
        """The membership of this process among all that do this work on this log. Join it once."""
        return GroupAssignments(
            self.services.kafka, f"{PREFIX}.{work}", topics, session_seconds=self.settings.session_seconds, instance=self.settings.instance,
            security=self.security,
        )  # fmt: skip


@asynccontextmanager
async def opened_footing(role: Role, settings: Settings, services: Addresses, installation: Installation) -> AsyncIterator[Footing]:
    """Raises TopicsRefused or LogAway."""
    async with AsyncExitStack() as stack:
        writers, security = settings.log_writers.split(","), security_of(settings)
        counts = await ensure_topics(services.kafka, manifests(), settings.surroundings, writers=writers, security=security)
        kafka = await stack.enter_async_context(KafkaLog(services.kafka, security=security))
        schemas = SchemaTopic(kafka, prepared_codec())
        yield Footing(
            role=role,
            settings=settings,
            services=services,
            security=security,
            installation=installation,
            topics={each.room: (each.topic(), counts[each.topic()]) for each in manifests() if each.room in ROOMS},
            kafka=kafka,
            schemas=schemas,
            reader=KafkaLogReader(services.kafka, schemas, security=security),
            objects=await stack.enter_async_context(opened_objects(settings)),
        )
