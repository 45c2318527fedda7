"""Voice workers whose calls tell the log what they witness: through the real queues, spools and drains, over the simulated world."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count
from random import Random
from typing import cast

from commands.calls.deciding import CALLS, Call
from commands.calls.orders import AnswerCall, ReceiveCall, Witness
from commands.dispatch import CommitInDoubt, LogUnavailable, Order
from commands.routing.owners import Owners
from commands.spool.drain import Drain, DrainPace
from commands.spool.format import Checksum, sha
from commands.spool.spool import Spool, SpoolLimits
from events.calls.ending import EngineFailure
from events.calls.every import CallEvent
from events.calls.late import LateFact
from events.calls.ringing import CallAnswered
from events.headers import Kind
from events.identifiers import derived_id
from events.streams import StreamId
from realtime.loop.facts_queue import FactsQueue, QueueLimits, Sender
from tests.given import sealed
from tests.simulator.disk import Disk, SimulatedLeftSpools
from tests.simulator.log import Cluster
from tests.simulator.process import Process
from tests.simulator.stage import DECIDERS, WIRE, Stage, Without
from tests.simulator.truth import CODEC, by_rule

_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
_ANSWER = AnswerCall(stream_sid="", worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)
_RECEIVE = ReceiveCall(
    call_sid="", caller=sealed("+1"), caller_ref="ref", number=sealed("+2"), number_ref="n", agent_id="a", agent_version="1",
    agent_version_hash="h",
)  # fmt: skip
_TENANT = "AYB-TEST-TEST-TEST"
_LIMITS = SpoolLimits(segment_bytes=9_000, group_bytes=1_000, total_bytes=400_000)


@dataclass(slots=True)
class Noted:
    """What a call's worker witnessed, under which name. `must`: it is on the log already, or was on disk when its worker died."""

    stream: StreamId
    incarnation: str
    sequence: int
    fact: CallEvent
    must: bool = False


class Worker(Process):
    """`noted` is all that its calls ever witnessed, by command id."""

    def __init__(self, name: str, cluster: Cluster, draw: Random, build: Callable[[Process], Owners], step: Callable[[], bool]) -> None:
        super().__init__(name, cluster, draw, [], build)
        self.disk = Disk(cluster)
        self.noted: dict[bytes, Noted] = {}
        self.counters: Counter[str] = Counter()
        self.checksum: Checksum = sha
        self._queues: list[FactsQueue] = []
        self._step = step

    @property
    def waiting(self) -> int:
        """How many facts are not on the log, in memory or on disk."""
        return sum(queue.waiting for queue in self._queues) + self.disk.left()

    def die(self) -> None:
        super().die()
        uncertain = {item.order.command_id: item for queue in self._queues for item in [queue._sent, *queue._items] if item is not None}
        mine = {noted.incarnation for noted in self.noted.values() if noted.incarnation.startswith(f"MZ{self.title}.")}
        for command_id, noted in self.noted.items():
            if noted.incarnation in mine:
                item = uncertain.get(command_id)
                noted.must = item is None or (item.kept is not None and item.kept.durable)
        self._queues = []
        if self.title in self.disk.spools:
            self.disk.spools[self.title].crash()

    async def work(self, owners: Owners) -> None:
        self._owners = owners
        spool = Spool(self.disk.spool(self.title), WIRE, self.title, self.counters, limits=_LIMITS, checksum=self.checksum)
        pace = DrainPace(streams=2, look_again_seconds=5.0)
        drain = Drain(owners, DECIDERS, WIRE, self.counters, pace=pace, checksum=self.checksum)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(spool.run(), name="write the spool"),
                tasks.create_task(drain.run(SimulatedLeftSpools(self.disk, self.title)), name="bring home"),
                *(tasks.create_task(self._call(owners, spool, number), name=f"call {number}") for number in range(2)),
            ]
            await self._stopping.wait()
            for task in running[2:]:
                task.cancel()
            await asyncio.wait(running[2:])
            try:
                async with asyncio.timeout(1.0):
                    await spool.settled()
            except TimeoutError:
                pass
            for task in running[:2]:
                task.cancel()
        self._owners = None

    async def _call(self, owners: Owners, spool: Spool, number: int) -> None:
        incarnation = f"MZ{self.title}.{number}"
        ids = count()
        # Where we own a partition, the call falls on it.
        call_id = owners.mint("calls", _TENANT, "calls", lambda: f"call_{self.title}.{number}.{next(ids)}")
        stream = StreamId(_TENANT, "calls", call_id)
        order = Order(command_id=derived_id("received", stream.id), digest=bytes(16), actor="worker", occurred_at=_AT)
        received = False
        while not received:
            try:
                await owners(CALLS, stream, replace(_RECEIVE, call_sid=f"CA{stream.id}"), order)
                received = True
            except (LogUnavailable, CommitInDoubt):
                await asyncio.sleep(0.05)
        sender = Sender(call=stream, consents=stream, incarnation=incarnation, actor="worker", now=lambda: _AT)
        limits = QueueLimits(spool_after_seconds=0.1, spool_above=3)
        queue = FactsQueue(owners, sender, self.counters, spool=spool, limits=limits)
        self._queues.append(queue)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(queue.run(), name=f"tell of call {number}")
            answer = replace(_ANSWER, stream_sid=incarnation)
            answered = CallAnswered(**{name: getattr(answer, name) for name in AnswerCall.__slots__})
            self._note(stream, incarnation, 1, answered)
            queue.note(answer, essential=True)
            sequence = 1
            while True:
                await asyncio.sleep(0.02 * self.draw.random() if self.draw.random() < 0.9 else 0.5 * self.draw.random())
                if not self._step():
                    break
                sequence += 1
                failure = EngineFailure(turn=sequence, engine="e", reason="why", at_ms=sequence)
                self._note(stream, incarnation, sequence, failure)
                queue.note(Witness(fact=failure), essential=False)

    def _note(self, stream: StreamId, incarnation: str, sequence: int, fact: CallEvent) -> None:
        command_id = derived_id("call", stream.id, incarnation, str(sequence))
        self.noted[command_id] = Noted(stream, incarnation, sequence, fact)
        self.cluster.story.tell(self.title, f"notes {stream.id} {sequence}")


