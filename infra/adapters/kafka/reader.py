"""The log's reader, also for programs of others: admitted records of chosen topics, whole commits in order, to the end or for ever.

    async with open_reader("kafka:9092") as reader:
        cursor = Cursor.parse(kept or "")
        wanted = Select(categories=["consents"], ce_types=["consent-granted.v1"])
        async with aclosing(reader.batches([topic_of("consents")], cursor, select=wanted)) as batches:
            async for batch in batches:
                for raw in batch.records:
                    match recorded_or_parked(raw, reader.codec):
                        case ParkedRecord() as parked: ...
                        case recorded: ...
                cursor = cursor.after(batch)
                kept = str(cursor)  # in one transaction with what was made of the batch

It commits nothing anywhere: what it has read is what its user keeps. `schemas/reading.md` says the same for other languages.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

import structlog

from commands.ports import HistoryLost, Place
from events.admission import UNCLAIMED, Fence, Verdict
from events.codec import Codec, mark_of
from events.headers import Kind
from events.positions import InvalidPosition
from events.records import AdmittedBatch, RawRecord
from events.rooms import prepared_codec
from events.selecting import Select
from infra.adapters.kafka.admitting import Passage
from infra.adapters.kafka.ends import offsets_of
from infra.adapters.kafka.fetching import EARLIEST, LATEST, TryElsewhere, fetch
from infra.adapters.kafka.fetching_ahead import FetchingAhead
from infra.adapters.kafka.link import KafkaUnreachable, Link
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity
from infra.adapters.kafka.topics import PREFIX
from infra.adapters.kafka.writer import KafkaLog

log = structlog.get_logger()

Start: TypeAlias = Callable[[str, int], Awaitable[tuple[int, Fence]]] | Mapping[tuple[str, int], tuple[int, Fence]]
_RETRY_SECONDS = 0.1
_FOREIGN_KEPT = 1_000
_CLAIMS_TRIED = 3


class ForeignRecord(NamedTuple):
    """A record that no owner of ours wrote, put aside by its place."""

    topic: str
    partition: int
    offset: int
    why: str


class ClaimIndex(Protocol):
    """Where claims lie: a hint that spares reading a partition from 0."""

    async def claim_before(self, place: Place, offset: int) -> tuple[int, Fence] | None:
        """The last valid claim that is known to lie before an offset: its own offset, and the fence that it sets. It may miss some."""


class KafkaLogReader:
    """Reads any number of times at once; each reading has connections of its own, one per broker and topic.

    A reading holds, per broker and topic, at most one answer that is dealt with and one that comes (each up to 1 MiB, or one record
    batch), and per partition a commit whose end has not come. `codec` knows the schema of every record that was handed out. `counts`
    says, per partition, what was dropped and why; `foreign` where the last thousand foreign records lie, each of which
    `on_foreign` hears of too; `away` what the brokers said that do not answer at present. `gather_seconds` as `FetchingAhead` has it.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        schemas: SchemaTopic,
        on_foreign: Callable[[ForeignRecord], None] | None = None,
        security: KafkaSecurity = IN_CLEAR,
        *,
        gather_seconds: float = 0.0,
    ) -> None:
        self.codec: Codec = schemas.codec
        self.counts: defaultdict[tuple[str, int], Counter[Verdict]] = defaultdict(Counter)
        self.foreign: deque[ForeignRecord] = deque(maxlen=_FOREIGN_KEPT)
        self.away: dict[int, str] = {}
        self._bootstrap_servers = bootstrap_servers
        self._schemas = schemas
        self._on_foreign = on_foreign
        self._security = security
        self._gather_seconds = gather_seconds

    async def batches(
        self,
        topics: Sequence[str],
        start: Start,
        *,
        stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
        stop: Mapping[tuple[str, int], int] | None = None,
        select: Select | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:
        """Batches as they come, partition by partition in order; a partition that is not in `start` is read from 0.

        `places`: the partitions to read, instead of all. `select`: the records to give; the others are passed undecoded, and a batch
        may be empty where only those or dropped records were. With `stop_at_end` it ends where each partition ended when it
        began, with `stop` before the offset given for a partition (a commit that reaches across is left out whole).
        Close it when you leave early (`contextlib.aclosing`).

        Raises LogAway when no broker answers at the beginning; afterwards it waits while they are away, as it waits for a schema that
        is not on the log yet. Raises HistoryLost, at any time, instead of passing over what is not there.
        """
        async with Link(self._bootstrap_servers, "reader", security=self._security) as link:
            passages = await self._passages(link, topics, start, places, select)
            try:
                await self._set_stops(link, passages, stop, stop_at_end=stop_at_end)
                async with aclosing(self._read(link, passages)) as batches:
                    async for batch in batches:
                        await self._learn(batch)
                        yield batch
            except HistoryLost as lost:
                log.critical("history-lost", reason=str(lost))
                raise

    async def position_at(self, topic: str, partition: int, at: int | datetime, claims: ClaimIndex | None = None) -> tuple[int, Fence]:
        """Where to start for a bare offset, or for a time of appending (as `first_since`): with the fence that belongs there.

        A fence is known to whoever has read from 0, or from a valid claim: with an index of claims only the last term is read. What
        the index says is held against the log, and forgotten where the log contradicts it. An offset within a commit is
        rounded down to the commit. Raises LogAway, HistoryLost, and InvalidPosition beyond the end.
        """
        place = Place(topic, partition)
        offset = at if isinstance(at, int) else (await self.first_since(topic, at))[place]
        async with Link(self._bootstrap_servers, "reader-position", security=self._security) as link:
            if not 0 <= offset <= (await offsets_of(link, [place], LATEST))[place]:
                raise InvalidPosition(f"{place} has no offset {offset} yet")
            known: tuple[int, Fence] | None = (offset, UNCLAIMED)
            for _ in range(_CLAIMS_TRIED):
                known = None if claims is None or known is None else await claims.claim_before(place, known[0])
                if known is not None and (found := await self._followed(link, place, known, offset)):
                    return found
            return await self._followed(link, place, (0, UNCLAIMED), offset) or (0, UNCLAIMED)

    async def _followed(self, link: Link, place: Place, known: tuple[int, Fence], offset: int) -> tuple[int, Fence] | None:
        """The position at an offset, read from a claim that is known to lie before it; None when nothing proves it was a valid one."""
        begin, claimed = known
        judged: list[tuple[int, Fence, Verdict]] = []
        proofs: list[int] = []

        def dropped(raw: RawRecord, verdict: Verdict, fence: Fence) -> None:
            if raw.header is not None and raw.header.term >= fence.term:
                judged.append((raw.offset, Fence(raw.header.term, raw.header.claim_id), verdict))

        def admitted(raw: RawRecord) -> bool:
            if not proofs and raw.header is not None and raw.header.claim_id == claimed.claim_id:
                proofs.append(raw.offset)
            return False

        passage = Passage(place, begin, UNCLAIMED, dropped, admitted)
        passage.stop = offset
        position = (0, UNCLAIMED)
        async with aclosing(self._read(link, {place: passage})) as batches:
            async for batch in batches:
                position = (batch.next_offset, batch.fence)
        # Who claims too late writes nothing else, and the records of who came first contradict that claim.
        proven = proofs and judged[0] == (begin, claimed, Verdict.CLAIM)
        contradicted = any(verdict not in {Verdict.CLAIM, Verdict.LOST_CLAIM} for _, _, verdict in judged)
        return position if claimed == UNCLAIMED or (proven and not contradicted) else None

    async def _read(self, link: Link, passages: Mapping[Place, Passage]) -> AsyncGenerator[AdmittedBatch, None]:
        ahead = FetchingAhead(link, passages, self.away, self._gather_seconds)
        async with AsyncExitStack() as clean_up:
            clean_up.push_async_callback(ahead.cancel)
            while not all(passage.done for passage in passages.values()):
                batches = []
                for fetched in await ahead.next():
                    passage = passages[fetched.place]
                    before = passage.offset
                    batch = passage.take(fetched)
                    if batch.records or passage.offset > before:
                        batches.append(batch)
                    # Reading back a long history must not keep a call's audio waiting.
                    await asyncio.sleep(0)
                await ahead.ask()
                for batch in batches:
                    yield batch

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        """The offset after the last record of each partition, now. Raises LogAway."""
        async with Link(self._bootstrap_servers, "reader-ends", security=self._security) as link:
            places = [place for topic in topics for place in await self._places(link, topic)]
            return {(place.topic, place.partition): end for place, end in (await offsets_of(link, places, LATEST)).items()}

    async def first_since(self, topic: str, since: datetime) -> Mapping[tuple[str, int], int]:
        """For each partition the offset of the first record appended at or after a time, or its end. Raises LogAway.

        Owners keep append times monotone; a superseded writer's clock does not count, so it may begin a little early.
        """
        async with Link(self._bootstrap_servers, "reader-times", security=self._security) as link:
            places = await self._places(link, topic)
            ends = await offsets_of(link, places, LATEST)
            found = await offsets_of(link, places, int(since.timestamp() * 1000))
            return {(*place,): ends[place] if offset < 0 else offset for place, offset in found.items()}

    async def _passages(
        self, link: Link, topics: Sequence[str], start: Start, chosen: Collection[tuple[str, int]] | None, select: Select | None
    ) -> dict[Place, Passage]:
        wanted = None if select is None else select.compiled()
        passages = {}
        for topic in topics:
            for place in await self._places(link, topic):
                if chosen is None or place in chosen:
                    offset, fence = await start(*place) if callable(start) else start.get(place, (0, UNCLAIMED))
                    passages[place] = Passage(place, offset, fence, self._dropped, wanted)
        return passages

    async def _set_stops(
        self, link: Link, passages: Mapping[Place, Passage], stop: Mapping[tuple[str, int], int] | None, *, stop_at_end: bool
    ) -> None:
        """Raises HistoryLost also for partitions of which nothing will be fetched."""
        for place, first in (await offsets_of(link, list(passages), EARLIEST)).items():
            if first > 0:
                raise HistoryLost(f"{place} begins at offset {first}, not at 0: its retention took history away")
        ends = await offsets_of(link, list(passages), LATEST) if stop_at_end else {}
        for place, passage in passages.items():
            end = ends.get(place)
            if end is not None and passage.offset > end:
                await self._must_reach(link, place, passage.offset)
            asked = (stop or {}).get(place)
            passage.stop = end if asked is None else asked if end is None else min(asked, end)

    async def _must_reach(self, link: Link, place: Place, offset: int) -> None:
        """What a broker calls the end may be stale, when it has just come to lead; the answer to a fetch is not."""
        while True:
            leader = await link.leader_of(*place)
            try:
                if leader is not None:
                    await fetch(link, leader, {place: offset}, wait_ms=0)
                    return
            except TryElsewhere:
                pass
            await asyncio.sleep(_RETRY_SECONDS)

    async def _places(self, link: Link, topic: str) -> list[Place]:
        count = await link.partitions_of(topic)
        if count is None:
            raise KafkaUnreachable(f"there is no topic {topic}; aybiza up creates it")
        return [Place(topic, partition) for partition in range(count)]

    async def _learn(self, batch: AdmittedBatch) -> None:
        # All of a batch have few schemas, and most are known.
        if all((mark := mark_of(head)) is None or self.codec.knows(mark) for head in {raw.value[:10] for raw in batch.records}):
            return
        marks = {mark for raw in batch.records if raw.kind is Kind.EVENT and (mark := mark_of(raw.value))}
        await self._schemas.learn(marks)

    def _dropped(self, raw: RawRecord, verdict: Verdict, fence: Fence) -> None:
        counts = self.counts[raw.topic, raw.partition]
        counts[verdict] += 1
        if verdict is not Verdict.FOREIGN:
            return
        header, count = raw.header, counts[verdict]
        why = "it has no header of ours" if header is None else f"nobody claimed term {header.term}; the last claim's is {fence.term}"
        # Whoever floods a topic shall not flood the alarms: the first one is said, and then each time that they have doubled.
        if count & (count - 1) == 0:
            log.error("foreign-record", topic=raw.topic, partition=raw.partition, offset=raw.offset, reason=why, count=count)
        foreign = ForeignRecord(raw.topic, raw.partition, raw.offset, why)
        self.foreign.append(foreign)
        if self._on_foreign is not None:
            self._on_foreign(foreign)


@asynccontextmanager
async def open_reader(
    bootstrap_servers: str,
    *,
    prefix: str = PREFIX,
    codec: Codec | None = None,
    on_foreign: Callable[[ForeignRecord], None] | None = None,
    security: KafkaSecurity = IN_CLEAR,
) -> AsyncIterator[KafkaLogReader]:
    """A reader that needs nothing but the brokers' addresses. Raises LogAway."""
    async with KafkaLog(bootstrap_servers, security=security) as kafka:
        schemas = SchemaTopic(kafka, codec or prepared_codec(), f"{prefix}.schemas")
        yield KafkaLogReader(bootstrap_servers, schemas, on_foreign, security)
