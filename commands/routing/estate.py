"""All partitions of the rooms as one process sees them: each may become its own; and the claims that it knows of all of them."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from commands.decider import Decider
from commands.ownership.appending import World
from commands.ownership.groups import Limits
from commands.ownership.memory import Memory, Room
from commands.ownership.owner import Owner
from commands.ownership.partition import OwnedPartition, Patience
from commands.ownership.streams import Streams
from commands.ports import Claim, Place
from commands.routing.claims import Claims
from commands.routing.watching import Watching
from events.admission import Verdict
from events.codec import Codec
from events.streams import partition_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """One partition as this process sees it now. `holder` is the address of the last known claim, empty for nobody.

    `counts` says what was dropped on the way, and why; `dropped` where the last of it lies, `superseded` where the last claims do
    that ended ours.
    """

    place: Place
    owned: bool
    assigned: bool
    holder: str
    term: int
    next_offset: int
    streams: int
    superseded_at: int | None
    counts: Mapping[Verdict, int]
    dropped: Sequence[tuple[int, Verdict]] = ()
    superseded: Sequence[int] = ()
    memory: Memory | None = None


class Estate:
    """The partitions by their places, and `commands.ownership.appending.Witness` of how they change hands.

    `leaving`: those that are being given up, each until it is known where its commands go.
    """

    def __init__(  # noqa: PLR0913 - what every partition is made of
        self,
        topics: Mapping[str, tuple[str, int]],
        deciders: Mapping[str, Decider[Any, Any, Any]],
        codec: Codec,
        world: World,
        *,
        address: str,
        claims: Claims,
        watching: Watching,
        patience: Patience,
        limits: Limits,
    ) -> None:
        self.address = address
        self.claims = claims
        self.assigned: frozenset[Place] = frozenset()
        self.leaving: dict[Place, asyncio.Event] = {}
        self._watching = watching

        # One memory, so that a partition that is busy has what the others do not use.
        room = Room()

        def partition(place: Place) -> OwnedPartition:
            owner = Owner(place, Streams(deciders, codec, room), address, limits)
            return OwnedPartition(owner, world, patience, watching.tell, address=address, witness=self, known=claims.of)

        self._by_room = {room: [partition(Place(topic, number)) for number in range(count)] for room, (topic, count) in topics.items()}
        self.by_place = {each.owner.place: each for partitions in self._by_room.values() for each in partitions}

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(self.by_place.values())

    def at(self, room: str, key: bytes) -> OwnedPartition | None:
        """The partition of a stream; None for a room whose topic is not known here."""
        partitions = self._by_room.get(room)
        return None if partitions is None else partitions[_partition_of(key, len(partitions))]

    def of_room(self, room: str) -> Sequence[OwnedPartition]:
        """All partitions of a room's topic."""
        return self._by_room.get(room, ())

    def leave(self, partition: OwnedPartition, successor: str) -> None:
        """Finish what waits and give it up. Whoever asks meanwhile waits until it is known where to go."""
        self.leaving[partition.owner.place] = asyncio.Event()
        partition.stop(successor)

    def left(self, place: Place, released: Claim | None) -> None:
        """We write no more; who still asks us is sent to the successor."""
        known = self.claims.of(place)
        if known is not None and released is not None:
            self.claims.correct(place, known, released)
        if place in self.leaving:
            self.leaving[place].set()

    def heard(self, place: Place, claim: Claim) -> None:
        self.claims.learn(place, claim)

    def owned(self, place: Place, claim: Claim) -> None:
        self.claims.announce(place, claim)

    def lost(self, place: Place) -> None:
        owner = self.by_place[place].owner
        self._watching.lost(place, (owner.next_offset, owner.fence))

    def ownerships(self) -> Sequence[Ownership]:
        """How every partition stands, for people and metrics."""
        return [self._ownership(partition.owner) for partition in self]

    def _ownership(self, owner: Owner) -> Ownership:
        known = self.claims.of(owner.place)
        return Ownership(
            place=owner.place,
            owned=owner.owns,
            assigned=owner.place in self.assigned,
            holder="" if known is None else known.address,
            term=owner.fence.term if known is None else max(owner.fence.term, known.term),
            next_offset=owner.next_offset,
            streams=len(owner.streams),
            superseded_at=owner.superseded_at,
            counts=Counter(owner.counts),
            dropped=tuple(owner.dropped),
            superseded=tuple(owner.superseded),
            memory=owner.streams.memory,
        )


@lru_cache(maxsize=1 << 13)
def _partition_of(key: bytes, partitions: int) -> int:
    return partition_of(key, partitions)
