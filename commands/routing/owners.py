"""Dispatch and Watch for one process: what it owns it decides itself, everything else goes to whoever owns it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import structlog

from commands.decider import Decider
from commands.dispatch import Committed, Order, UnknownCategory, Watcher
from commands.ownership.appending import Superseded, Ticket, World
from commands.ownership.groups import DEFAULT_LIMITS, Limits, Submission
from commands.ownership.partition import OwnedPartition, Patience
from commands.ports import Place
from commands.routing.claims import Claims, KnownClaims
from commands.routing.estate import Estate, Ownership
from commands.routing.forwarding import Forwarding
from commands.routing.lines import Lines
from commands.routing.ports import Assignments, Peers, Tails
from commands.routing.seeking import Seeking
from commands.routing.serving import Serving
from commands.routing.watching import Beginning, Watching
from commands.wire import CommandWire
from events.admission import UNCLAIMED, Fence
from events.codec import Codec
from events.streams import StreamId

log = structlog.get_logger()

_SWEEP_SECONDS = 0.1
_DRAWS = 1_000


class Owners:
    """`commands.dispatch.Dispatch` (call it) and `Watch` (`watch`). An async context manager.

    `topics` are the rooms' topics with their partition counts, by room. Without `assignments` everything is ours: entering claims
    it all before it returns. Without `peers` nobody else can be asked, without `tails` nobody else's partitions are watched. `wire`
    is one of the same deciders, where it is made already. All its methods belong to one event loop.
    """

    def __init__(  # noqa: PLR0913 - one process's whole wiring
        self,
        topics: Mapping[str, tuple[str, int]],
        deciders: Mapping[str, Decider[Any, Any, Any]],
        codec: Codec,
        world: World,
        *,
        address: str,
        peers: Peers | None = None,
        claims: Claims | None = None,
        assignments: Assignments | None = None,
        tails: Tails | None = None,
        patience: Patience | None = None,
        limits: Limits = DEFAULT_LIMITS,
        wire: CommandWire | None = None,
    ) -> None:
        self._deciders = deciders
        self._world = world
        self._assignments = assignments
        self._patience = patience or Patience()
        self._claims = claims or KnownClaims()
        self._watching = Watching(codec, tails, begin=self._beginning, owned_to=self._owned_to)
        self._estate = Estate(
            topics, deciders, codec, world, address=address, claims=self._claims, watching=self._watching, patience=self._patience,
            limits=limits,
        )  # fmt: skip
        wire = wire or CommandWire(deciders)
        self._lines = Lines(peers, address, self._patience.silence_seconds)
        self._forwarding = Forwarding(self._lines, self._claims, codec, wire)
        self._seek = Seeking(self._claims, self._lines, self._forwarding)
        self.serve = Serving(self._estate, deciders, codec, wire)
        self._tasks = asyncio.TaskGroup()
        self._ending: list[asyncio.Task[None]] = []
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Where everything is ours, returns when it was claimed, and raises CannotOwn or HistoryLost for what must not be."""
        self._loop = asyncio.get_running_loop()
        await self._tasks.__aenter__()
        self._watching.open(self._tasks)
        self._ending.append(self._tasks.create_task(self._sweep(), name="sweep what waits too long"))
        if self._assignments is not None:
            following = self._follow(self._assignments)
            self._ending.append(self._tasks.create_task(following, name="follow the assignment of partitions"))
        else:
            self._assign(frozenset(self._estate.by_place))
        for partition in self._estate:
            self._running.append(self._tasks.create_task(self._run(partition), name=f"own {partition.owner.place}"))
        if self._assignments is None:
            try:
                for partition in self._estate:
                    await partition.started
            except BaseException as error:
                await self._leave(error)
                raise
            log.info("partitions-claimed", count=len(self._estate.by_place))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finishes what waits, and hands each partition over to another process that owns some; one that is alone releases them."""
        await self._leave(error)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        """As `commands.dispatch.Dispatch` says. Raises UnknownCategory for a stream that nobody decides about."""
        if stream.category != decider.category or self._deciders.get(decider.category) is not decider:
            raise UnknownCategory(f"{stream} is no stream of a registered decider")
        loop = self._loop
        answer: asyncio.Future[Committed] = loop.create_future()
        ticket = Ticket(answer, loop.time() + self._patience.answer_seconds)
        submission = Submission(decider, stream, command, order, expected_version, ticket)
        partition = self._estate.at(decider.room, submission.key)
        if partition is None:
            raise UnknownCategory(f"{stream} belongs to {decider.room!r}, whose topic is not known here")
        if partition.takes:
            try:
                partition.submit(submission)
                return await answer
            except Superseded:
                pass
        return await self._seek(partition, submission)

    def watch(self, stream: StreamId, watcher: Watcher) -> Callable[[], None]:
        """As `commands.dispatch.Watch` says. Where another process owns the partition, what it confirms in the first moment is not told."""
        decider = self._deciders.get(stream.category)
        partition = None if decider is None else self._estate.at(decider.room, stream.key)
        if partition is None:
            raise UnknownCategory(f"{stream} is of no room whose topic is known here")
        return self._watching.watch(stream, partition.owner.place, watcher)

    def mint(self, room: str, tenant: str, category: str, new_id: Callable[[], str]) -> str:
        """An id whose stream falls on a partition that we own: `new_id` is called until it does; any id where we own none.

        `new_id` draws ids that nobody has used: what it gives is known to have no history, so nothing is loaded for it.
        """
        drawn = new_id()
        for _ in range(_DRAWS if any(partition.owner.owns for partition in self._estate.of_room(room)) else 0):
            key = f"{tenant}/{category}/{drawn}".encode()
            partition = self._estate.at(room, key)
            if partition is not None and partition.owner.owns:
                partition.owner.streams.minted(key)
                break
            drawn = new_id()
        return drawn

    @property
    def address(self) -> str:
        """That of this process, as it stands in its claims."""
        return self._estate.address

    async def lives(self, address: str) -> bool:
        """Whether the process at that address answers, and is still the one that it was. Asks it; bounded."""
        return address == self._estate.address or (self._lines.may_live(address) and await self._lines.lives(address))

    def owns(self, room: str, stream: StreamId) -> bool:
        """Whether this process decides about the stream."""
        partition = self._estate.at(room, stream.key)
        return partition is not None and partition.owner.owns

    def ownerships(self) -> Sequence[Ownership]:
        """How every partition stands, for people and metrics."""
        return self._estate.ownerships()

    def _owned_to(self, place: Place) -> int | None:
        owner = self._estate.by_place[place].owner
        return owner.next_offset if owner.owns else None

    async def _beginning(self, place: Place) -> Beginning:
        """The present end of a partition, as its owner knows it; else the end that the broker says, read from the last known claim."""
        claim = self._claims.of(place)
        if claim is not None and self._lines.may_live(claim.address):
            standing = await self._forwarding.standing(claim, place)
            if standing is not None:
                return Beginning(*standing, standing.next_offset)
        end = await self._world.log.end_offset(place)
        if claim is None:
            return Beginning(0, UNCLAIMED, end)
        return Beginning(claim.offset, Fence(claim.term, claim.claim_id), end)

    async def _follow(self, assignments: Assignments) -> None:
        generation = -1
        async with aclosing(assignments.changes()) as changes:
            async for assignment in changes:
                if assignment.generation > generation:
                    generation = assignment.generation
                    self._assign(assignment.places & self._estate.by_place.keys())
                    log.info("partitions-assigned", generation=generation, count=len(self._estate.assigned))

    def _assign(self, places: frozenset[Place]) -> None:
        """Claim what is newly ours. What was ours before, and somebody took who needed it, stays there for as long as they live.

        What is no longer ours stays in our hands until its new owner claims it: so nobody goes without an owner meanwhile.
        """
        before, self._estate.assigned = self._estate.assigned, places
        elsewhere: dict[str, list[OwnedPartition]] = {}
        for place in sorted(places):
            partition, known = self._estate.by_place[place], self._claims.of(place)
            if place not in before:
                partition.assign()
            elif known is not None and known.address not in {"", self._estate.address}:
                elsewhere.setdefault(known.address, []).append(partition)
        if elsewhere:
            self._tasks.create_task(self._relieve(elsewhere), name="claim what is assigned to us and held by the dead")

    async def _relieve(self, elsewhere: Mapping[str, Sequence[OwnedPartition]]) -> None:
        for address, partitions in elsewhere.items():
            if not await self._lines.lives(address):
                for partition in partitions:
                    partition.assign()

    async def _run(self, partition: OwnedPartition) -> None:
        try:
            await partition.run()
        finally:
            self._estate.left(partition.owner.place, partition.released)
        if partition.released is not None and partition.released.address:
            await self._forwarding.hand_over(partition.owner.place, partition.released, self._patience.hand_over_seconds)

    async def _leave(self, error: BaseException | None) -> None:
        for task in self._ending[1:]:
            task.cancel()
        # Our caller's own error passes by as it is; a cancellation may be the group's, which knows its cause. It ends all at once.
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        successors = [] if cancelled else await self._successors()
        owned = [partition for partition in self._estate if partition.owner.owns] if successors else []
        heirs = {partition.owner.place: successors[number % len(successors)] for number, partition in enumerate(owned)}
        for partition in self._estate:
            if partition.owner.place not in heirs:
                partition.stop()
        handed = [self._tasks.create_task(self._hand_on(self._estate.by_place[place], heir)) for place, heir in heirs.items()]
        if handed:
            await asyncio.wait(handed)
        self._watching.close()
        if self._running and cancelled is None:
            await asyncio.wait(self._running)
        for task in self._ending:
            task.cancel()
        await self._tasks.__aexit__(None if cancelled is None else type(cancelled), cancelled, None)

    async def _hand_on(self, partition: OwnedPartition, successor: str) -> None:
        """Go on answering until the successor has read what there is; then give the partition up to it."""
        await self._forwarding.prepare(partition.owner.place, successor, self._patience.hand_over_seconds)
        self._estate.leave(partition, successor)

    async def _successors(self) -> list[str]:
        """The other processes that own something and live."""
        known = {claim.address for place in self._estate.by_place if (claim := self._claims.of(place)) is not None}
        asked = {address: self._tasks.create_task(self._lines.lives(address)) for address in sorted(known) if self._lines.may_live(address)}
        if asked:
            await asyncio.wait(asked.values())
        return [address for address, lives in asked.items() if not lives.cancelled() and lives.result()]

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for partition in self._estate:
                partition.sweep(loop.time())
            for address in self._lines.suspects(loop.time()):
                self._tasks.create_task(self._lines.probe(address), name="ask a silent process whether it lives")
