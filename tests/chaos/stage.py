"""Everything that takes part in a run: brokers, owner processes, callers, and readers who read during it all."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from commands.ports import LogAway, Place
from events.admission import Fence
from events.records import RawRecord
from events.rooms import prepared_codec
from events.streams import StreamId, partition_of
from infra.adapters.kafka.examining import Surroundings
from infra.adapters.kafka.link import Link
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import Manifest, ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.local.children import Child, end, spawn
from infra.local.ports import free_ports
from tests.chaos.checker import Seen
from tests.chaos.cluster import Broker, Cluster
from tests.chaos.load import PATIENT, Line, Load, Manners
from tests.simulator.truth import by_rule

_TOPICS = ("claims", "flags", "schemas")
_STREAMS_EACH = 3
_HOP_SECONDS = 0.7
_END_SECONDS = 60.0
_OWNED_SECONDS = 3.0


class Worker:
    """An owner process, or another one of ours. It may be killed, frozen and started again; its callers find it at the same port."""

    def __init__(self, name: str, said: Mapping[str, object], folder: Path, program: str = "tests.chaos.worker") -> None:
        self.name = name
        self.folder = folder
        self.said = said
        self.skew_ms = 0
        port, peer_port = free_ports(2)
        self.line = Line(name, port)
        self._program = program
        self._ports = {"port": port, "peer_port": peer_port}
        self._log = folder / f"{name}.log"
        self._child: Child | None = None

    async def start(self) -> None:
        """Returns at once; it takes a second or two until it answers."""
        said = json.dumps({**self.said, **self._ports, "skew_ms": self.skew_ms, "name": self.name})
        self._child = spawn([sys.executable, "-m", self._program, said], log=self._log)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        if self._child is not None:
            os.kill(self._child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if self._child is not None:
            os.kill(self._child.pid, signal.SIGCONT)

    def limit_files(self, size: int) -> None:
        """No file of this process may grow beyond this size: to it the disk is full."""
        if self._child is not None:
            _, most = resource.prlimit(self._child.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self._child.pid, resource.RLIMIT_FSIZE, (size, most))

    async def _end(self, by: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is not None:
            await end(child, mark=self._program, grace_seconds=15.0, by=by)


class Stage:
    """What faults find. Times are the event loop's."""

    def __init__(self, cluster: Cluster, workers: Sequence[Worker], load: Load, partitions: int, prefix: str) -> None:
        self.cluster = cluster
        self.workers = workers
        self.load = load
        self.partitions = partitions
        self.topic = f"{prefix}.flags.v1"
        self._schemas = f"{prefix}.schemas"
        self.callings: list[asyncio.Task[None]] = []
        self.tails: dict[str, dict[Place, list[Seen]]] = {"tail": defaultdict(list), "hopping reader": defaultdict(list)}

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @asynccontextmanager
    async def joined(self, worker: Worker) -> AsyncIterator[None]:
        """Another process, for a while: it answers when the block begins, and is gone at its end."""
        keeping = asyncio.create_task(worker.line.keep())
        try:
            await worker.start()
            async with asyncio.timeout(_END_SECONDS):
                while not worker.line.open:
                    await asyncio.sleep(0.01)
            yield
        finally:
            await worker.kill()
            keeping.cancel()
            await asyncio.wait([keeping])

    async def owned_by(self, worker: Worker) -> Sequence[int]:
        answer = await worker.line.ask({"what": "owned"}, _OWNED_SECONDS)
        return [] if answer is None else list(answer.get("owned", ()))

    async def led_by(self, broker: Broker) -> Sequence[int]:
        async with Link(self.cluster.bootstrap, "chaos") as link:
            await link.refresh(self.topic)
            return [number for number in range(self.partitions) if await link.leader_of(self.topic, number) == broker.node]

    async def tail(self) -> None:
        """Read for ever, as a projection does."""
        await self._read("tail", {}, None)

    async def hop(self) -> None:
        """Read a while, stop, and go on from where it was, again and again: as a projection that is always started anew."""
        start: dict[tuple[str, int], tuple[int, Fence]] = {}
        while True:
            # It may begin while no broker answers.
            with contextlib.suppress(LogAway):
                await self._read("hopping reader", start, _HOP_SECONDS)

    async def logs(self) -> Mapping[Place, Sequence[RawRecord]]:
        """Every record that lies on the brokers, admitted or not."""
        found = {}
        async with KafkaLog(self.cluster.bootstrap) as log:
            for number in range(self.partitions):
                place = Place(self.topic, number)
                stop = await log.end_offset(place)
                found[place] = [raw async for part in log.read(place, 0, stop) for raw in part]
        return found

    async def finish(self) -> Mapping[Place, Sequence[RawRecord]]:
        """Callers see through what they began, readers come to the end; returns what then lies on the log."""
        self.load.stopping.set()
        await asyncio.wait(self.callings)
        logs = await self.logs()
        await self._read_up(logs)
        return logs

    async def _read_up(self, logs: Mapping[Place, Sequence[RawRecord]]) -> None:
        """Wait until both readers are where the log ends."""
        async with asyncio.timeout(_END_SECONDS):
            for place, raws in logs.items():
                for tail in self.tails.values():
                    while raws and self._reached(tail[place]) < self._last(raws):
                        await asyncio.sleep(0.05)

    def _reached(self, tail: Sequence[Seen]) -> int:
        return tail[-1].raw.offset if tail else -1

    def _last(self, raws: Sequence[RawRecord]) -> int:
        taken = by_rule(raws)
        return taken[-1].offset if taken else -1

    async def _read(self, name: str, start: dict[tuple[str, int], tuple[int, Fence]], seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        async with KafkaLog(self.cluster.bootstrap) as log:
            reader = KafkaLogReader(self.cluster.bootstrap, SchemaTopic(log, prepared_codec(), self._schemas))
            async with aclosing(reader.batches([self.topic], dict(start))) as batches:
                async for batch in batches:
                    place = Place(batch.topic, batch.partition)
                    self.tails[name][place] += [Seen(raw, loop.time()) for raw in batch.records]
                    start[place] = (batch.next_offset, batch.fence)
                    if until is not None and loop.time() > until:
                        return


def _manifests(partitions: int) -> Sequence[Manifest]:
    few: dict[Surroundings, int] = {"local": partitions, "production": partitions}
    one: dict[Surroundings, int] = {"local": 1, "production": 1}
    return [replace(each, partitions=few if each.room == "flags" else one) for each in manifests() if each.room in _TOPICS]


def streams(partitions: int) -> Sequence[StreamId]:
    """Some on each partition."""
    left, found, number = dict.fromkeys(range(partitions), _STREAMS_EACH), list[StreamId](), 0
    while any(left.values()):
        stream = StreamId("AYB-TEST-TEST-TEST", "flags", f"s{number}")
        partition = partition_of(stream.key, partitions)
        if left[partition]:
            left[partition] -= 1
            found.append(stream)
        number += 1
    return found


@asynccontextmanager
async def opened(
    cluster: Cluster, folder: Path, draw: Random, *, workers: int = 3, partitions: int = 8, manners: Manners = PATIENT
) -> AsyncIterator[Stage]:
    """Topics, owners and callers of their own. At its end every process is gone, but for the brokers."""
    prefix = f"chaos{draw.randrange(1 << 32):08x}"
    await ensure_topics(cluster.bootstrap, _manifests(partitions), "production", prefix=prefix, writers=["User:ANONYMOUS"])
    said = {"bootstrap": cluster.bootstrap, "prefix": prefix, "partitions": partitions, "session_seconds": 3.0}
    owners = [Worker(f"worker-{number}", said, folder / prefix) for number in range(1, workers + 1)]
    (folder / prefix).mkdir()
    load = Load(streams(partitions), [worker.line for worker in owners], draw, folder / prefix / "answers.jsonl", manners)
    stage = Stage(cluster, owners, load, partitions, prefix)
    try:
        for worker in owners:
            await worker.start()
        async with asyncio.TaskGroup() as tasks:
            ever = [tasks.create_task(each) for each in (*(worker.line.keep() for worker in owners), stage.tail(), stage.hop())]
            stage.callings += [tasks.create_task(load.caller(number)) for number in range(manners.callers)]
            yield stage
            load.stopping.set()
            for task in ever:
                task.cancel()
    finally:
        for worker in owners:
            await worker.kill()
        load.close()
