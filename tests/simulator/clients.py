"""People and programs that want something done: they repeat what was not answered, under the same id, through whichever process."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from commands.dispatch import CommitInDoubt, Committed, ExpectedVersionMismatch, LogUnavailable, Order
from commands.flags import FlagCommand, RemoveFlag, SetFlag
from events.streams import StreamId
from tests.simulator.history import Attempt, Outcome, Wanted
from tests.simulator.log import Cluster
from tests.simulator.process import Process, described

_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
_COMMANDS: tuple[FlagCommand, ...] = (
    SetFlag(enabled=True, variant="on"),
    SetFlag(enabled=True, variant="on"),
    SetFlag(enabled=False, variant="off"),
    RemoveFlag(),
)
_PATIENCE_SECONDS = 8.0


class Street:
    """All clients of a run, and what they have in common. `step` is asked before each attempt: False ends the asking."""

    def __init__(self, streams: Sequence[StreamId], processes: Sequence[Process], cluster: Cluster, draw: Random) -> None:
        self.attempts: list[Attempt] = []
        self.healed = False
        self.lost_until = 0.0
        self.favourite = processes[0]
        self._streams = streams
        self._processes = processes
        self._cluster = cluster
        self._draw = draw
        self._wanted: list[Wanted] = []

    async def ask_once(self, name: str, stream: StreamId, process: Process) -> Outcome:
        """Want something new, and hear what comes of it."""
        wanted = self._new(stream, f"c{len(self.attempts)}".encode().ljust(16, b"."), {})
        return await self._attempt(name, replace(wanted, expected_version=None), process)

    async def see_through(self, name: str, stream: StreamId) -> None:
        """Want something until it is answered clearly."""
        while not self._settled(outcome := await self.ask_once(name, stream, self._draw.choice(self._processes)), {}, stream):
            await asyncio.sleep(outcome.retry_after_ms / 1000 if isinstance(outcome, LogUnavailable) else 0.02)

    async def client(self, name: str, step: Callable[[], bool]) -> None:
        """Wants one thing after the other, until there are no steps left and the last is answered clearly."""
        draw, known = self._draw, dict[StreamId, int]()
        while True:
            await asyncio.sleep(0.004 * draw.random() if draw.random() < 0.9 else 0.3 * draw.random())
            if not step():
                return
            wanted = self._something(known)
            while not self._settled(outcome := await self._attempt(name, wanted), known, wanted.stream):
                if not self.healed and draw.random() < 0.15:
                    break
                retry_ms = outcome.retry_after_ms if isinstance(outcome, LogUnavailable) else 20
                await asyncio.sleep(min(retry_ms, 2_000) / 1000 * (0.2 + draw.random()))
                step()

    def _something(self, known: dict[StreamId, int]) -> Wanted:
        draw = self._draw
        if self._wanted and draw.random() < 0.2:
            earlier = draw.choice(self._wanted[-12:])
            if draw.random() < 0.75:
                return earlier
            return self._new(earlier.stream, earlier.order.command_id, known)
        stream = draw.choice(self._streams)
        wanted = self._new(stream, f"c{len(self._wanted)}".encode().ljust(16, b"."), known)
        self._wanted.append(wanted)
        return wanted

    def _new(self, stream: StreamId, command_id: bytes, known: dict[StreamId, int]) -> Wanted:
        draw = self._draw
        drawn = draw.random()
        expected = None if drawn < 0.5 else known.get(stream, 0) if drawn < 0.85 else 0 if drawn < 0.95 else draw.randint(0, 9)
        order = Order(command_id=command_id, digest=draw.randbytes(16), actor="client", occurred_at=_AT)
        return Wanted(stream=stream, command=draw.choice(_COMMANDS), order=order, expected_version=expected)

    async def _attempt(self, name: str, wanted: Wanted, process: Process | None = None) -> Outcome:
        cluster, draw = self._cluster, self._draw
        if process is None:
            process = self.favourite if draw.random() < 0.85 else draw.choice(self._processes)
        attempt = Attempt(number=len(self.attempts), client=name, process=process.name, wanted=wanted, begun=cluster.scheduler.now)
        self.attempts.append(attempt)
        told = wanted.expected_version
        words = f"{type(wanted.command).__name__} on {wanted.stream.id}" + ("" if told is None else f" expecting v{told}")
        cluster.story.tell(name, attempt.name, "asks for", words)
        heard: asyncio.Future[Outcome] = cluster.loop.create_future()
        if not self._lost():
            cluster.loop.call_later(cluster.delay(), process.receive, attempt, lambda outcome: self._hear(heard, outcome))
        timer = cluster.loop.call_later(_PATIENCE_SECONDS, _settle, heard, None)
        attempt.outcome = await heard
        timer.cancel()
        attempt.ended = cluster.scheduler.now
        cluster.story.tell(name, attempt.name, "hears", described(attempt.outcome))
        return attempt.outcome

    def _hear(self, heard: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
        if not self._lost():
            _settle(heard, outcome)

    def _lost(self) -> bool:
        return self._cluster.scheduler.now < self.lost_until and self._draw.random() < 0.5

    def _settled(self, outcome: Outcome, known: dict[StreamId, int], stream: StreamId) -> bool:
        if outcome is None or isinstance(outcome, LogUnavailable | CommitInDoubt):
            return False
        if isinstance(outcome, Committed):
            known[stream] = outcome.version
        elif isinstance(outcome, ExpectedVersionMismatch):
            known[stream] = outcome.found
        return True


def _settle(heard: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not heard.done():
        heard.set_result(outcome)
