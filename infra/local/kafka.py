"""A real Apache Kafka of our own: one broker in KRaft mode that forgets nothing and creates no topic unasked."""

import base64
import contextlib
import logging
import signal
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiokafka.errors
from aiokafka.admin import AIOKafkaAdminClient

from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity
from infra.local.java import INSTALL_JAVA, OLDEST_JAVA, ensure_jars, jars_folder, java_program, java_version
from infra.local.ports import LOOPBACK
from infra.local.programs import ProgramFailed, run
from infra.local.services import Progress, StackUnavailable, Unreachable

_PROBE_SECONDS = 3.0
# What may lie on the log for ever must be readable by a consumer with default settings: 1 MiB a record batch.
_LONGEST_BATCH_BYTES = 1_048_588
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
# Topics come from the manifests, with the settings that stand there; what is on them stays for ever.
auto.create.topics.enable=false
log.retention.ms=-1
log.retention.bytes=-1
log.message.timestamp.type=CreateTime
unclean.leader.election.enable=false
message.max.bytes={longest_batch}
num.partitions=8
default.replication.factor=1
min.insync.replicas=1
# Fewer partitions than the default 50 make the first join of a group quick.
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A killed broker may not come back before its old session has ended: by default after 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# A small machine: few threads, and a cleaner whose buffer fits a small heap.
num.network.threads=2
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
log.segment.bytes=67108864
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""
_LOGGING = """\
rootLogger.level=warn
rootLogger.appenderRef.o.ref=O
appender.o.type=Console
appender.o.name=O
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c{1} %m%n
"""
# The full compiler, not `-XX:TieredStopAtLevel=1`: the start takes 0.4 s longer, but every bench and demo then meets the
# broker at its real speed; tests do without. The serial collector and a small heap keep it near 200 MB.
_JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true")


def cluster_id(draw: bytes) -> str:
    """A cluster's id as Kafka writes it: 16 bytes in 22 characters, the first never a dash, which its own tool would take for an option."""
    return base64.urlsafe_b64encode(bytes([draw[0] & 0x7F]) + draw[1:]).decode().rstrip("=")


class KafkaService:
    """The broker and its controller in one JVM."""

    name = "kafka"
    ports_wanted = 2
    stop_signal = signal.SIGTERM
    stop_seconds = 20.0

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self._folder = folder
        self._cache_dir = cache_dir
        self._properties = folder / "server.properties"
        self.mark = str(self._properties)
        self.log = folder / "kafka.log"

    async def prepare(self, ports: Sequence[int], progress: Progress) -> None:
        """Fetch the jars, write the settings, format the data folder once. Raises StackUnavailable."""
        java = java_program()
        await ensure_jars(self._cache_dir, progress)
        broker, controller = ports
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(
            SETTINGS.format(host=LOOPBACK, broker=broker, controller=controller, data=data, longest_batch=_LONGEST_BATCH_BYTES)
        )
        (self._folder / "log4j2.properties").write_text(_LOGGING)
        if not (data / "meta.properties").is_file():
            progress("kafka", "formatting its data folder")
            await self._format(java)

    async def _format(self, java: Path) -> None:
        # Also the first use of this Java, and so the place to look at its version.
        version = await java_version(java)
        if version < OLDEST_JAVA:
            raise StackUnavailable(f"Kafka needs Java {OLDEST_JAVA} or later, and {java} is {version}. Type: {INSTALL_JAVA}")
        cluster = cluster_id(uuid.uuid4().bytes)
        # It ends before a full compiler would pay: a third of the time.
        brief = ["-XX:TieredStopAtLevel=1", *([f"-XX:SharedArchiveFile={classes}"] if (classes := self._classes).is_file() else [])]
        command = [*self._java(java), *brief, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties)]
        try:
            await run(command, what="Formatting Kafka's data folder")
        except ProgramFailed as error:
            raise StackUnavailable(str(error)) from error

    def _java(self, java: Path) -> list[str]:
        jars = jars_folder(self._cache_dir)
        return [str(java), *_JVM, f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}", "-cp", f"{jars}/*"]

    @property
    def _classes(self) -> Path:
        return jars_folder(self._cache_dir) / "classes.jsa"

    def command(self, ports: Sequence[int]) -> Sequence[str]:
        """The broker in the foreground; its settings file names the ports."""
        # The first broker that ends cleanly leaves its loaded classes behind, and later ones start in 1.4 s instead of 2.4 s. A Java
        # that finds the archive made by another Java, or from other jars, ignores it.
        classes = self._classes
        sharing = f"-XX:SharedArchiveFile={classes}" if classes.is_file() else f"-XX:ArchiveClassesAtExit={classes}"
        return [*self._java(java_program()), sharing, "kafka.Kafka", str(self._properties)]

    def address(self, ports: Sequence[int]) -> str:
        """The bootstrap server."""
        return f"{LOOPBACK}:{ports[0]}"

    async def probe(self, address: str) -> None:
        """A metadata answer that names a controller: an open port alone proves nothing."""
        await probe_kafka(address)


async def probe_kafka(bootstrap_servers: str, security: KafkaSecurity = IN_CLEAR) -> None:
    """Ask any Kafka for its metadata. Raises Unreachable."""
    milliseconds = round(_PROBE_SECONDS * 1000)
    try:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=milliseconds, **security.options())
    except ValueError as error:
        raise Unreachable(str(error)) from error
    try:
        with _quiet():
            await admin.start()
        cluster = await admin.describe_cluster()
    except (aiokafka.errors.KafkaError, OSError) as error:
        raise Unreachable(str(error)) from error
    finally:
        await admin.close()
    if cluster["controller_id"] < 0:
        raise Unreachable("it has no controller yet")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A broker that is not there yet is no news; the client would log each attempt."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
