"""What a run is played on: brokers, a journal, ways between processes, the processes, their clients, and what befalls them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from commands.calls.deciding import CALLS
from commands.decider import Decider
from commands.flags import FLAGS
from commands.ownership.memory import Room
from commands.ownership.partition import OwnedPartition
from commands.ports import Place
from commands.routing.claims import KnownClaims
from commands.routing.owners import Owners
from commands.spool.format import Checksum, sha
from commands.wire import CommandWire
from events.streams import StreamId
from tests.simulator.clients import Street
from tests.simulator.disk import Disk
from tests.simulator.faults import Faults
from tests.simulator.journal import SMALL, SNAPSHOT_EVERY, Journal, Shelf, impatient
from tests.simulator.log import Cluster
from tests.simulator.loop import Scheduler
from tests.simulator.network import Coordinator, Network, SimulatedAssignments, SimulatedPeers, SimulatedTails
from tests.simulator.process import Process
from tests.simulator.story import Story
from tests.simulator.truth import CODEC, Admission, by_rule

TOPIC = "aybiza.flags.v1"
PARTITIONS = 2
STREAMS = [StreamId("AYB-TEST-TEST-TEST", "flags", name) for name in ("ant", "bee", "elk", "gnu")]
WHOLE_RECORDS = 2_000
CALLS_TOPIC = "aybiza.calls.v1"
TOPICS = {"flags": (TOPIC, PARTITIONS), "calls": (CALLS_TOPIC, PARTITIONS)}
DECIDERS: Mapping[str, Decider[Any, Any, Any]] = {"flags": FLAGS, "calls": CALLS}
# It takes a while to make, and thousands of processes are started here.
WIRE = CommandWire(DECIDERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """What is taken away, to see whether it is missed. `sabotage` gets each partition before it is run."""

    sabotage: Callable[[OwnedPartition], None] | None = None
    admission: Admission = by_rule
    checksum: Checksum = sha


WHOLE = Without()


class Stage:
    """`together`: the processes are assigned partitions and forward to each other; else each believes that it is alone.

    `cold`: memory is short and a journal long; else each owner knows all that happened.
    """

    rooms: Sequence[str] = ("flags",)

    def __init__(self, draw: Random, without: Without = WHOLE, *, pair: bool = False) -> None:
        """`pair`: just two who know of each other and remember all, as a story needs them."""
        self.together = draw.random() < 0.6 or pair
        self.cold = draw.random() < 0.5 and not pair
        self.patience = impatient(0 if self.cold else WHOLE_RECORDS)
        self.draw = draw
        self._topics = {room: TOPICS[room] for room in self.rooms}
        self.scheduler = Scheduler()
        self.story = Story(self.scheduler)
        self.cluster = Cluster(
            [Place(topic, number) for topic, count in self._topics.values() for number in range(count)], self.scheduler, draw, self.story
        )
        self.journal = Journal(self.cluster)
        self.shelf = Shelf(self.cluster)
        self.network = Network(self.cluster)
        self.coordinator = Coordinator(self.cluster, fixed=draw.random() < 0.2)
        count = 2 if pair else draw.choice((2, 2, 3))
        # Who is no member owns only what it must take over.
        self._members = "ABC"[: count if draw.random() < 0.7 or pair else count - 1]
        self.processes = [self.process(name) for name in "ABC"[:count]]
        if self.cold:
            for process in self.processes:
                process.journal, process.shelf = self.journal, self.shelf
        self.street = Street(STREAMS, self.processes, self.cluster, draw)
        self.faults = Faults(self)
        self._without = without

    @property
    def disks(self) -> Sequence[Disk]:
        """Those of the machines whose processes keep spools."""
        return ()

    def process(self, name: str) -> Process:
        return Process(name, self.cluster, self.draw, STREAMS, self.owners)

    def open(self, step: Callable[[], bool]) -> "list[asyncio.Task[None]]":
        """Start everything; the clients' tasks end when there are no more steps."""
        for process in self.processes:
            process.start()
        return [self.cluster.loop.create_task(self.street.client(f"client{number}", step)) for number in range(self.draw.randint(2, 6))]

    def heal(self) -> None:
        """The faults end."""
        self.street.healed = True
        self.faults.heal()
        self.story.tell("world", "the faults end")

    def owners(self, process: Process) -> Owners:
        """What a process begins with, each time that it starts."""
        topics, patience = self._topics, self.patience
        address, loop = process.title, process.loop
        if self.together:
            address = f"{process.name}:1/{process.incarnation:08x}"
            claims = KnownClaims(lambda place, claim: self.network.announce(address, place, claim))
            assignments = SimulatedAssignments(loop)
            owners = Owners(
                topics, DECIDERS, CODEC, process.world(), address=address, peers=SimulatedPeers(self.network, loop, address),
                claims=claims, assignments=assignments, tails=SimulatedTails(self.cluster, loop), patience=patience, wire=WIRE,
            )  # fmt: skip
            self.network.join(loop, address, owners.serve, claims)
            if process.name in self._members:
                self.coordinator.join(process.name, assignments)
                process.at_end = lambda: self.coordinator.forget(process.name, assignments)
        else:
            owners = Owners(topics, DECIDERS, CODEC, process.world(), address=address, patience=patience, wire=WIRE)
        room = Room(SMALL)
        for partition in owners._estate:
            if self.cold:
                partition.owner.streams.room = room
                partition.owner.streams.snapshot_every = SNAPSHOT_EVERY
            if self._without.sabotage is not None:
                self._without.sabotage(partition)
        return owners
