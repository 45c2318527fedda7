"""A log of several partitions that keeps its contract and breaks every hope beyond it: acknowledgements that are lost, late or without
an offset, leaders that are gone, ends that are stale, reads that crawl."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from enum import Enum
from random import Random

from commands.ports import BATCH_BYTES, AppendInDoubt, HistoryLost, LogAway, NewRecord, Place
from events.headers import Kind
from events.records import RawRecord, read_header
from events.registry import EventType
from tests.simulator.loop import ProcessLoop, Scheduler
from tests.simulator.story import Story

APPEND_SECONDS = 2.0
READ_SECONDS = 5.0
_ROUND = 0.001


class Fate(Enum):
    """What becomes of an append."""

    CLEAN = "clean"
    LOST = "append lost"
    UNANSWERED = "acknowledgement lost"
    LATE = "append lands after it was given up"
    WITHOUT_OFFSET = "acknowledgement without offset"
    NOT_SENT = "append not sent"


MISHAPS = tuple(fate for fate in Fate if fate is not Fate.CLEAN)


class Partition:
    """What lies on it, and since when. `leaderless_until` and `stale_until` are its weather; `mishaps` befall its next appends."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.records: list[RawRecord] = []
        self.landed_at: list[float] = []
        self.leaderless_until = 0.0
        self.stale_until = 0.0
        self.stale_end = 0
        self.storm_until = 0.0
        self.mishaps: deque[Fate] = deque()
        self.followers: list[tuple[ProcessLoop, asyncio.Future[None]]] = []

    def land(self, records: Sequence[NewRecord], now: float) -> int:
        base = len(self.records)
        for offset, (key, value, timestamp_ms, headers) in enumerate(records, base):
            self.records.append(RawRecord(*self.place, offset, timestamp_ms, key, value, *read_header(headers)))
            self.landed_at.append(now)
        followers, self.followers = self.followers, []
        for loop, woken in followers:
            loop.call_soon(_wake, woken)
        return base


class Cluster:
    """The brokers. What they do at a time of their own they do on a loop of their own."""

    def __init__(self, places: Sequence[Place], scheduler: Scheduler, draw: Random, story: Story) -> None:
        self.partitions = {place: Partition(place) for place in places}
        self.scheduler = scheduler
        self.draw = draw
        self.story = story
        self.loop = scheduler.loop("kafka")
        self.under_way = 0

    def fate(self, partition: Partition) -> Fate:
        if partition.mishaps:
            return partition.mishaps.popleft()
        if partition.storm_until > self.scheduler.now and self.draw.random() < 0.4:
            return self.draw.choice(MISHAPS)
        return Fate.CLEAN

    def heal(self) -> None:
        for partition in self.partitions.values():
            partition.leaderless_until = partition.stale_until = partition.storm_until = 0.0
            partition.mishaps.clear()

    def delay(self) -> float:
        """One way. Mostly quick, sometimes not."""
        drawn = self.draw.random()
        return _ROUND * (drawn if drawn < 0.9 else 1 + 30 * self.draw.random())


class _Flight:
    """A batch on its way."""

    __slots__ = ("answer", "partition", "records", "sender", "tells_offset")

    def __init__(
        self, sender: "SimulatedLog", partition: Partition, records: Sequence[NewRecord], answer: "asyncio.Future[int] | None", tells: bool
    ) -> None:
        self.sender = sender
        self.partition = partition
        self.records = records
        self.answer = answer
        self.tells_offset = tells


