"""A process among others that own partitions: within a test, or as a program that a test may kill (`python -m tests.neighbour`)."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from commands.ownership.appending import World
from commands.ownership.partition import Patience
from commands.ports import Place
from commands.routing.owners import Owners
from events.rooms import prepared_codec
from infra.adapters.kafka.claims import ClaimsTopic
from infra.adapters.kafka.membership import FixedAssignments, Share
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.tails import KafkaTails
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.peer_identity import local_identity
from infra.adapters.peers import PeerServer, SocketPeers
from infra.local.ports import LOOPBACK
from tests.kafka_corner import DECIDERS, Corner


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One process's owners, as others reach them."""

    owners: Owners
    address: str
    claims: ClaimsTopic

    def owned(self) -> set[Place]:
        return {each.place for each in self.owners.ownerships() if each.owned}


@asynccontextmanager
async def neighbour(corner: Corner, folder: Path, places: Collection[Place], patience: Patience | None = None) -> AsyncIterator[Neighbour]:
    """Everything that a process has which dispatches; `folder` is the installation's."""
    identity = local_identity(folder / "peers")
    listening = socket.create_server((LOOPBACK, 0))
    address = f"{LOOPBACK}:{listening.getsockname()[1]}/{os.urandom(4).hex()}"
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(KafkaLog(corner.bootstrap))
        schemas = SchemaTopic(log, prepared_codec(), f"{corner.prefix}.schemas")
        claims = await stack.enter_async_context(
            ClaimsTopic(corner.bootstrap, log, schemas, schemas.codec, f"{corner.prefix}.claims"),
        )
        owners = Owners(
            {"flags": (corner.flags, corner.partitions)},
            DECIDERS,
            schemas.codec,
            World(log=log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom),
            address=address,
            peers=await stack.enter_async_context(SocketPeers(identity.client)),
            claims=claims,
            assignments=FixedAssignments(places, Share("all")),
            tails=KafkaTails(KafkaLogReader(corner.bootstrap, schemas)),
            patience=patience,
        )
        await stack.enter_async_context(PeerServer(owners.serve, listening, identity.server))
        await stack.enter_async_context(owners)
        yield Neighbour(owners, address, claims)


async def until_owned(here: Neighbour, places: Collection[Place]) -> None:
    """Returns when it owns all of them."""
    async with asyncio.timeout(120):
        while not here.owned() >= set(places):
            await asyncio.sleep(0.002)


class Child:
    """A neighbour in a process of its own, that owns the given partitions of the corner."""

    def __init__(self, corner: Corner, folder: Path, partitions: Collection[int]) -> None:
        self._arguments = [corner.bootstrap, corner.prefix, str(folder), ",".join(map(str, partitions))]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it owns them."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.neighbour", *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        if self._process.stdout is None or not await self._process.stdout.readline():
            raise RuntimeError("the neighbour did not begin")

    async def end(self, by: signal.Signals) -> None:
        """Send it a signal; returns when it has ended."""
        self.signal(by)
        if self._process is not None:
            await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, and do not wait. Who has ended already gets none."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _main(bootstrap: str, prefix: str, folder: str, partitions: str) -> None:
    corner = Corner(bootstrap, prefix)
    places = [Place(corner.flags, int(number)) for number in partitions.split(",") if number]
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with neighbour(corner, Path(folder), places) as here:
        await until_owned(here, places)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stopping.wait()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    uvloop.run(_main(*sys.argv[1:]))
