"""What the log's doctor finds on a real broker, and what it says to do."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import CreateAclsRequest
from aiokafka.structs import TopicPartition

from commands.ports import LogAway, NewRecord, Place
from infra.adapters.kafka.examining import Doctor, Found, Needed, Right, Surroundings, Trouble
from infra.adapters.kafka.link import Link
from infra.adapters.kafka.reader import open_reader
from infra.adapters.kafka.security import KafkaSecurity
from infra.adapters.kafka.topics import Manifest, TopicsRefused, ensure_topics, examine_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.local import kafka as local_kafka
from infra.local.ports import free_ports
from infra.settings import Settings
from tests.faults.own_broker import OwnBroker

FLAGS, SCHEMAS = (next(each for each in manifests() if each.room == room) for room in ("flags", "schemas"))
_ALLOW, _TOPIC, _LITERAL, _PREFIXED, _READ, _WRITE = 3, 2, 3, 4, 3, 4


@asynccontextmanager
async def administration(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Whoever may change topics behind our back."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def created(kafka: str, topic: str, manifest: Manifest, changed: dict[str, str], surroundings: Surroundings = "local") -> None:
    async with administration(kafka) as admin:
        new = NewTopic(topic, manifest.partitions[surroundings], 1, topic_configs=manifest.settings(surroundings) | changed)
        await admin.create_topics([new])


def about(troubles: list[Trouble], topic: str) -> list[str]:
    return [str(trouble) for trouble in troubles if trouble.about == topic and trouble.grave]


class TestTopic:
    async def test_as_its_manifest_says_is_well(self, kafka: str, unique: str) -> None:
        await ensure_topics(kafka, [FLAGS, SCHEMAS], "local", prefix=unique)
        troubles = await examine_topics(kafka, [FLAGS, SCHEMAS], "local", prefix=unique)
        assert [trouble for trouble in troubles if trouble.grave] == []

    @pytest.mark.parametrize(
        ("manifest", "setting", "dangerous"),
        [
            (FLAGS, "retention.ms", "604800000"),
            (FLAGS, "retention.bytes", "1000000"),
            (FLAGS, "cleanup.policy", "compact,delete"),
            (FLAGS, "unclean.leader.election.enable", "true"),
            (FLAGS, "max.message.bytes", "1000"),
            (FLAGS, "message.timestamp.type", "LogAppendTime"),
            (FLAGS, "message.timestamp.before.max.ms", "1000"),
            (FLAGS, "compression.type", "zstd"),
            (SCHEMAS, "cleanup.policy", "delete"),
            (SCHEMAS, "delete.retention.ms", "1000"),
            (SCHEMAS, "retention.ms", "1000"),
        ],
    )
    async def test_that_could_lose_or_bend_history_is_refused_with_the_command_that_mends_it(
        self, kafka: str, unique: str, manifest: Manifest, setting: str, dangerous: str
    ) -> None:
        topic = manifest.topic(unique)
        await created(kafka, topic, manifest, {setting: dangerous})
        needed = manifest.settings("local")[setting]
        with pytest.raises(TopicsRefused) as refused:
            await ensure_topics(kafka, [manifest], "local", prefix=unique)
        assert str(refused.value) == (
            f"{topic} has {setting}={dangerous}, which could lose or bend history. "
            f"Set it: kafka-configs --bootstrap-server {kafka} --alter --topic {topic} --add-config {setting}={needed}"
        )
        async with administration(kafka) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, manifest.settings("local"))])
        await ensure_topics(kafka, [manifest], "local", prefix=unique)

    async def test_that_has_too_few_in_sync_replicas_is_refused_in_production(self, kafka: str, unique: str) -> None:
        topic, wanted = FLAGS.topic(unique), replace(FLAGS, partitions={"local": 1, "production": 1})
        await created(kafka, topic, wanted, {"min.insync.replicas": "1"}, "production")
        found = about(list(await examine_topics(kafka, [wanted], "production", prefix=unique)), topic)
        assert [words.partition(topic)[2].split(".")[0] for words in found] == [
            " has 1 replicas of a partition; 3 are needed, so that a lost disk loses nothing", " has min",
        ]  # fmt: skip
        assert found[0].endswith("with 3 brokers for each partition")
        assert found[1].endswith("--add-config min.insync.replicas=2")
        assert about(list(await examine_topics(kafka, [wanted], "local", prefix=unique)), topic) == []

    async def test_with_another_partition_count_is_refused(self, kafka: str, unique: str) -> None:
        await created(kafka, FLAGS.topic(unique), replace(FLAGS, partitions={"local": 5}), {})
        with pytest.raises(TopicsRefused, match=r"has 5 partitions, its manifest says 8.*aybiza topics grow"):
            await ensure_topics(kafka, [FLAGS], "local", prefix=unique)

    async def test_whose_beginning_is_gone_is_refused(self, kafka: str, unique: str) -> None:
        await ensure_topics(kafka, [FLAGS], "local", prefix=unique)
        place = Place(FLAGS.topic(unique), 3)
        async with KafkaLog(kafka) as log:
            await log.append(place, [NewRecord(b"", b"", 0, [])] * 3)
        async with administration(kafka) as admin:
            await admin.delete_records({TopicPartition(*place): RecordsToDelete(before_offset=2)})
        with pytest.raises(TopicsRefused, match=r"does not begin at offset 0 \(partition 3 at offset 2\)"):
            await ensure_topics(kafka, [FLAGS], "local", prefix=unique)

    async def test_that_is_missing_is_said_and_not_created(self, kafka: str, unique: str) -> None:
        for _ in range(2):
            troubles = await examine_topics(kafka, [FLAGS], "local", prefix=unique)
            assert [str(each) for each in troubles if each.about == "topics"] == [
                f"topics are not there yet: {FLAGS.topic(unique)}. The first start creates them: aybiza run all"
            ]


class TestBroker:
    async def test_without_an_authorizer_is_a_development_setting(self, kafka: str, unique: str) -> None:
        await ensure_topics(kafka, [FLAGS], "local", prefix=unique)
        (local,) = [each for each in await examine_topics(kafka, [FLAGS], "local", prefix=unique) if each.about == "rights"]
        assert not local.grave
        assert "whoever reaches the broker can write" in local.words
        assert "development" in local.words

    async def test_without_an_authorizer_is_refused_in_production(self, kafka: str, unique: str) -> None:
        await ensure_topics(kafka, [FLAGS], "local", prefix=unique)
        (found,) = [each for each in await examine_topics(kafka, [FLAGS], "production", prefix=unique) if each.about == "rights"]
        assert found.grave
        assert "StandardAuthorizer" in found.remedy

    def test_that_makes_topics_unasked_is_refused_in_production(self) -> None:
        for surroundings, grave in (("production", True), ("local", False)):
            doctor = Doctor("kafka:9092", surroundings)  # type: ignore[arg-type]
            (trouble,) = doctor.of_broker("7", {"auto.create.topics.enable": "true"})
            assert (trouble.about, trouble.grave) == ("broker 7", grave)
            assert "auto.create.topics.enable=false" in trouble.remedy

    def test_that_lets_everyone_write_where_no_rule_stands_is_refused_in_production(self) -> None:
        settings = {"auto.create.topics.enable": "false", "authorizer.class.name": "X", "allow.everyone.if.no.acl.found": "true"}
        (trouble,) = Doctor("kafka:9092", "production").of_broker("7", settings)
        assert "allow.everyone.if.no.acl.found=false" in trouble.remedy
        assert list(Doctor("kafka:9092", "production").of_broker("7", settings | {"allow.everyone.if.no.acl.found": "false"})) == []


class TestRights:
    RIGHT = Right(principal="User:bob", host="*", operation="Write", topic="aybiza.", prefixed=True)

    @pytest.mark.parametrize(
        ("right", "reaches"),
        [
            (RIGHT, True),
            (replace(RIGHT, topic="*", prefixed=False), True),
            (replace(RIGHT, topic="aybiza.flags.v1", prefixed=False), True),
            (replace(RIGHT, topic="aybiza.flags", prefixed=False), False),
            (replace(RIGHT, topic="other.", prefixed=True), False),
            (replace(RIGHT, principal="User:owners"), False),
        ],
    )
    def test_of_others_on_topics_of_the_log_are_found(self, right: Right, *, reaches: bool) -> None:
        troubles = list(Doctor("kafka:9092", "production", ["User:owners"]).of_rights([right], ["aybiza.flags.v1"]))
        assert [trouble.about for trouble in troubles] == (["User:bob"] if reaches else [])

    def test_that_cannot_be_seen_are_said(self) -> None:
        (trouble,) = Doctor("kafka:9092", "production").of_rights("ClusterAuthorizationFailedError", [])
        assert trouble.grave
        assert "--operation Describe --cluster" in trouble.remedy


class TestRelation:
    def test_of_what_may_be_more(self) -> None:
        needed = Needed(partitions=1, replicas=1, settings={"min.insync.replicas": "2", "retention.ms": "-1"})
        well = Found(replicas=[3], settings={"min.insync.replicas": "3", "retention.ms": "-1"}, begins={0: 0})
        assert list(Doctor("k", "production").of_topic("t", needed, well)) == []
        assert len(list(Doctor("k", "production").of_topic("t", needed, replace(well, settings={})))) == 2


_GUARD = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
listeners=PLAINTEXT://{host}:{broker},GUARDED://DOOR,CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker},GUARDED://DOOR
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_owners="o" user_carol="c";
"""


