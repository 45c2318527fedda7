"""The owners of a process, wired: what it should own, how others reach it, and how it follows what they own."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from commands.ownership.appending import World
from commands.ports import Place
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from commands.routing.ports import Assignment, Assignments
from infra.adapters.kafka.claims import ClaimsTopic
from infra.adapters.kafka.membership import FixedAssignments, Share
from infra.adapters.kafka.snapshots import KafkaSnapshots
from infra.adapters.kafka.tails import KafkaTails
from infra.adapters.kafka.topics import manifests
from infra.adapters.peer_identity import PeerIdentity, local_identity, read_identity
from infra.adapters.peers import PeerServer, SocketPeers
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.history import PostgresHistories
from infra.apps.alongside import alongside
from infra.apps.footing import Footing
from infra.apps.listening import listen
from infra.settings import Settings

# A call's appends are local where its worker owns the partition: these rooms are for voice workers. A commands process takes one of
# their partitions over only by need, when no worker lives that would answer.
_VOICE = frozenset({"calls"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Owning:
    """The owners of this process, the address in their claims, and where claims lie."""

    owners: Owners
    address: str
    claims: ClaimsTopic


@asynccontextmanager
async def running_owners(footing: Footing) -> AsyncIterator[Owning]:
    """Whoever dispatches has them. Raises CannotOwn or HistoryLost for a partition that must not be owned, AddressUnavailable.

    At the end each partition is handed over to another process, which meanwhile is answered here.
    """
    settings = footing.settings
    identity = identity_of(settings)
    async with AsyncExitStack() as stack:
        # Without the journal owners go on, and read more of the log.
        pool = await stack.enter_async_context(connected(footing.services.postgres, purpose="owners", least=0))
        (manifest,) = [each for each in manifests() if each.room == "snapshots"]
        snapshots = KafkaSnapshots(footing.kafka, manifest.partitions[settings.surroundings], manifest.topic())
        await stack.enter_async_context(alongside({"learn where snapshots are": snapshots.follow}))
        world = World(
            log=footing.kafka, schemas=footing.schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom,
            histories=PostgresHistories(pool), snapshots=snapshots,
        )  # fmt: skip
        claims = await stack.enter_async_context(
            ClaimsTopic(footing.services.kafka, footing.kafka, footing.schemas, footing.schemas.codec, security=footing.security)
        )
        listening = listen(settings.peer_host, settings.peer_port, setting="AYBIZA_PEER_PORT")
        stack.callback(listening.close)
        # The same host and port with another incarnation: who was there before is dead.
        address = f"{settings.peer_host}:{listening.getsockname()[1]}/{secrets.token_hex(4)}"
        peers = await stack.enter_async_context(SocketPeers(identity.client))
        owners = Owners(
            footing.topics, DECIDERS, footing.schemas.codec, world, address=address, peers=peers, claims=claims,
            tails=KafkaTails(footing.reader), assignments=_assignments(footing),
        )  # fmt: skip
        await stack.enter_async_context(PeerServer(owners.serve, listening, identity.server))
        yield Owning(owners=await stack.enter_async_context(owners), address=address, claims=claims)


def identity_of(settings: Settings) -> PeerIdentity:
    """By which other processes know this one: as the settings say, else as the state folder has it. Raises IdentityUnusable."""
    if settings.peer_ca_file is None or settings.peer_certificate_file is None or settings.peer_key_file is None:
        return local_identity(settings.wrapping_key_file.parent / "peers")
    return read_identity(settings.peer_ca_file, settings.peer_certificate_file, settings.peer_key_file)


def _assignments(footing: Footing) -> Assignments:
    """By the role, unless a person said which share this process owns. Processes that only dispatch own nothing but by need."""
    works = {"commands": footing.topics.keys() - _VOICE, "realtime": _VOICE}
    ours = [each for each in works if footing.role in {each, "all"}]
    if footing.settings.owned is not None or not ours:
        topics = [footing.topics[room] for each in ours for room in works[each]]
        places = [Place(topic, number) for topic, count in topics for number in range(count)]
        return FixedAssignments(places, Share(footing.settings.owned or "all"))
    return Together([footing.shared(each, [footing.topics[room][0] for room in works[each]]) for each in ours])


class Together:
    """`commands.routing.ports.Assignments` of several groups: what they assign together."""

    def __init__(self, parts: Sequence[Assignments]) -> None:
        self._parts = parts

    async def changes(self) -> AsyncGenerator[Assignment, None]:
        """Once all have spoken, and then at each change of one of them."""
        newest: dict[int, frozenset[Place]] = {}
        changed = asyncio.Event()

        async def follow(number: int, part: Assignments) -> None:
            async with aclosing(part.changes()) as changes:
                async for assignment in changes:
                    newest[number] = assignment.places
                    changed.set()

        work = {f"follow group {number}": lambda number=number, part=part: follow(number, part) for number, part in enumerate(self._parts)}
        generation = 0
        async with alongside(work):
            while True:
                await changed.wait()
                changed.clear()
                if len(newest) == len(self._parts):
                    generation += 1
                    yield Assignment(generation=generation, places=_union(newest.values()))


def _union(parts: Collection[frozenset[Place]]) -> frozenset[Place]:
    return frozenset().union(*parts)