class SimulatedLog:
    """`commands.ports.Log` as one process has it. `cut_until`: the brokers are out of its reach; `slow_until`: its reads crawl.

    `misuse` says where the process broke the port's rules.
    """

    def __init__(self, cluster: Cluster, loop: ProcessLoop) -> None:
        self.cut_until = 0.0
        self.slow_until = 0.0
        self.misuse: list[str] = []
        self._cluster = cluster
        self._loop = loop
        self._unsevered: set[Place] = set()

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        cluster, loop = self._cluster, self._loop
        if sum(len(record.key) + len(record.value) for record in records) > BATCH_BYTES:
            raise ValueError("the records do not fit a batch")
        if place in self._unsevered:
            self.misuse.append(f"{loop.name} appends to {place} again without having severed what is in doubt")
        partition = cluster.partitions[place]
        fate = cluster.fate(partition)
        site = _site("append")
        if fate is not Fate.CLEAN:
            cluster.story.met(fate.value, site)
            cluster.story.tell(loop.name, fate.value, site)
        if self._away(partition, site) and cluster.draw.random() < 0.5:
            fate = Fate.NOT_SENT
        if fate is Fate.NOT_SENT:
            await asyncio.sleep(cluster.delay() if cluster.draw.random() < 0.5 else APPEND_SECONDS)
            raise LogAway("not sent")
        answer: asyncio.Future[int] = loop.create_future()
        answered = fate in {Fate.CLEAN, Fate.WITHOUT_OFFSET}
        if fate is not Fate.LOST:
            flight = _Flight(self, partition, records, answer if answered else None, fate is Fate.CLEAN)
            cluster.under_way += 1
            late = APPEND_SECONDS * (1 + 2 * cluster.draw.random()) if fate is Fate.LATE else cluster.delay()
            cluster.loop.call_later(late, self._arrive, flight)
        timer = loop.call_later(APPEND_SECONDS, _give_up, answer)
        try:
            return await answer
        except AppendInDoubt:
            self._unsevered.add(place)
            raise
        finally:
            timer.cancel()

    async def sever(self, place: Place) -> None:
        self._unsevered.discard(place)
        await asyncio.sleep(self._cluster.delay())

    async def read(self, place: Place, start: int, stop: int) -> AsyncGenerator[Sequence[RawRecord], None]:
        cluster, partition = self._cluster, self._cluster.partitions[place]
        if start > len(partition.records):
            raise HistoryLost(f"{place} has no offset {start}")
        site = _site("read")
        slow = self.slow_until > cluster.scheduler.now
        if slow:
            cluster.story.met("slow read", site)
        deadline, waited = self._loop.time() + READ_SECONDS, 0.0
        while start < stop:
            waited = min(0.1, waited * 2 + cluster.delay())
            await asyncio.sleep(waited * 10 if slow else waited)
            end = 0 if self._away(partition, site) else self._end(partition, site)
            if end > start:
                part = partition.records[start : min(stop, end, start + cluster.draw.randint(1, 40))]
                start += len(part)
                deadline, waited = self._loop.time() + READ_SECONDS, 0.0
                yield part
            elif self._loop.time() > deadline:
                raise LogAway(f"offset {start} of {stop} could not be read")

    async def end_offset(self, place: Place) -> int:
        cluster, partition = self._cluster, self._cluster.partitions[place]
        site = _site("end_offset")
        await asyncio.sleep(cluster.delay())
        if self._away(partition, site):
            raise LogAway("nobody says where it ends")
        return self._end(partition, site)

    async def register(self, kinds: Iterable[EventType]) -> None:
        """The schemas are taken for written, unless the log is away."""
        if self.cut_until > self._cluster.scheduler.now and self._cluster.draw.random() < 0.2:
            self._cluster.story.met("log out of reach", _site("register"))
            raise LogAway("the schemas could not be written")

    async def learn(self, marks: Iterable[bytes]) -> None:
        self.misuse.append(f"{self._loop.name} does not know the schemas {list(marks)}")

    def _away(self, partition: Partition, site: str) -> bool:
        now = self._cluster.scheduler.now
        if self.cut_until > now:
            self._cluster.story.met("log out of reach", site)
            return True
        if partition.leaderless_until > now:
            self._cluster.story.met("no leader", site)
            return True
        return False

    def _end(self, partition: Partition, site: str) -> int:
        if partition.stale_until > self._cluster.scheduler.now:
            self._cluster.story.met("stale end", site)
            return partition.stale_end
        return len(partition.records)

    def _arrive(self, flight: _Flight) -> None:
        cluster, partition, now = self._cluster, flight.partition, self._cluster.scheduler.now
        if partition.leaderless_until > now:
            # It waits for the next leader, or it was on the old one alone.
            if cluster.draw.random() < 0.5:
                cluster.loop.call_at(partition.leaderless_until + cluster.delay(), self._arrive, flight)
            else:
                cluster.under_way -= 1
            return
        cluster.under_way -= 1
        base = partition.land(flight.records, now)
        cluster.story.tell("kafka", self._loop.name, "lands at", f"{partition.place}/{base}:", *map(_word, partition.records[base:]))
        if flight.answer is not None and self.cut_until <= now:
            self._loop.call_later(cluster.delay(), _acknowledge, flight.answer, base if flight.tells_offset else -1)


def _acknowledge(answer: "asyncio.Future[int]", base: int) -> None:
    if not answer.done():
        answer.set_result(base)


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)


def _give_up(answer: "asyncio.Future[int]") -> None:
    if not answer.done():
        answer.set_exception(AppendInDoubt("no answer in time"))


def _site(call: str) -> str:
    """Who on the floor awaits this call of the port."""
    return f"{sys._getframe(2).f_code.co_qualname} > {call}"


def _word(raw: RawRecord) -> str:
    header = raw.header
    if header is None:
        return "foreign"
    who = f"term {header.term} {header.claim_id[:2].hex()}"
    if header.kind in {Kind.EVENT, Kind.RECEIPT}:
        stream = raw.key.rsplit(b"/", 1)[-1].decode()
        return f"[{header.kind.name.lower()} {stream} v{header.version} {_named(header.command_id)} {who}]"
    return f"[{header.kind.name.lower()} {who}]"


def _named(command_id: bytes) -> str:
    """A client's own name for its command, or the beginning of a derived id."""
    name = command_id.rstrip(b".")
    return name.decode() if name.isalnum() and name.isascii() else name[:4].hex()
