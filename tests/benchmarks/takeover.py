"""What another process costs: a forwarded command beside a local one, and the time without an answer when an owner dies or stops.

`make bench NAME=takeover`. Two real processes; under load from 16 streams for the times without an answer.
"""

import asyncio
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import structlog
import uvloop

from commands.dispatch import CommitInDoubt, LogUnavailable, Order
from commands.flags import FLAGS, SetFlag
from commands.ports import Place
from events.streams import StreamId
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from tests.benchmarks.figures import Figure, show
from tests.kafka_corner import corner, streams_on
from tests.neighbour import Child, Neighbour, neighbour, until_owned

_TITLE = "two processes on one machine, mutual TLS, acks=all"
_SINGLE = 1_000
_WARM_UP = 200
_CALLERS = 16
_PARTITION = 1
_ROUNDS = 3


def _order() -> Order:
    return Order(command_id=uuid.uuid4().bytes, digest=bytes(16), actor="bench", occurred_at=datetime.now(UTC))


async def one_by_one(here: Neighbour, at: StreamId) -> list[float]:
    """Milliseconds of each of many commands, one after the other, sorted."""
    taken = []
    for turn in range(_WARM_UP + _SINGLE):
        begun = time.perf_counter()
        await here.owners(FLAGS, at, SetFlag(enabled=turn % 2 == 0, variant="on"), _order())
        taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken[_WARM_UP:])


class Load:
    """Callers who each send commands for a stream of their own, again while the answer is "try again"."""

    def __init__(self, here: Neighbour, streams: Sequence[StreamId]) -> None:
        self.answered: list[float] = []
        self.unanswered = 0
        self._here = here
        self._streams = streams
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._caller(at)) for at in self._streams]

    async def stop(self) -> None:
        self._stopping.set()
        for task in self._tasks:
            await task

    async def _caller(self, at: StreamId) -> None:
        turn, order = 0, _order()
        while not self._stopping.is_set():
            try:
                committed = await self._here.owners(FLAGS, at, SetFlag(enabled=turn % 2 == 0, variant="on"), order)
            except (LogUnavailable, CommitInDoubt) as error:
                self.unanswered += 1
                await asyncio.sleep(getattr(error, "retry_after_ms", 50) / 1000)
                continue
            turn += 1
            order = _order()
            if committed.version != turn:
                raise AssertionError(f"{at} has version {committed.version} after {turn} commands")
            self.answered.append(time.perf_counter())

    def silence_after(self, moment: float) -> float:
        """From a moment to the next answer, in ms."""
        return (min(at for at in self.answered if at > moment) - moment) * 1000


async def without_an_answer(kafka: str, folder: Path, by: signal.Signals) -> tuple[float, int]:
    """An owner in another process gets a signal under load: ms to the next answer on its partition, and how often callers were put off.

    Each time on a young log: the new owner has no journal here, and would read a long one through for each stream.
    """
    where = await corner(kafka, f"bench{uuid.uuid4().hex[:12]}")
    child = Child(where, folder, [_PARTITION])
    await child.start()
    async with neighbour(where, folder, [Place(where.flags, 0)]) as here:
        await until_owned(here, [Place(where.flags, 0)])
        load = await loaded(here)
        moment = time.perf_counter()
        child.signal(by)
        if by is signal.SIGKILL:
            # It may still be answered for a moment, by what it had sent.
            await child.end(by)
            moment = time.perf_counter()
        await asyncio.sleep(2.0)
        await load.stop()
    child.signal(signal.SIGCONT)
    await child.end(signal.SIGKILL)
    return load.silence_after(moment) if by is not signal.SIGTERM else longest_silence(load.answered, moment), load.unanswered


