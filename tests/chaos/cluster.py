"""Three Kafka brokers on loopback, each broker and controller, with every record on all of them: any one may be killed or frozen."""

import asyncio
import os
import shutil
import signal
import uuid
from pathlib import Path
from typing import Self

from infra.local.children import Child, end, spawn
from infra.local.java import ensure_jars, jars_folder, java_program
from infra.local.kafka import SETTINGS, cluster_id, probe_kafka
from infra.local.ports import LOOPBACK, free_ports, is_free
from infra.local.programs import run
from infra.local.services import Unreachable

_READY_SECONDS = 90.0
_POLL_SECONDS = 0.05
_LONGEST_BATCH_BYTES = 1_048_588
# Quick to start again and again; their speed is not what is looked at.
_JVM = ("-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true")
# What a cluster says otherwise than a single broker; of two lines the later one counts.
_CLUSTER = """
node.id={node}
controller.quorum.voters={voters}
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1500
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
# Nobody else can write, as where it matters.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
_LOGGING = """\
rootLogger.level=error
rootLogger.appenderRef.o.ref=O
appender.o.type=Console
appender.o.name=O
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c{1} %m%n
"""


class Broker:
    """Starts on the same ports and data each time."""

    def __init__(self, node: int, folder: Path, jars: Path, ports: tuple[int, int]) -> None:
        self.node = node
        self.address = f"{LOOPBACK}:{ports[0]}"
        self._ports = ports
        self._folder = folder
        self._jars = jars
        self._properties = folder / "server.properties"
        self.data = folder / "data"
        self._child: Child | None = None

    async def prepare(self, cluster: str, voters: str, like: "Broker | None") -> None:
        """Format the data folder; `like` another broker's, which is the same but for the names in one file, and no Java is needed."""
        self.data.mkdir(parents=True)
        broker, controller = self._ports
        said = SETTINGS.format(host=LOOPBACK, broker=broker, controller=controller, data=self.data, longest_batch=_LONGEST_BATCH_BYTES)
        self._properties.write_text(said + _CLUSTER.format(node=self.node, voters=voters))
        (self._folder / "log4j2.properties").write_text(_LOGGING)
        if like is not None:
            shutil.copytree(like.data, self.data, dirs_exist_ok=True)
            about = self.data / "meta.properties"
            names = {"node.id": str(self.node), "directory.id": cluster_id(uuid.uuid4().bytes)}
            lines = [line.partition("=") for line in about.read_text().splitlines()]
            about.write_text("".join(f"{name}{sign}{names.get(name, value)}\n" for name, sign, value in lines))
            return
        format_data = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties)]
        await run([*self._java(), *format_data], what="Formatting a broker's data folder")

    async def start(self) -> None:
        """Returns when its process runs; it takes some seconds until it serves."""
        async with asyncio.timeout(_READY_SECONDS):
            while not all(map(is_free, self._ports)):
                await asyncio.sleep(_POLL_SECONDS)
        self._child = spawn([*self._java(), "kafka.Kafka", str(self._properties)], log=self._folder / "kafka.log")

    async def ready(self) -> None:
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                try:
                    await probe_kafka(self.address)
                except Unreachable:
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    return

    async def kill(self) -> None:
        """As a power cut would end it."""
        if self._child is not None:
            await end(self._child, mark=str(self._properties), grace_seconds=10.0, by=signal.SIGKILL)
            self._child = None

    async def stop(self) -> None:
        """In good order: what it leads is led elsewhere first."""
        if self._child is not None:
            await end(self._child, mark=str(self._properties), grace_seconds=30.0)
            self._child = None

    def freeze(self) -> None:
        """Its sockets stay open and nothing answers."""
        if self._child is not None:
            os.kill(self._child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if self._child is not None:
            os.kill(self._child.pid, signal.SIGCONT)

    def _java(self) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        classes = self._jars / "classes.jsa"
        sharing = [f"-XX:SharedArchiveFile={classes}"] if classes.is_file() else []
        return [str(java_program()), *_JVM, *sharing, logging, "-cp", f"{self._jars}/*"]


class Cluster:
    """Use it as an async context manager; at its end nothing of it is left running."""

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        ports = free_ports(6)
        pairs = [(ports[at], ports[at + 1]) for at in (0, 2, 4)]
        self.brokers = [Broker(node, folder / f"broker-{node}", jars_folder(cache_dir), pair) for node, pair in enumerate(pairs, start=1)]
        self.bootstrap = ",".join(broker.address for broker in self.brokers)
        self._voters = ",".join(f"{node}@{LOOPBACK}:{controller}" for node, (_, controller) in enumerate(pairs, start=1))

    async def __aenter__(self) -> Self:
        await ensure_jars(self._cache_dir, lambda _part, _words: None)
        cluster = cluster_id(uuid.uuid4().bytes)
        try:
            first: Broker | None = None
            for broker in self.brokers:
                await broker.prepare(cluster, self._voters, like=first)
                first = first or broker
            for broker in self.brokers:
                await broker.start()
            for broker in self.brokers:
                await broker.ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for broker in self.brokers:
            await broker.kill()
