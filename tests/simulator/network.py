"""The ways between processes: requests that are lost, late or refused, walls that let through one way only, claims that are heard of
late, a coordinator that assigns partitions, and readings of partitions that others own."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from commands.ports import Claim, Place
from commands.routing.claims import KnownClaims
from commands.routing.ports import Assignment, PeerBusy, Silent, Unreachable
from events.admission import Fence, Verdict, admit
from events.records import AdmittedBatch, RawRecord
from tests.simulator.log import Cluster
from tests.simulator.loop import ProcessLoop

Serve = Callable[[bytes], Awaitable[bytes]]


@dataclass(slots=True)
class _Station:
    """A process as the network finds it."""

    loop: ProcessLoop
    address: str
    serve: Serve
    claims: KnownClaims


class Network:
    """`walls` are one-way, by host, and stand until a time. `lossy_until`, `slow_until`: the weather everywhere."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.walls: dict[tuple[str, str], float] = {}
        self.lossy_until = 0.0
        self.slow_until = 0.0
        self._stations: dict[str, _Station] = {}
        self._announced: list[tuple[Place, Claim]] = []

    def heal(self) -> None:
        self.walls.clear()
        self.lossy_until = self.slow_until = 0.0

    def join(self, loop: ProcessLoop, address: str, serve: Serve, claims: KnownClaims) -> None:
        """A process listens at its address from now on; what was announced before it came it reads soon."""
        self._stations[_host(address)] = _Station(loop, address, serve, claims)
        loop.call_later(self.cluster.delay() * 5, self._catch_up, claims)

    def announce(self, address: str, place: Place, claim: Claim) -> None:
        """A claim is written for all to read; some read it late."""
        self._announced.append((place, claim))
        for host, station in self._stations.items():
            if host != _host(address):
                station.loop.call_later(self.cluster.delay() * self.cluster.draw.choice((1, 1, 50)), station.claims.learn, place, claim)

    def station(self, address: str) -> _Station | None:
        station = self._stations.get(_host(address))
        return None if station is None or station.loop.dead else station

    def stopped(self, origin: str, target: str, what: str) -> bool:
        """Whether something that is sent now does not arrive."""
        now, pair = self.cluster.scheduler.now, (_host(origin), _host(target))
        if self.walls.get(pair, 0.0) > now:
            self.cluster.story.met("one-way wall", what)
            return True
        if self.lossy_until > now and self.cluster.draw.random() < 0.3:
            self.cluster.story.met("message lost", what)
            return True
        return False

    def delay(self) -> float:
        slow = self.slow_until > self.cluster.scheduler.now
        return self.cluster.delay() * (200 if slow and self.cluster.draw.random() < 0.5 else 1)

    def _catch_up(self, claims: KnownClaims) -> None:
        for place, claim in self._announced:
            claims.learn(place, claim)


class SimulatedPeers:
    """`commands.routing.ports.Peers` as one process has it."""

    def __init__(self, network: Network, loop: ProcessLoop, address: str) -> None:
        self._network = network
        self._loop = loop
        self._address = address

    async def ask(self, address: str, request: bytes, seconds: float) -> bytes:
        network, site = self._network, f"{sys._getframe(1).f_code.co_qualname} > ask"
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if network.cluster.draw.random() < 0.002:
            network.cluster.story.met("peer busy", site)
            raise PeerBusy(20)
        if not network.stopped(self._address, address, site):
            network.cluster.loop.call_later(network.delay(), self._arrive, address, request, answer, site)
        if network.cluster.draw.random() < (0.1 if network.lossy_until > network.cluster.scheduler.now else 0.003):
            # The connection breaks, and what was sent over it may yet be read.
            network.cluster.story.met("connection broke", site)
            self._loop.call_later(network.delay(), _fail, answer, Silent())
        timer = self._loop.call_later(seconds, _fail, answer, Silent())
        try:
            return await answer
        finally:
            timer.cancel()

    def _arrive(self, address: str, request: bytes, answer: "asyncio.Future[bytes]", site: str) -> None:
        network = self._network
        station = network.station(address)
        if station is None:
            # The machine says at once that nobody listens, if it can be heard.
            if not network.stopped(address, self._address, site):
                network.cluster.story.met("peer refused", site)
                self._loop.call_later(network.delay(), _fail, answer, Unreachable())
            return
        station.loop.call_soon(self._accept, station, request, answer, site)
        self._watch(station, answer, site)

    def _accept(self, station: _Station, request: bytes, answer: "asyncio.Future[bytes]", site: str) -> None:
        async def serve() -> None:
            said = await station.serve(request)
            if not self._network.stopped(station.address, self._address, site):
                self._loop.call_later(self._network.delay(), _succeed, answer, said)

        station.loop.create_task(serve(), name=f"serve {self._address}")

    def _watch(self, station: _Station, answer: "asyncio.Future[bytes]", site: str) -> None:
        """A connection to a process that died breaks, mostly."""
        if answer.done():
            return
        if not station.loop.dead:
            self._network.cluster.loop.call_later(0.05, self._watch, station, answer, site)
        elif self._network.cluster.draw.random() < 0.8:
            self._network.cluster.story.met("connection broke", site)
            self._loop.call_soon(_fail, answer, Silent())


