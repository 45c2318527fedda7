"""One application of the `eventsourcing` library on our log: an owner of its topic, and a reading that never ends."""

import asyncio
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from commands.dispatch import CommitInDoubt, Committed, LogUnavailable, Order
from commands.guests import GUESTS, StoreGuestEvents
from commands.ownership.appending import World
from commands.ownership.partition import Patience
from commands.ports import Place
from commands.routing.owners import Owners
from events.admission import UNCLAIMED
from events.codec import Codec
from events.guests import GuestEventStored, GuestProgressTracked
from events.headers import Kind
from events.records import AdmittedBatch, RawRecord, recorded
from events.registry import known_types
from events.sealing import digest_of
from events.streams import PLATFORM, StreamId
from infra.adapters.eventsourcing_log.index import Index
from infra.adapters.kafka.claims import ClaimsTopic
from infra.adapters.kafka.examining import Surroundings
from infra.adapters.kafka.membership import FixedAssignments, Share
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import Manifest, ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.peer_identity import PeerIdentity
from infra.adapters.peers import PeerServer, SocketPeers

_PARTITION = 0
_MECHANISM = frozenset({"claims", "schemas"})
_OPEN_SECONDS = 30.0
_PAGE = 500
# Processes that cannot reach each other take turns, by seconds.
_TURNS = Patience(superseded_seconds=0.25, superseded_most_seconds=1.0)
_NEAR = 64
"""So many records of others are read over rather than asked around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Where an application's events lie, and how its processes reach each other: with an identity that they share, or not at all.

    `patience_seconds` bounds how long a write is tried while the log is away; `writers` are the principals who may write.
    """

    application: str
    bootstrap_servers: str
    prefix: str
    surroundings: Surroundings
    patience_seconds: float
    writers: tuple[str, ...]
    peer_host: str
    peer_identity: PeerIdentity | None

    def manifest(self) -> Manifest:
        """One partition: the application's events have one order, and what is saved together lies together."""
        return Manifest(
            room=f"guests-{self.application}",
            generation=1,
            owner=self.application,
            holds=f"the events of {self.application}",
            key="platform/guests/application:purpose",
            partitions={"local": 1, "production": 1},
            cleanup="delete",
            retention="for-ever",
            residency="home-region",
        )

    def sequence(self, purpose: str) -> StreamId:
        """The stream of what is recorded for one purpose: its events, its snapshots."""
        return StreamId(PLATFORM, GUESTS.category, f"{self.application}:{purpose}")