async def moved(kafka: str, folder: Path) -> tuple[float, int]:
    """A partition is assigned to another process under load: as `without_an_answer`, the longest time between two answers."""
    where = await corner(kafka, f"bench{uuid.uuid4().hex[:12]}")
    before, after = Child(where, folder, [_PARTITION]), Child(where, folder, [_PARTITION])
    await before.start()
    async with neighbour(where, folder, ()) as here:
        load = await loaded(here)
        moment = time.perf_counter()
        # Most of this time it starts, while the other one goes on answering.
        await after.start()
        await asyncio.sleep(0.5)
        await load.stop()
    await before.end(signal.SIGKILL)
    await after.end(signal.SIGKILL)
    return longest_silence(load.answered, moment), load.unanswered


async def loaded(here: Neighbour) -> Load:
    """Callers who have been answered for a while."""
    load = Load(here, streams_on(_PARTITION, _CALLERS))
    load.start()
    async with asyncio.timeout(30):
        while not load.answered:
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.0)
    return load


def longest_silence(answered: Sequence[float], since: float) -> float:
    """The longest time between two answers after a moment, in ms."""
    later = [since, *(at for at in answered if at > since)]
    return max(after - before for before, after in pairwise(later)) * 1000


async def measure(kafka: str, folder: Path) -> list[Figure]:
    where = await corner(kafka, f"bench{uuid.uuid4().hex[:12]}")
    async with neighbour(where, folder, [Place(where.flags, 0)]) as here:
        await until_owned(here, [Place(where.flags, 0)])
        local = await one_by_one(here, streams_on(0, 1)[0])
        child = Child(where, folder, [_PARTITION])
        await child.start()
        forwarded = await one_by_one(here, streams_on(_PARTITION, 1)[0])
        await child.end(signal.SIGTERM)
    killed = [await without_an_answer(kafka, folder, signal.SIGKILL) for _ in range(_ROUNDS)]
    frozen = [await without_an_answer(kafka, folder, signal.SIGSTOP) for _ in range(_ROUNDS)]
    stopped = [await without_an_answer(kafka, folder, signal.SIGTERM) for _ in range(_ROUNDS)]
    moves = [await moved(kafka, folder) for _ in range(_ROUNDS)]
    return [
        _ms("local_p50", _at(local, 50), 0.4),
        _ms("local_p99", _at(local, 99), 1),
        _ms("forwarded_p50", _at(forwarded, 50), round(_at(local, 50) + 0.5, 3)),
        _ms("forwarded_p99", _at(forwarded, 99)),
        *_worst("after_kill", killed, 1_000),
        *_worst("after_freeze", frozen, None),
        *_worst("at_clean_stop", stopped, 200),
        *_worst("at_move", moves, None),
    ]


def _worst(what: str, rounds: Sequence[tuple[float, int]], target: float | None) -> list[Figure]:
    times = sorted(silence for silence, _ in rounds)
    put_off = sum(count for _, count in rounds)
    return [
        _ms(f"silence_{what}_median", round(times[len(times) // 2], 1), target),
        _ms(f"silence_{what}_worst", round(times[-1], 1), target),
        Figure(figure=f"put_off_{what}", value=put_off, unit="commands", better="lower"),
    ]


def _ms(figure: str, value: float, target: float | None = None) -> Figure:
    return Figure(figure=figure, value=value, unit="ms", better="lower", target=target)


def _at(values: Sequence[float], percent: int) -> float:
    return round(values[len(values) * percent // 100], 3)


def _tell(part: str, words: str) -> None:
    sys.stderr.write(f"{part}: {words}\n")


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    with tempfile.TemporaryDirectory() as folder:
        if settings.kafka_bootstrap_servers is not None:
            show("takeover", _TITLE, await measure(settings.kafka_bootstrap_servers, Path(folder)))
            return
        services = await ensure_stack(state_dir, settings, _tell)
        try:
            show("takeover", _TITLE, await measure(services.kafka, Path(folder)))
        finally:
            await stop_stack(state_dir, settings, lambda _part, _words: None)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    uvloop.run(main())
