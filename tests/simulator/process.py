"""One process of the platform: the real owners on a loop of its own. It may be killed between any two awaits, frozen, stopped in good
order, and started anew with nothing but what lies on the log."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

from commands.decider import CommandRefused
from commands.dispatch import (
    CommandIdReused,
    CommitInDoubt,
    Committed,
    CommitTooLarge,
    ExpectedVersionMismatch,
    LogUnavailable,
)
from commands.flags import FLAGS
from commands.ownership.appending import World
from commands.routing.owners import Owners
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId
from tests.simulator.history import Attempt, Outcome
from tests.simulator.journal import Journal, Shelf, SimulatedHistories, SimulatedSnapshots
from tests.simulator.log import Cluster, SimulatedLog
from tests.simulator.loop import ProcessLoop, site_of

_EPOCH_MS = 1_795_000_000_000


class Process:
    """`build` makes the owners of one incarnation. `told` is what watchers heard, by incarnation and stream."""

    def __init__(self, name: str, cluster: Cluster, draw: Random, watched: list[StreamId], build: "Build") -> None:
        self.journal: Journal | None = None
        self.shelf: Shelf | None = None
        self.at_end: Callable[[], None] = lambda: None
        self.name = name
        self.cluster = cluster
        self.draw = draw
        self.incarnation = 0
        self.skew_ms = draw.randint(-5_000, 5_000)
        self.told: dict[tuple[str, StreamId], list[Recorded[Fact]]] = defaultdict(list)
        self.misuse: list[str] = []
        self.bugs: list[BaseException] = []
        self.loop: ProcessLoop
        self.log: SimulatedLog
        self.graveyard: list[asyncio.Task[Any]] = []
        self._watched = watched
        self._build = build
        self._owners: Owners | None = None
        self._main: asyncio.Task[None]
        self._stopping: asyncio.Event
        self._open: dict[Attempt, Callable[[Outcome], None]] = {}

    @property
    def title(self) -> str:
        return f"{self.name}.{self.incarnation}"

    @property
    def alive(self) -> bool:
        return self.incarnation > 0 and not self.loop.dead

    def start(self) -> None:
        self.incarnation += 1
        self.loop = self.cluster.scheduler.loop(self.title)
        self.log = SimulatedLog(self.cluster, self.loop)
        self.log.misuse = self.misuse
        self.loop.bugs = self.bugs
        self._stopping = asyncio.Event()
        self._main = self.loop.create_task(self._run(), name="main")

    def world(self) -> World:
        histories = SimulatedHistories(self.journal, self.loop) if self.journal is not None else None
        snapshots = SimulatedSnapshots(self.shelf) if self.shelf is not None else None
        return World(log=self.log, schemas=self.log, now_ms=self.now_ms, draw=self.draw.randbytes, histories=histories, snapshots=snapshots)

    def now_ms(self) -> int:
        return _EPOCH_MS + int(self.loop.time() * 1000) + self.skew_ms

    def stop(self) -> None:
        """In good order; the process ends when it has released what it owns."""
        self._stopping.set()

    def die(self) -> None:
        """Everything in memory is gone. What it had sent is on its way."""
        self.graveyard += self.loop.tasks()
        self.loop.dead = True
        self._owners = None
        self.at_end()
        waiting, self._open = self._open, {}
        for hear in waiting.values():
            # The connection breaks at once, or nobody notices.
            if self.draw.random() < 0.7:
                self.cluster.loop.call_later(self.cluster.delay(), hear, None)

    def sites(self) -> list[str]:
        """Where all its tasks stand."""
        return [site for site in map(site_of, self.loop.tasks()) if site]

    def receive(self, attempt: Attempt, hear: Callable[[Outcome], None]) -> None:
        """A command arrives from outside; the answer goes back the same way. None: the connection was refused or broke."""
        if not self.alive:
            self.cluster.loop.call_later(self.cluster.delay(), hear, None)
            return
        self._open[attempt] = hear
        self.loop.call_soon(self._accept, attempt, hear)

    def _accept(self, attempt: Attempt, hear: Callable[[Outcome], None]) -> None:
        self.loop.create_task(self._serve(attempt, hear), name=f"serve {attempt.number}")

    async def _run(self) -> None:
        try:
            async with self._build(self) as owners:
                await self.work(owners)
        # Whatever ends a process that nobody stopped is what the simulator looks for.
        except Exception as bug:  # noqa: BLE001
            self.bugs.append(bug)
        self.die()

    async def work(self, owners: Owners) -> None:
        """All that the process does until it is stopped."""
        for stream in self._watched:
            owners.watch(stream, self.told[self.title, stream].append)
        self._owners = owners
        await self._stopping.wait()
        self._owners = None

    async def _serve(self, attempt: Attempt, hear: Callable[[Outcome], None]) -> None:
        outcome: Outcome = None
        if self._owners is not None:
            try:
                outcome = await self._owners(
                    FLAGS, attempt.stream, attempt.command, attempt.order, expected_version=attempt.expected_version
                )
            except (CommandRefused, ExpectedVersionMismatch, CommandIdReused, CommitTooLarge, LogUnavailable, CommitInDoubt) as answer:
                outcome = answer
            except Exception as bug:  # noqa: BLE001
                self.bugs.append(bug)
        if self._open.pop(attempt, None) is not None:
            self.cluster.loop.call_later(self.cluster.delay(), hear, outcome)


Build = Callable[[Process], Owners]


def described(outcome: Outcome) -> str:
    """For the story."""
    if isinstance(outcome, Committed):
        return f"committed v{outcome.version} at {outcome.position.offset}{' (repeat)' if outcome.repeated else ''}"
    return "nothing" if outcome is None else f"{type(outcome).__name__}: {outcome}"