class Coordinator:
    """Assigns partitions to the processes that it believes in, stickily. `fixed`: once and for all."""

    def __init__(self, cluster: Cluster, *, fixed: bool) -> None:
        self.fixed = fixed
        self._cluster = cluster
        self._generation = 0
        self._holders: dict[Place, str] = {}
        self._members: dict[str, SimulatedAssignments] = {}

    def join(self, host: str, member: "SimulatedAssignments") -> None:
        self._members[host] = member
        self._again()

    def forget(self, host: str, member: "SimulatedAssignments") -> None:
        """A process is gone. That is noticed when its session ends, unless it is back by then."""
        self._cluster.loop.call_later(self._cluster.draw.choice((0.01, 1.0, 3.0)), self._leave, host, member)

    def _leave(self, host: str, member: "SimulatedAssignments") -> None:
        if self._members.get(host) is member and not self.fixed:
            del self._members[host]
            self._again()

    def shuffle(self) -> None:
        """For no reason that anybody can see."""
        draw, hosts = self._cluster.draw, sorted(self._members)
        if hosts and not self.fixed:
            for place in self._holders:
                if draw.random() < 0.5:
                    self._holders[place] = draw.choice(hosts)
            self._again()

    def _again(self) -> None:
        self._generation += 1
        hosts = sorted(self._members)
        for number, place in enumerate(self._cluster.partitions):
            if self._holders.get(place) not in self._members and hosts and not (self.fixed and place in self._holders):
                self._holders[place] = hosts[number % len(hosts)]
        for host, member in self._members.items():
            places = frozenset(place for place, holder in self._holders.items() if holder == host)
            member.hear(Assignment(generation=self._generation, places=places), self._cluster.delay() * 20)


class SimulatedAssignments:
    """`commands.routing.ports.Assignments` as one process has it."""

    def __init__(self, loop: ProcessLoop) -> None:
        self._loop = loop
        self._heard: list[Assignment] = []
        self._news: asyncio.Event | None = None

    def hear(self, assignment: Assignment, delay: float) -> None:
        self._loop.call_later(delay, self._take, assignment)

    def _take(self, assignment: Assignment) -> None:
        if not self._heard or assignment.generation > self._heard[-1].generation:
            self._heard.append(assignment)
        if self._news is not None:
            self._news.set()

    async def changes(self) -> AsyncGenerator[Assignment, None]:
        self._news = asyncio.Event()
        while True:
            while self._heard:
                yield self._heard.pop(0)
            self._news.clear()
            await self._news.wait()


class SimulatedTails:
    """`commands.routing.ports.Tails` as one process has it."""

    def __init__(self, cluster: Cluster, loop: ProcessLoop) -> None:
        self._cluster = cluster
        self._loop = loop

    async def follow(self, place: Place, start: tuple[int, Fence]) -> AsyncGenerator[AdmittedBatch, None]:
        partition, (offset, fence) = self._cluster.partitions[place], start
        while True:
            await asyncio.sleep(self._cluster.delay())
            whole, after, fenced = _commits(partition.records[offset:], offset, fence)
            if after == offset:
                woken = self._loop.create_future()
                partition.followers.append((self._loop, woken))
                await woken
                continue
            offset, fence = after, fenced
            yield AdmittedBatch(place.topic, place.partition, whole, offset, fence)


def _commits(records: Sequence[RawRecord], offset: int, fence: Fence) -> tuple[list[RawRecord], int, Fence]:
    """The admitted records of whole commits, and where reading goes on."""
    whole: list[RawRecord] = []
    cut: list[RawRecord] = []
    reached = (offset, fence)
    for raw in records:
        fence, verdict = admit(fence, raw.header)
        if verdict is Verdict.ADMITTED and raw.header is not None:
            cut.append(raw)
            if raw.header.index < raw.header.count - 1:
                continue
            whole += cut
            cut = []
        reached = (raw.offset + 1, fence)
    return whole, *reached


def _host(address: str) -> str:
    return address.partition(":")[0]


def _fail(answer: "asyncio.Future[bytes]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _succeed(answer: "asyncio.Future[bytes]", said: bytes) -> None:
    if not answer.done():
        answer.set_result(said)