class Lodging:
    """Use it as an async context manager. It claims its partition with the first write: who only reads disturbs nobody."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._place = Place(lease.manifest().topic(lease.prefix), _PARTITION)
        self._log = KafkaLog(lease.bootstrap_servers)
        codec = Codec()
        codec.prepare([kind for kind in known_types() if kind.room in {GUESTS.room, "ownership"}])
        self._schemas = SchemaTopic(self._log, codec, f"{lease.prefix}.schemas")
        self._indexes: defaultdict[bytes, Index] = defaultdict(Index)
        self._read_to = 0
        self._fence = UNCLAIMED
        self._written_to = 0
        self._moved = asyncio.Condition()
        self._owners: asyncio.Future[Owners] = asyncio.get_running_loop().create_future()
        self._wanted = asyncio.Event()

    async def live(self, opened: Callable[[], None], closing: asyncio.Event) -> None:
        """Be there until `closing`.

        Raises KafkaUnreachable, TopicsRefused or TimeoutError before `opened`, HistoryLost or CannotOwn at any time.
        """
        lease = self.lease
        wanted = [lease.manifest(), *(manifest for manifest in manifests() if manifest.room in _MECHANISM)]
        async with asyncio.timeout(_OPEN_SECONDS):
            await ensure_topics(lease.bootstrap_servers, wanted, lease.surroundings, prefix=lease.prefix, writers=lease.writers)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._log)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            following = tasks.create_task(self._follow(), name=f"follow {self._place}")
            closed = tasks.create_task(closing.wait(), name="wait for the end")
            written = tasks.create_task(self._wanted.wait(), name="wait for the first write")
            stack.callback(following.cancel)
            stack.callback(written.cancel)
            opened()
            await asyncio.wait([closed, written], return_when=asyncio.FIRST_COMPLETED)
            if not closed.done():
                self._owners.set_result(await self._own(stack))
                await closed

    async def store(self, sequence: StreamId, command: StoreGuestEvents) -> Sequence[int]:
        """All events and the progress in one commit; returns the events' numbers.

        Raises CommandRefused, CommitTooLarge, LogUnavailable or CommitInDoubt.
        """
        committed = await self._committed(sequence, command)
        self._written_to = max(self._written_to, committed.position.offset + 1)
        if committed.facts:
            return [each.fact.ordinal for each in committed.facts if isinstance(each.fact, GuestEventStored)]
        # A repeat, for the first answer was lost: the facts are no longer at hand.
        index = await self.caught_up(sequence)
        return [index.of(event.originator, event.version - 1, event.version)[0] for event in command.events]

    async def caught_up(self, sequence: StreamId) -> Index:
        """The sequence with all that was committed before this was asked, by whomever. Raises LogAway."""
        end = max(await self._log.end_offset(self._place), self._written_to)
        async with self._moved:
            await self._moved.wait_for(lambda: self._read_to >= end)
        return self._indexes[sequence.key]

    async def moved_past(self, sequence: StreamId, number: int, stopped: Callable[[], bool]) -> Index:
        """The sequence once it has an event after this number, or once it is `stopped`; then `wake` must be called."""
        index = self._indexes[sequence.key]
        async with self._moved:
            await self._moved.wait_for(lambda: len(index.offsets) > number or stopped())
        return index

    async def wake(self) -> None:
        """Let those look again who wait for the sequence to move."""
        async with self._moved:
            self._moved.notify_all()

    async def events(self, index: Index, numbers: Sequence[int]) -> Sequence[GuestEventStored]:
        """The events with these numbers, in that order. Raises LogAway."""
        found = {number: event for number in numbers if (event := index.at_hand(number)) is not None}
        missing = {index.offsets[number - 1] for number in numbers if number not in found}
        for first, last in _stretches(sorted(missing)):
            async with aclosing(self._log.read(self._place, first, last + 1)) as parts:
                async for part in parts:
                    for raw in part:
                        if raw.offset in missing:
                            fact = self._decoded(raw)
                            if isinstance(fact, GuestEventStored):
                                index.keep(fact)
                                found[fact.ordinal] = fact
        return [found[number] for number in numbers]

    async def term(self) -> int:
        """How often the partition was claimed, as far as was read."""
        return self._fence.term

    async def page(self, index: Index, first: int, last: int, limit: int, topics: Sequence[str]) -> Sequence[GuestEventStored]:
        """Up to `limit` events from number `first` to `last`, of these topics if any are given. Raises LogAway."""
        found: list[GuestEventStored] = []
        while first <= last and len(found) < limit:
            size = _PAGE if topics else limit - len(found)
            events = await self.events(index, range(first, min(last, first + size - 1) + 1))
            found += [event for event in events if not topics or event.topic in topics]
            first += size
        return found[:limit]

    async def _committed(self, sequence: StreamId, command: StoreGuestEvents) -> Committed:
        self._wanted.set()
        owners = await asyncio.shield(self._owners)
        order = Order(
            command_id=os.urandom(16),
            digest=digest_of(repr(command).encode()),
            actor=f"eventsourcing/{self.lease.application}",
            occurred_at=datetime.now(UTC),
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + self.lease.patience_seconds
        doubt: CommitInDoubt | None = None
        while True:
            try:
                return await owners(GUESTS, sequence, command, order)
            except LogUnavailable as away:
                if loop.time() > until:
                    raise doubt or away from None
                await asyncio.sleep(away.retry_after_ms / 1000)
            except CommitInDoubt as error:
                # The same id again: it is found, or decided anew. Only a clean answer ends the doubt.
                doubt = error
                if loop.time() > until:
                    raise

    async def _own(self, stack: AsyncExitStack) -> Owners:
        """Owners who claim when they must: what another process of the application holds stays there while it can be reached."""
        lease, identity = self.lease, self.lease.peer_identity
        world = World(log=self._log, schemas=self._schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        codec = self._schemas.codec
        claims = ClaimsTopic(lease.bootstrap_servers, self._log, self._schemas, codec, f"{lease.prefix}.claims")
        listening = socket.create_server((lease.peer_host, 0))
        stack.callback(listening.close)
        owners = Owners(
            {GUESTS.room: (self._place.topic, 1)},
            {GUESTS.category: GUESTS},
            codec,
            world,
            address=f"{lease.peer_host}:{listening.getsockname()[1]}/{os.urandom(4).hex()}",
            peers=None if identity is None else await stack.enter_async_context(SocketPeers(identity.client)),
            claims=await stack.enter_async_context(claims),
            assignments=FixedAssignments((), Share("all")),
            patience=_TURNS if identity is None else None,
        )
        if identity is not None:
            await stack.enter_async_context(PeerServer(owners.serve, listening, identity.server))
        return await stack.enter_async_context(owners)

    async def _follow(self) -> None:
        reader = KafkaLogReader(self.lease.bootstrap_servers, self._schemas)
        async with aclosing(reader.batches([self._place.topic], {})) as batches:
            async for batch in batches:
                self._take(batch)
                await self.wake()

    def _take(self, batch: AdmittedBatch) -> None:
        for raw in batch.records:
            if raw.header is not None and raw.header.kind is Kind.EVENT:
                fact = self._decoded(raw)
                if isinstance(fact, GuestEventStored | GuestProgressTracked):
                    self._indexes[raw.key].take(fact, raw.offset)
        self._read_to, self._fence = batch.next_offset, batch.fence

    def _decoded(self, raw: RawRecord) -> object:
        return recorded(raw, self._schemas.codec).fact


def _stretches(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """What is read in one go: first and last offset of each."""
    first = last = -1
    for offset in offsets:
        if first < 0:
            first = offset
        elif offset - last > _NEAR:
            yield first, last
            first = offset
        last = offset
    if first >= 0:
        yield first, last
