"""The index of claims on Kafka: what others announce is learned as it comes, and our own claims are announced."""

import asyncio
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog

from commands.ports import AppendInDoubt, Claim, HistoryLost, Log, LogAway, NewRecord, Place, SchemaRegister
from commands.routing.claims import KnownClaims
from events.admission import Fence
from events.codec import BrokenBody, Codec, UnknownSchema, mark_of
from events.ownership import ClaimAnnounced
from events.records import RawRecord
from events.registry import EventType, UnknownEvent, type_named
from infra.adapters.kafka.fetching import LATEST, TryElsewhere, fetch, offsets, records_in
from infra.adapters.kafka.link import Link
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity

log = structlog.get_logger()

TOPIC = "aybiza.claims"
_HEADERS = [("content-type", b"application/avro")]
_WAIT_MS = 500
_RETRY_SECONDS = 0.2
_CAUGHT_UP_SECONDS = 5.0
_SCHEMA_SECONDS = 5.0
_INDEXED = 1_000
"""Claims kept of one partition, the newest ones."""


class ClaimsTopic(KnownClaims):
    """`commands.routing.claims.Claims`, and `reader.ClaimIndex`. Use it as an async context manager.

    Entering returns when what was announced before is known, or after a few seconds. Without the broker it knows what it heard otherwise.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        kafka: Log,
        schemas: SchemaRegister,
        codec: Codec,
        topic: str = TOPIC,
        security: KafkaSecurity = IN_CLEAR,
    ) -> None:
        super().__init__(self._to_be_said)
        self._kafka = kafka
        self._schemas = schemas
        self._codec = codec
        self._place = Place(topic, 0)
        self._link = Link(bootstrap_servers, "claims", security=security)
        self._kind: EventType = type_named("claim-announced.v1")
        self._index: defaultdict[Place, list[tuple[int, Fence]]] = defaultdict(list)
        self._unsaid: dict[Place, Claim] = {}
        self._work = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Raises LogAway when no broker answers."""
        await self._link.__aenter__()
        await self._tasks.__aenter__()
        self._running = [
            self._tasks.create_task(self._follow(), name="follow the claims of other processes"),
            self._tasks.create_task(self._announce(), name="announce claims"),
        ]
        try:
            async with asyncio.timeout(_CAUGHT_UP_SECONDS):
                await self._caught_up.wait()
        except TimeoutError:
            log.warning("claims-not-read", topic=self._place.topic)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._running:
            task.cancel()
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        await self._tasks.__aexit__(None if cancelled is None else type(cancelled), cancelled, None)
        await self._link.__aexit__(None, None, None)

    async def claim_before(self, place: Place, offset: int) -> tuple[int, Fence] | None:
        """As `infra.adapters.kafka.reader.ClaimIndex` says."""
        known = self._index[place]
        at = bisect_left(known, (offset, Fence()))
        return known[at - 1] if at else None

    def _to_be_said(self, place: Place, claim: Claim) -> None:
        self._unsaid[place] = claim
        self._work.set()

    async def _announce(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            said, self._unsaid = self._unsaid, {}
            if not said:
                continue
            try:
                await self._schemas.register([self._kind])
                await self._kafka.append(self._place, [self._record(place, claim) for place, claim in said.items()])
            except (LogAway, AppendInDoubt) as error:
                # Twice announced is as good as once; and what was claimed anew meanwhile is said instead.
                if isinstance(error, AppendInDoubt):
                    await self._kafka.sever(self._place)
                log.warning("claims-not-announced", count=len(said), reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                self._unsaid = said | self._unsaid
                self._work.set()

    def _record(self, place: Place, claim: Claim) -> NewRecord:
        term, claim_id, address, offset = claim
        word = ClaimAnnounced(
            topic=place.topic, partition=place.partition, term=term, claim_id=claim_id, address=address, offset=offset
        )  # fmt: skip
        return NewRecord(f"{place}/{claim.term}".encode(), self._codec.encode(word), time.time_ns() // 1_000_000, _HEADERS)

    async def _follow(self) -> None:
        offset, end = 0, None
        while True:
            node = await self._link.leader_of(*self._place)
            if node is None:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            try:
                if end is None:
                    end = (await offsets(self._link, node, [self._place], at=LATEST))[self._place]
                if offset >= end:
                    self._caught_up.set()
                for fetched in await fetch(self._link, node, {self._place: offset}, wait_ms=_WAIT_MS):
                    raws, offset = records_in(fetched)
                    await self._learn(raws)
            except TryElsewhere:
                await asyncio.sleep(_RETRY_SECONDS)
            except HistoryLost:
                # Only hints are lost with it: who has none reads the partition itself.
                log.exception("claims-lost", topic=self._place.topic)
                self._caught_up.set()
                return

    async def _learn(self, raws: Sequence[RawRecord]) -> None:
        for raw in raws:
            mark = mark_of(raw.value)
            try:
                if mark is not None and not self._codec.knows(mark):
                    async with asyncio.timeout(_SCHEMA_SECONDS):
                        await self._schemas.learn([mark])
                word = self._codec.decode(raw.value)
            except (BrokenBody, UnknownEvent, UnknownSchema, TimeoutError) as error:
                log.warning("claim-not-understood", topic=raw.topic, offset=raw.offset, reason=str(error))
                continue
            if isinstance(word, ClaimAnnounced):
                place = Place(word.topic, word.partition)
                self.learn(place, Claim(word.term, word.claim_id, word.address, word.offset))
                known = self._index[place]
                entry = (word.offset, Fence(word.term, word.claim_id))
                at = bisect_left(known, entry)
                if known[at : at + 1] != [entry]:
                    known.insert(at, entry)
                    del known[: -_INDEXED or None]
