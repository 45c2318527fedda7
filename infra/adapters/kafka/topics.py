"""Topics as their manifests say: created when they are missing, refused when the broker's settings could lose data or order."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from commands.ports import Place
from infra.adapters.kafka.closing import are_done
from infra.adapters.kafka.ends import offsets_of
from infra.adapters.kafka.examining import Doctor, Needed, Surroundings, Trouble
from infra.adapters.kafka.fetching import LATEST
from infra.adapters.kafka.link import KafkaUnreachable, Link
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity

log = structlog.get_logger()

MANIFESTS = Path(__file__).resolve().parents[3] / "schemas" / "topics"
PREFIX = "aybiza"
# A batch of the owner, and what Kafka puts around it.
_MESSAGE_BYTES = 1_048_588
_REPLICAS: Mapping[Surroundings, tuple[int, int]] = {"local": (1, 1), "production": (3, 2)}
_TOPIC_ALREADY_EXISTS = 36
# Who reads a compacted topic and was away for a day still hears what was removed.
_REMOVALS_SEEN_MS = 86_400_000
_REQUEST_MS = 10_000


class TopicsRefused(Exception):
    """Topics as they are could lose data or order; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is decided about a topic, once. `generation` counts from 1 for topics of a room's facts; others have none."""

    room: str
    generation: int | None
    owner: str
    holds: str
    key: str
    partitions: Mapping[Surroundings, int]
    cleanup: Literal["delete", "compact"]
    retention: Literal["for-ever"]
    residency: Literal["home-region", "every-region"]

    def topic(self, prefix: str = PREFIX) -> str:
        """Its name on the broker."""
        return f"{prefix}.{self.room}" if self.generation is None else f"{prefix}.{self.room}.v{self.generation}"

    def previous(self, prefix: str = PREFIX) -> tuple[str, str]:
        """Room, and topic of the generation before; an empty topic where there was none."""
        older = (self.generation or 1) - 1
        return self.room, replace(self, generation=older).topic(prefix) if older else ""

    def settings(self, surroundings: Surroundings) -> dict[str, str]:
        """The broker's settings without which the log's promise does not hold."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "unclean.leader.election.enable": "false",
            "min.insync.replicas": str(_REPLICAS[surroundings][1]),
            # The owner's clock, monotone per partition, and never a reason to refuse a batch.
            "message.timestamp.type": "CreateTime",
            "message.timestamp.after.max.ms": str(2**63 - 1),
            "message.timestamp.before.max.ms": str(2**63 - 1),
            "max.message.bytes": str(_MESSAGE_BYTES),
            # As they were written: leaves of the Merkle trees are over the bytes that lie there.
            "compression.type": "producer",
            **({"delete.retention.ms": str(_REMOVALS_SEEN_MS)} if self.cleanup == "compact" else {}),
        }

    def needed(self, surroundings: Surroundings) -> Needed:
        """The whole, as the log's doctor holds it against what is there."""
        return Needed(
            partitions=self.partitions[surroundings], replicas=_REPLICAS[surroundings][0], settings=self.settings(surroundings)
        )  # fmt: skip


def manifests() -> Sequence[Manifest]:
    """All of them, as committed under `schemas/topics/`."""
    return [Manifest(**json.loads(path.read_text())) for path in sorted(MANIFESTS.glob("*.json"))]


