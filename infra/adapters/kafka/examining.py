"""The log's doctor: which settings of brokers and topics could lose or bend history, who else could write, and what to type."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DescribeAclsRequest

from commands.ports import Place
from infra.adapters.kafka.ends import offsets_of
from infra.adapters.kafka.fetching import EARLIEST
from infra.adapters.kafka.link import Link, NotAsked, Unanswered
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity

Surroundings: TypeAlias = Literal["local", "production"]
# Settings of which more is as good.
_AT_LEAST = frozenset({"min.insync.replicas", "max.message.bytes", "delete.retention.ms"})
_TOPIC, _ANY, _PREFIXED, _ALLOW = 2, 1, 4, 3
_SECURITY_DISABLED = 54
# What could forge history, and what could take it away.
_DANGEROUS = {2: "All", 4: "Write", 6: "Delete", 7: "Alter", 11: "AlterConfigs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What was found wrong. A `grave` one refuses the start; another one is a development setting, and is said."""

    about: str
    words: str
    remedy: str
    grave: bool = True

    def __str__(self) -> str:
        return f"{self.about} {self.words}. {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What a topic must be for the log's promise to hold."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]
    forgets: bool = False
    """Whether its beginning may be gone. Never that of facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a topic is."""

    replicas: Sequence[int]
    settings: Mapping[str, str]
    begins: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What somebody may do to topics."""

    principal: str
    host: str
    operation: str
    topic: str
    prefixed: bool

    def reaches(self, topic: str) -> bool:
        return topic.startswith(self.topic) if self.prefixed else self.topic in {"*", topic}


class Doctor:
    """Looks at one cluster. `writers` are the principals who may write: the owners of the log."""

    def __init__(
        self, bootstrap_servers: str, surroundings: Surroundings, writers: Iterable[str] = (), security: KafkaSecurity = IN_CLEAR
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._surroundings = surroundings
        self._writers = frozenset(writers)
        self._security = security

    async def examine(self, admin: AIOKafkaAdminClient, needed: Mapping[str, Needed]) -> list[Trouble]:
        """Everything that is wrong with brokers and topics, the gravest first. Raises LogAway."""
        described = {entry["topic"]: entry for entry in await admin.describe_topics(list(needed))}
        there = {topic: described[topic]["partitions"] for topic in needed if described[topic]["error_code"] == 0}
        settings, hidden = await _settings(admin, ConfigResourceType.TOPIC, there)
        brokers = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
        async with Link(self._bootstrap_servers, "doctor", security=self._security) as link:
            places = [Place(topic, number) for topic, partitions in there.items() for number in range(len(partitions))]
            begins = await offsets_of(link, places, EARLIEST)
            rights = await self._rights(link, brokers)
        troubles = list(self._missing([topic for topic in needed if topic not in there]))
        troubles += [self._hidden(topic, why, f"--topic {topic}") for topic, why in hidden.items()]
        for topic, entries in settings.items():
            found = Found(
                replicas=[len(each["replicas"]) for each in there[topic]],
                settings=entries,
                begins={place.partition: first for place, first in begins.items() if place.topic == topic},
            )
            troubles += self.of_topic(topic, needed[topic], found)
        of_brokers, hidden = await _settings(admin, ConfigResourceType.BROKER, map(str, brokers))
        troubles += [self._hidden(f"broker {broker}", why, "--cluster", grave=False) for broker, why in hidden.items()]
        for broker, entries in of_brokers.items():
            troubles += self.of_broker(broker, entries)
        troubles += self.of_rights(rights, list(needed))
        return sorted(troubles, key=lambda trouble: (not trouble.grave, trouble.about))

    def of_topic(self, topic: str, needed: Needed, found: Found) -> Iterator[Trouble]:
        if len(found.replicas) != needed.partitions:
            yield Trouble(
                about=topic,
                words=f"has {len(found.replicas)} partitions, its manifest says {needed.partitions}: streams would be looked for "
                "on the wrong ones",
                remedy="A partition count is for life. Grow by a new generation of the topic: aybiza topics grow",
            )
        replicas = min(found.replicas, default=0)
        if replicas < needed.replicas:
            yield Trouble(
                about=topic,
                words=f"has {replicas} replicas of a partition; {needed.replicas} are needed, so that a lost disk loses nothing",
                remedy=f"Give it more: {self._tool('reassign-partitions')} --execute --reassignment-json-file FILE, with {needed.replicas} "
                "brokers for each partition",
            )
        for name, value in needed.settings.items():
            is_now = found.settings.get(name, "")
            enough = is_now.isdigit() and int(is_now) >= int(value) if name in _AT_LEAST else is_now == value
            if not enough:
                yield Trouble(
                    about=topic,
                    words=f"has {name}={is_now or 'nothing'}, which could lose or bend history",
                    remedy=f"Set it: {self._tool('configs')} --alter --topic {topic} --add-config {name}={value}",
                )
        gone = {partition: first for partition, first in found.begins.items() if first > 0}
        if gone and not needed.forgets:
            where = ", ".join(f"partition {partition} at offset {first}" for partition, first in sorted(gone.items())[:5])
            yield Trouble(
                about=topic,
                words=f"does not begin at offset 0 ({where}): history was taken away",
                remedy="No setting brings it back. Restore the topic from a backup, under this name, before anything writes to it",
            )

    def of_broker(self, broker: str, settings: Mapping[str, str]) -> Iterator[Trouble]:
        if settings.get("auto.create.topics.enable") != "false":
            yield self._hazard(
                f"broker {broker}",
                "has auto.create.topics.enable=true: a misspelt name becomes a topic that forgets after a week",
                "Set auto.create.topics.enable=false in its server.properties and start it again",
            )
        if settings.get("authorizer.class.name") and settings.get("allow.everyone.if.no.acl.found") == "true":
            yield self._hazard(
                f"broker {broker}",
                "has allow.everyone.if.no.acl.found=true: whoever reaches it can write wherever no rule stands",
                "Set allow.everyone.if.no.acl.found=false in its server.properties and start it again",
            )

    def of_rights(self, rights: Sequence[Right] | str | None, topics: Sequence[str]) -> Iterator[Trouble]:
        """`None`: nobody checks rights; a text: why they cannot be seen."""
        if rights is None:
            yield self._hazard(
                "rights",
                "are not checked, for there is no authorizer: whoever reaches the broker can write, and so forge a claim",
                "Set authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer in every server.properties, and allow "
                "Write on aybiza's topics to the owners alone",
            )
            return
        if isinstance(rights, str):
            remedy = f"Allow us: {self._tool('acls')} --add --allow-principal US --operation Describe --cluster"
            yield self._hazard("rights", f"cannot be seen: {rights}", remedy)
            return
        for right in rights:
            reached = [topic for topic in topics if right.reaches(topic)]
            if reached and right.principal not in self._writers:
                named = f"{right.topic}{'…' if right.prefixed else ''}"
                pattern = " --resource-pattern-type prefixed" if right.prefixed else ""
                yield self._hazard(
                    right.principal,
                    f"may {right.operation} {named} from host {right.host}, of the log's topics {len(reached)}: only its owners may",
                    f"Take it away: {self._tool('acls')} --remove --allow-principal {right.principal} --allow-host '{right.host}' "
                    f"--operation {right.operation} --topic '{right.topic}'{pattern}; or name it in AYBIZA_LOG_WRITERS",
                )

    def _tool(self, name: str) -> str:
        return f"kafka-{name} --bootstrap-server {self._bootstrap_servers}"

    def _missing(self, topics: Sequence[str]) -> Iterator[Trouble]:
        if topics:
            words = f"are not there yet: {', '.join(topics)}"
            yield Trouble(about="topics", words=words, remedy="The first start creates them: aybiza run all", grave=False)

    def _hidden(self, about: str, why: str, resource: str, *, grave: bool = True) -> Trouble:
        """What cannot be seen is not taken on trust, but for brokers: who rents them may not look at all, and topics overrule them."""
        remedy = f"Allow us: {self._tool('acls')} --add --allow-principal US --operation DescribeConfigs {resource}"
        return Trouble(about=about, words=f"does not show us its settings: {why}", remedy=remedy, grave=grave)

    def _hazard(self, about: str, words: str, remedy: str) -> Trouble:
        if self._surroundings == "production":
            return Trouble(about=about, words=words, remedy=remedy)
        return Trouble(about=about, words=f"{words} (a development setting)", remedy=remedy, grave=False)

    async def _rights(self, link: Link, brokers: Sequence[int]) -> Sequence[Right] | str | None:
        try:
            connection = await link.connection(brokers[0])
            response = await connection.ask(DescribeAclsRequest(_TOPIC, None, _ANY, None, None, _ANY, _ANY))
        except (NotAsked, Unanswered) as error:
            return str(error)
        if response.error_code == _SECURITY_DISABLED:
            return None
        if response.error_code:
            return str(for_code(response.error_code).__name__)
        rights: list[Right] = [
            Right(principal=principal, host=host, operation=_DANGEROUS[operation], topic=name, prefixed=pattern == _PREFIXED)
            for _type, name, pattern, entries in response.resources
            for principal, host, operation, permission in entries
            if permission == _ALLOW and operation in _DANGEROUS
        ]
        return rights


async def _settings(
    admin: AIOKafkaAdminClient, kind: ConfigResourceType, names: Iterable[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Settings by name, and why those of others cannot be seen."""
    seen: dict[str, dict[str, Any]] = {}
    hidden: dict[str, str] = {}
    for response in await admin.describe_configs([ConfigResource(kind, name) for name in names]):
        for code, _message, _type, name, entries in response.resources:
            if code:
                hidden[name] = for_code(code).__name__
            else:
                seen[name] = {entry[0]: entry[1] for entry in entries}
    return seen, hidden