class TestGuardedBroker:
    """A broker that checks rights."""

    @pytest.fixture
    def door(self) -> str:
        """Where it asks for a name and a password. At its other one everybody is an administrator, as tests of it need."""
        return f"127.0.0.1:{free_ports(1)[0]}"

    @pytest.fixture
    def guarded(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, door: str) -> Iterator[OwnBroker]:
        monkeypatch.setattr(local_kafka, "SETTINGS", local_kafka.SETTINGS + _GUARD.replace("DOOR", door))
        folder = Path(tempfile.mkdtemp(prefix="guarded-"))
        yield OwnBroker(folder, settings)
        shutil.rmtree(folder, ignore_errors=True)

    async def test_lets_owners_write_and_others_read_and_shows_who_else_may_write(self, guarded: OwnBroker, door: str) -> None:
        await guarded.start()
        try:
            address = guarded.address
            await ensure_topics(address, [FLAGS], "local", writers=["User:owners"])
            rules = [
                ("aybiza.", _PREFIXED, "User:owners", _WRITE), ("aybiza.flags.v1", _LITERAL, "User:bob", _WRITE),
                ("aybiza.", _PREFIXED, "User:carol", _READ), ("elsewhere", _LITERAL, "User:dave", _WRITE),
            ]  # fmt: skip
            await allow(address, rules)
            found = await examine_topics(address, [FLAGS], "production", writers=["User:owners"])
            await self.check_rights(door)
        finally:
            await guarded.kill()
        (trouble,) = [each for each in found if each.about.startswith(("User:", "rights"))]
        assert (trouble.about, trouble.grave) == ("User:bob", True)
        assert trouble.remedy == (
            f"Take it away: kafka-acls --bootstrap-server {address} --remove --allow-principal User:bob --allow-host '*' --operation Write "
            "--topic 'aybiza.flags.v1'; or name it in AYBIZA_LOG_WRITERS"
        )

    async def check_rights(self, door: str) -> None:
        place, record = Place(FLAGS.topic(), 0), NewRecord(b"k", b"v", 0, [])
        owners, carol, nobody = (known(*each) for each in (("owners", "o"), ("carol", "c"), ("owners", "guessed")))
        async with KafkaLog(door, security=owners) as log:
            assert await log.append(place, [record]) == 0
        async with KafkaLog(door, security=carol) as log:
            with pytest.raises(LogAway, match="refused the batch: TopicAuthorizationFailed"):
                await log.append(place, [record])
        async with open_reader(door, security=carol) as reader:
            assert await reader.end_offsets([FLAGS.topic()]) == {(FLAGS.topic(), number): int(number == 0) for number in range(8)}
            assert [batch async for batch in reader.batches([FLAGS.topic()], {}, stop_at_end=True)]
            assert [foreign.offset for foreign in reader.foreign] == [0]
        with pytest.raises(LogAway):
            async with open_reader(door, security=nobody):
                pass
        hidden = await examine_topics(door, [FLAGS], "production", security=carol)
        assert [(each.about, each.grave) for each in hidden] == [("aybiza.flags.v1", True), ("rights", True), ("broker 1", False)]
        assert hidden[0].remedy.endswith("--add --allow-principal US --operation DescribeConfigs --topic aybiza.flags.v1")


def known(username: str, password: str) -> KafkaSecurity:
    return KafkaSecurity(mechanism="PLAIN", username=username, password=password)


async def allow(address: str, rules: list[tuple[str, int, str, int]]) -> None:
    async with Link(address, "administration") as link:
        leader = await link.leader_of(FLAGS.topic(), 0)
        assert leader is not None
        connection = await link.connection(leader)
        for name, pattern, principal, operation in rules:
            response = await connection.ask(CreateAclsRequest(_TOPIC, name, pattern, principal, "*", operation, _ALLOW))
            assert response.creation_responses[0][0] == 0