async def ensure_topics(
    bootstrap_servers: str,
    wanted: Sequence[Manifest],
    surroundings: Surroundings,
    *,
    prefix: str = PREFIX,
    writers: Sequence[str] = (),
    growing: bool = False,
    security: KafkaSecurity = IN_CLEAR,
) -> Mapping[str, int]:
    """Create what is missing, check everything that is there; returns topics with their partition counts.

    `writers`: the principals who may write, where the brokers check rights. Development settings are said in the log. A topic whose
    generation before was not copied to it is refused, unless it is `growing` just now.
    Raises LogAway or TopicsRefused.
    """
    async with _administration(bootstrap_servers, security) as admin, Link(bootstrap_servers, "topics", security=security) as link:
        by_topic = {manifest.topic(prefix): manifest for manifest in wanted}
        known = set(await admin.list_topics())
        if not growing:
            await _refuse_what_is_not_grown(link, [each.previous(prefix) for each in wanted], known)
        missing = {topic: manifest for topic, manifest in by_topic.items() if topic not in known}
        await _create(admin, missing, surroundings)
        described = await _describe(admin, list(by_topic))
        # A broker names itself leader of a new partition a moment before it takes records for it.
        await offsets_of(link, [Place(topic, number) for topic in missing for number in range(len(described[topic]))], LATEST)
        doctor = Doctor(bootstrap_servers, surroundings, writers, security)
        troubles = await doctor.examine(admin, {topic: manifest.needed(surroundings) for topic, manifest in by_topic.items()})
    if grave := [str(trouble) for trouble in troubles if trouble.grave]:
        raise TopicsRefused("\n".join(grave))
    if troubles:
        log.info("kafka-for-development", settings=[f"{trouble.about} {trouble.words}" for trouble in troubles])
    return {topic: len(partitions) for topic, partitions in described.items()}


async def _refuse_what_is_not_grown(link: Link, previous: Sequence[tuple[str, str]], known: Collection[str]) -> None:
    """An empty new generation beside a full old one would be a log without history."""
    for room, topic in previous:
        count = await link.partitions_of(topic) if topic in known else None
        if count is not None and not await are_done(link, [Place(topic, number) for number in range(count)]):
            raise TopicsRefused(
                f"{topic} was not copied to its next generation. With the platform stopped, type: aybiza topics grow {room}"
            )


async def examine_topics(
    bootstrap_servers: str,
    wanted: Sequence[Manifest],
    surroundings: Surroundings,
    *,
    prefix: str = PREFIX,
    writers: Sequence[str] = (),
    security: KafkaSecurity = IN_CLEAR,
) -> Sequence[Trouble]:
    """What a start would complain of, the gravest first. Changes nothing. Raises LogAway."""
    async with _administration(bootstrap_servers, security) as admin:
        needed = {manifest.topic(prefix): manifest.needed(surroundings) for manifest in wanted}
        return await Doctor(bootstrap_servers, surroundings, writers, security).examine(admin, needed)


@asynccontextmanager
async def _administration(bootstrap_servers: str, security: KafkaSecurity) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap_servers, client_id="aybiza-topics", request_timeout_ms=_REQUEST_MS, **security.options()
    )
    try:
        await admin.start()
        yield admin
    except (KafkaError, TimeoutError) as error:
        raise KafkaUnreachable(
            f"Kafka does not answer at {bootstrap_servers} ({type(error).__name__}). Start it (aybiza up), or set KAFKA_BOOTSTRAP_SERVERS"
        ) from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, missing: Mapping[str, Manifest], surroundings: Surroundings) -> None:
    if not missing:
        return
    replicas = _REPLICAS[surroundings][0]
    new = [
        NewTopic(topic, manifest.partitions[surroundings], replicas, topic_configs=manifest.settings(surroundings))
        for topic, manifest in missing.items()
    ]
    response = await admin.create_topics(new)
    for topic, code, *reason in response.topic_errors:
        # Another process may create them at the same time.
        if code not in {0, _TOPIC_ALREADY_EXISTS}:
            raise TopicsRefused(f"{topic} cannot be created: {for_code(code).__name__} {' '.join(map(str, reason))}")


async def _describe(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Partitions of each topic, once all of them have a leader: a topic just created takes a moment."""
    async with asyncio.timeout(_REQUEST_MS / 1000):
        while True:
            described = {entry["topic"]: entry for entry in await admin.describe_topics(list(topics))}
            if all(_is_led(described[topic]) for topic in topics):
                return {topic: described[topic]["partitions"] for topic in topics}
            await asyncio.sleep(0.02)


def _is_led(entry: Mapping[str, Any]) -> bool:
    return entry["error_code"] == 0 and all(partition["leader"] >= 0 for partition in entry["partitions"])
