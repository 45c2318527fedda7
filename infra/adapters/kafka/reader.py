"""The log's reader: admitted records of chosen topics, whole commits in order, from a position to the end or for ever."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TypeAlias

import structlog

from commands.ports import LogAway, Place
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.codec import Codec, mark_of
from events.headers import Kind
from events.records import AdmittedBatch, RawRecord
from infra.adapters.kafka.fetching import Fetched, TryElsewhere, end_offsets, fetch, records_in
from infra.adapters.kafka.link import KafkaUnreachable, Link
from infra.adapters.kafka.schemas import SchemaTopic

log = structlog.get_logger()

Start: TypeAlias = Callable[[str, int], Awaitable[tuple[int, Fence]]] | Mapping[tuple[str, int], tuple[int, Fence]]
_WAIT_MS = 500
_RETRY_SECONDS = 0.1
_ENDS_SECONDS = 5.0


class _Cursor:
    """How far one partition was read, and what is known of its writer there."""

    __slots__ = ("counts", "fence", "held", "offset", "place", "stop")

    def __init__(self, place: Place, offset: int, fence: Fence, counts: Counter[Verdict]) -> None:
        self.place = place
        self.offset = offset
        self.fence = fence
        self.stop: int | None = None
        self.held: list[RawRecord] = []
        self.counts = counts

    @property
    def done(self) -> bool:
        return self.stop is not None and self.offset >= self.stop

    def take(self, fetched: Fetched) -> AdmittedBatch:
        """Admit what was fetched. A commit that is not whole yet is held back, and so is the position before it."""
        raws, reached = records_in(fetched, self.stop)
        fence, admitted = self.fence, self.held
        for raw in raws:
            fence, verdict = admit(fence, raw.header)
            if verdict is Verdict.ADMITTED:
                admitted.append(raw)
            else:
                self._count(raw, verdict)
        self.fence, self.offset = fence, reached
        whole = len(admitted)
        while whole and not _ends_commit(admitted[whole - 1]):
            whole -= 1
        self.held = admitted[whole:]
        if self.held:
            first = self.held[0]
            return AdmittedBatch(*self.place, admitted[:whole], first.offset, _fence_of(first))
        return AdmittedBatch(*self.place, admitted, reached, fence)

    def _count(self, raw: RawRecord, verdict: Verdict) -> None:
        self.counts[verdict] += 1
        if verdict is Verdict.FOREIGN:
            log.error("foreign-record", topic=raw.topic, partition=raw.partition, offset=raw.offset)


def _ends_commit(raw: RawRecord) -> bool:
    return raw.header is None or raw.header.index >= raw.header.count - 1


def _fence_of(raw: RawRecord) -> Fence:
    return UNCLAIMED if raw.header is None else Fence(raw.header.term, raw.header.claim_id)


class KafkaLogReader:
    """Reads any number of times at once; each reading has a connection of its own.

    `codec` knows the schema of every record that was handed out. `counts` says, per partition, what was dropped and why, `away`
    what the brokers said that do not answer at present.
    """

    def __init__(self, bootstrap_servers: str, schemas: SchemaTopic) -> None:
        self.codec: Codec = schemas.codec
        self.counts: defaultdict[tuple[str, int], Counter[Verdict]] = defaultdict(Counter)
        self.away: dict[int, str] = {}
        self._bootstrap_servers = bootstrap_servers
        self._schemas = schemas

    async def batches(self, topics: Sequence[str], start: Start, *, stop_at_end: bool = False) -> AsyncGenerator[AdmittedBatch, None]:
        """Batches as they come, partition by partition in order; a partition that is not in `start` is read from 0.

        A batch may be empty where only dropped records were passed. Waits while the broker is away. With `stop_at_end` it
        ends where each partition ended when it began. Close it when you leave early (`contextlib.aclosing`).
        Raises HistoryLost, and KafkaUnreachable when no broker answers at the beginning.
        """
        async with Link(self._bootstrap_servers, "reader") as link:
            cursors = await self._cursors(link, topics, start)
            if stop_at_end:
                for place, end in (await self._ends(link, list(cursors))).items():
                    cursors[place].stop = end
            reading = _Reading(link, cursors, self.away)
            async with AsyncExitStack() as clean_up:
                clean_up.push_async_callback(reading.cancel)
                while not all(cursor.done for cursor in cursors.values()):
                    batches = []
                    for fetched in await reading.next():
                        cursor = cursors[fetched.place]
                        before = cursor.offset
                        batch = cursor.take(fetched)
                        if batch.records or cursor.offset > before:
                            await self._learn(batch)
                            batches.append(batch)
                        # Reading back a long history must not keep a call's audio waiting.
                        await asyncio.sleep(0)
                    await reading.ask()
                    for batch in batches:
                        yield batch

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        """The offset after the last record of each partition, now. Raises LogAway or KafkaUnreachable."""
        async with Link(self._bootstrap_servers, "reader-ends") as link:
            places = [place for topic in topics for place in await self._places(link, topic)]
            return {(place.topic, place.partition): end for place, end in (await self._ends(link, places)).items()}

    async def _cursors(self, link: Link, topics: Sequence[str], start: Start) -> dict[Place, _Cursor]:
        cursors = {}
        for topic in topics:
            for place in await self._places(link, topic):
                offset, fence = await start(*place) if callable(start) else start.get(place, (0, UNCLAIMED))
                cursors[place] = _Cursor(place, offset, fence, self.counts[place])
        return cursors

    async def _places(self, link: Link, topic: str) -> list[Place]:
        count = await link.partitions_of(topic)
        if count is None:
            raise KafkaUnreachable(f"there is no topic {topic}; aybiza up creates it")
        return [Place(topic, partition) for partition in range(count)]

    async def _ends(self, link: Link, places: Sequence[Place]) -> dict[Place, int]:
        ends: dict[Place, int] = {}
        try:
            async with asyncio.timeout(_ENDS_SECONDS):
                while len(ends) < len(places):
                    missing = [place for place in places if place not in ends]
                    for node, led in (await _by_leader(link, missing)).items():
                        try:
                            ends.update(await end_offsets(link, node, led))
                        except TryElsewhere:
                            await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError:
            raise LogAway(f"nobody said where {len(places) - len(ends)} partitions end") from None
        return ends

    async def _learn(self, batch: AdmittedBatch) -> None:
        marks = {mark for raw in batch.records if raw.header is not None and raw.header.kind is Kind.EVENT and (mark := mark_of(raw.value))}
        await self._schemas.learn(marks)


async def _by_leader(link: Link, places: Sequence[Place]) -> dict[int, list[Place]]:
    led: defaultdict[int, list[Place]] = defaultdict(list)
    for place in places:
        leader = await link.leader_of(*place)
        if leader is not None:
            led[leader].append(place)
    return led


class _Reading:
    """One fetch under way per broker, so that the next records come while the last ones are dealt with; never more than one ahead."""

    def __init__(self, link: Link, cursors: Mapping[Place, _Cursor], away: dict[int, str]) -> None:
        self._link = link
        self._cursors = cursors
        self._away = away
        self._fetches: dict[int, asyncio.Task[Sequence[Fetched]]] = {}

    async def next(self) -> Sequence[Fetched]:
        """What the first broker to answer gave."""
        await self.ask()
        if not self._fetches:
            await asyncio.sleep(_RETRY_SECONDS)
            return ()
        await asyncio.wait(self._fetches.values(), return_when=asyncio.FIRST_COMPLETED)
        for node, task in list(self._fetches.items()):
            if task.done():
                del self._fetches[node]
                try:
                    fetched = task.result()
                except TryElsewhere as error:
                    if node not in self._away:
                        log.warning("kafka-read-retried", broker=node, reason=str(error))
                    self._away[node] = str(error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    self._away.pop(node, None)
                    return fetched
        return ()

    async def cancel(self) -> None:
        for task in self._fetches.values():
            task.cancel()
        if self._fetches:
            await asyncio.wait(self._fetches.values())

    async def ask(self) -> None:
        """Begin the fetches that are not under way."""
        idle: defaultdict[int, dict[Place, int]] = defaultdict(dict)
        leaders = set()
        for place, cursor in self._cursors.items():
            if not cursor.done:
                leader = await self._link.leader_of(*place)
                leaders.add(leader)
                if leader is not None and leader not in self._fetches:
                    idle[leader][place] = cursor.offset
        # A broker that leads nothing any more is not asked, so nobody would hear that it is back.
        for node in self._away.keys() - leaders:
            del self._away[node]
        for node, wanted in idle.items():
            self._fetches[node] = asyncio.create_task(fetch(self._link, node, wanted, wait_ms=_WAIT_MS), name=f"fetch from broker {node}")