class WorkerStage(Stage):
    """Workers in the place of clients: they are the ones who have something to say."""

    rooms = ("calls",)

    def __init__(self, draw: Random, without: Without, step: Callable[[], bool]) -> None:
        self._step = step
        super().__init__(draw, without)
        for worker in self.workers:
            worker.checksum = without.checksum

    @property
    def workers(self) -> list[Worker]:
        return [process for process in self.processes if isinstance(process, Worker)]

    def process(self, name: str) -> Process:
        return Worker(name, self.cluster, self.draw, self.owners, self._step)

    @property
    def disks(self) -> Sequence[Disk]:
        return [worker.disk for worker in self.workers]

    def open(self, step: Callable[[], bool]) -> "list[asyncio.Task[None]]":
        for process in self.processes:
            process.start()
        return []

    def facts(self) -> Iterator[tuple[bytes, int, StreamId, CallEvent]]:
        """What readers take from the log: by which command, where, on which stream."""
        for raw in chain.from_iterable(by_rule(partition.records) for partition in self.cluster.partitions.values()):
            if raw.header is not None and raw.header.kind is Kind.EVENT:
                yield raw.header.command_id, raw.offset, StreamId.parse(raw.key), cast(CallEvent, CODEC.decode(raw.value))

    def quiet(self) -> bool:
        """Whether all that was noted is on the log, as far as the workers know."""
        return all(process.alive and not process.waiting for process in self.workers)


def witnessed(stage: WorkerStage) -> list[str]:
    """What must never be: a fact that was kept and is not on the log once, in its order, as it was witnessed."""
    found: list[str] = []
    noted = {command_id: each for worker in stage.workers for command_id, each in worker.noted.items()}
    seen: Counter[bytes] = Counter()
    last: dict[tuple[StreamId, str], int] = {}
    calls: dict[StreamId, Call] = {}
    for command_id, offset, stream, fact in stage.facts():
        before = calls.get(stream, CALLS.initial)
        calls[stream] = CALLS.evolve(before, fact)
        if isinstance(fact, LateFact) and replace(calls[stream], late=before.late) != before:
            found.append(f"offset {offset} came late and changed the call: {fact}")
        about = noted.get(command_id)
        if about is None:
            continue
        seen[command_id] += 1
        late = LateFact.of(about.incarnation, about.sequence, about.fact)
        if fact not in {about.fact, late}:
            found.append(f"offset {offset} says {fact}, and {about.fact} was witnessed")
        key = (about.stream, about.incarnation)
        if about.sequence <= last.get(key, 0):
            found.append(f"offset {offset} has fact {about.sequence} of {about.stream.id} after {last[key]}")
        last[key] = about.sequence
    alive = {f"MZ{worker.title}." for worker in stage.workers if worker.alive}
    for command_id, about in noted.items():
        times = seen[command_id]
        must = about.must or any(about.incarnation.startswith(name) for name in alive)
        if times > 1 or (must and not times):
            found.append(f"fact {about.sequence} of {about.stream.id} was kept, and is on the log {times} times")
    for worker in stage.workers:
        alarms = {name: worker.counters[name] for name in ("spools-damaged", "spools-of-another-version", "spool-facts-given-up")}
        found += [f"{worker.name} raised {name} {count} times, and nothing had been damaged" for name, count in alarms.items() if count]
    return found
