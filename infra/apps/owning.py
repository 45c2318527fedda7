"""The owners of a process, wired: what it should own, how others reach it, and how it follows what they own."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from commands.ownership.appending import World
from commands.ports import Place
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from commands.routing.ports import Assignments
from infra.adapters.kafka.membership import FixedAssignments, Share
from infra.apps.footing import Footing

# A call's appends are local when its worker owns the partition: these topics are for voice workers, and a commands process takes
# one of their partitions over only by need, when no worker lives that would.
VOICE = frozenset({"calls"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Owning:
    """The owners of this process, and the address in their claims."""

    owners: Owners
    address: str


@asynccontextmanager
async def running_owners(footing: Footing) -> AsyncIterator[Owning]:
    """Whoever dispatches has them. Raises CannotOwn or HistoryLost for a partition that must not be owned."""
    world = World(log=footing.kafka, schemas=footing.schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
    # Until processes can be reached, whoever dispatches owns everything.
    async with Owners(footing.topics, DECIDERS, footing.schemas.codec, world, address="local") as owners:
        yield Owning(owners=owners, address="local")


def _assignments(footing: Footing) -> Assignments:
    """By the role, unless a person said which share this process owns. Processes that only dispatch own nothing but by need."""
    rooms = {
        "all": frozenset(footing.topics),
        "commands": footing.topics.keys() - VOICE,
        "realtime": VOICE,
    }.get(footing.role, frozenset())
    if footing.settings.owned is not None or not rooms:
        places = [Place(topic, number) for room in rooms for topic, count in [footing.topics[room]] for number in range(count)]
        return FixedAssignments(places, Share(footing.settings.owned or "all"))
    return footing.shared(footing.role, [footing.topics[room][0] for room in sorted(rooms)])
