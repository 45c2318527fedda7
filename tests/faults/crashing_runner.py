"""A program that kills the runner at every step of its way: `python -m tests.faults.crashing_runner DSN`, a fresh database.

The runner, the store and everything below run as they are; the process ends (`os._exit`) just before the n-th step of any of their
coroutines, then again in the next process, and then one runs to the end: every third step of those that make tables and connections, and
then, between tables that stand and are empty, every step from the first read of the log on, with a transaction of one statement and with
one of several. Some processes are not killed there but frozen: another takes over and dies, the first wakes up and goes on, and then one
runs to the end. Prints one JSON object: every point must give the same bytes, and the frozen ones must not once the checkpoint is stepped
without its predicate; nor must partial rows, where no journal stands before them.
"""

import asyncio
import json
import mmap
import os
import signal
import struct
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any

import asyncpg
import uvloop

from events.records import AdmittedBatch
from infra.adapters.postgres import stepping
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.parts import ranges_of
from infra.adapters.postgres.rebuilding import Album, drop, picture
from infra.adapters.postgres.shapes import READ_SIDE, relation_of, schema_of
from infra.adapters.postgres.store import PostgresStore
from projections.calls import CALL_TIMELINE, CALLS
from projections.flags import FLAGS
from projections.journal import JOURNAL
from projections.partial import PartialAggregate
from projections.ports import Projection, Superseded, named
from projections.runner import Runner
from projections.summaries import CALL_SUMMARIES
from tests.projections.histories import history
from tests.projections.paper import PaperReader

PROJECTIONS: tuple[Projection, ...] = (JOURNAL, CALLS, CALL_TIMELINE, FLAGS, CALL_SUMMARIES)
KILLED = 9
OVERTAKEN = 10
_SEED = 21
# Each room more is a topic to read and a part of the journal to make: the same steps again, a thousand times over.
_ROOMS = ("calls", "flags", "organisations", "usage")
_STEPS = struct.Struct("=q")
_OF_THE_OPENING = 3
_PURPOSE = "crashing"
_IN_A_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND xact_start IS NOT NULL"


class Steps:
    """Counts the steps of every task of a loop, and ends or freezes the process before one of them: the n-th of all, or of reading."""

    def __init__(self, fatal: int, *, freezes: bool = False, of_reading: bool = False) -> None:
        self.taken = 0
        self._fatal = fatal
        self._freezes = freezes
        self._counts = not of_reading

    def factory(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any) -> asyncio.Task[Any]:
        return asyncio.Task(self._counted(work), loop=loop, **named)

    def reads(self) -> None:
        """From here on the log is read."""
        if not self._counts:
            self._fatal += self.taken
            self._counts = True

    async def _counted(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await _Stepped(work, self._step)

    def _step(self) -> None:
        self.taken += 1
        if not self._counts or self.taken != self._fatal:
            return
        if self._freezes:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            os._exit(KILLED)


class _Stepped:
    """A coroutine, each of whose steps is announced."""

    def __init__(self, work: Coroutine[Any, Any, Any], announce: Callable[[], None]) -> None:
        self._work = work
        self._announce = announce

    def __await__(self) -> Generator[Any, Any, Any]:
        sent: Any = None
        error: BaseException | None = None
        while True:
            self._announce()
            try:
                waits_for = self._work.send(sent) if error is None else self._work.throw(error)
            except StopIteration as end:
                return end.value
            sent, error = None, None
            try:
                sent = yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - passed on to the coroutine, cancellation included
                error = thrown


class Paper(PaperReader):
    """Notes, for the process that forked this one, how many steps were taken before the log was read."""

    def __init__(self) -> None:
        super().__init__(seed=_SEED, largest_batch=9)
        self.steps: Steps | None = None
        self._shared = mmap.mmap(-1, _STEPS.size)

    @property
    def before_reading(self) -> int:
        steps: int = _STEPS.unpack(self._shared[:])[0]
        return steps

    def batches(self, *asked: Any, **how: Any) -> AsyncGenerator[AdmittedBatch, None]:
        assert self.steps is not None
        self._shared[:] = _STEPS.pack(self.steps.taken)
        self.steps.reads()
        return super().batches(*asked, **how)


def reader() -> Paper:
    """The same log for every process."""
    paper = Paper()
    for stream, facts in history(_SEED, commits=40):
        paper.append(stream, *facts)
    return paper


async def project(
    dsn: str,
    paper: Paper,
    fatal: int,
    *,
    freezes: bool = False,
    of_reading: bool = False,
    projections: Sequence[Projection] = PROJECTIONS,
) -> None:
    """Run to the end, or to the fatal step. The process ends where another has taken over."""
    paper.steps = steps = Steps(fatal, freezes=freezes, of_reading=of_reading)
    asyncio.get_running_loop().set_task_factory(steps.factory)  # type: ignore[arg-type]  # typeshed wants names that nobody gives
    async with connected(dsn, purpose=_PURPOSE, durable=False) as pool:
        try:
            await Runner(paper, PostgresStore(pool), projections, journal_rooms=_ROOMS).run(stop_at_end=True)
        except Superseded:
            os._exit(OVERTAKEN)


async def look(dsn: str, then: Callable[[asyncpg.Connection], Coroutine[Any, Any, None]]) -> Album:
    """What is there, and then something done with it."""
    connection = await asyncpg.connect(dsn)
    try:
        album = await picture(connection, PROJECTIONS)
        await then(connection)
        return album
    finally:
        await connection.close()


async def drop_all(connection: asyncpg.Connection) -> None:
    """So that the next one makes everything."""
    await drop(connection, PROJECTIONS)


async def empty(connection: asyncpg.Connection) -> None:
    """As one leaves it that made its tables and wrote nothing: the parts of the journal are made with what comes into them."""
    async with connection.transaction():
        for part in await ranges_of(connection, JOURNAL):
            await connection.execute(f'DROP TABLE "{schema_of(JOURNAL)}"."{part.name}"')
        for each in PROJECTIONS:
            await connection.execute(f"DELETE FROM {relation_of(each)}")
            if isinstance(each, PartialAggregate):
                await connection.execute(f"DELETE FROM {relation_of(each.memories)}")
        await connection.execute(f"DELETE FROM {READ_SIDE}.checkpoints; DELETE FROM {READ_SIDE}.parked")


def begun(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """A process of its own that does it."""
    child = os.fork()
    if child == 0:
        uvloop.run(work())
        os._exit(0)
    return child


def in_a_process(work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Whether it came to its end, in a process of its own."""
    _, status = os.waitpid(begun(work), 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in {0, KILLED}:
        raise SystemExit(f"the runner ended with {code}")
    return code == 0


async def holds_up_others(dsn: str) -> bool:
    """Whether somebody is in the middle of a transaction, for whose locks others would wait."""
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval(_IN_A_TRANSACTION, f"aybiza {_PURPOSE}"))
    finally:
        await connection.close()


def killed(dsn: str, paper: Paper, at: int, expected: Album, *, of_reading: bool) -> bool | None:
    """Whether the rows are those of a replay after one was killed there and the next one early; None where the first came to its end.

    What the first step of reading finds was made before, and is emptied after; what the opening finds is nothing.
    """
    if in_a_process(lambda: project(dsn, paper, at, of_reading=of_reading)):
        return None
    in_a_process(lambda: project(dsn, paper, 1 + at * 7 % 60))
    in_a_process(lambda: project(dsn, paper, 0))
    return uvloop.run(look(dsn, empty if of_reading else drop_all)) == expected


def overtaken(dsn: str, paper: Paper, at: int, dies_at: int, expected: Album) -> bool | None:
    """Whether the rows are those of a replay after one was frozen, overtaken by one that died, and woken; None where nothing was frozen."""
    frozen = begun(lambda: project(dsn, paper, at, freezes=True, of_reading=True))
    _, status = os.waitpid(frozen, os.WUNTRACED)
    stopped, well = os.WIFSTOPPED(status), True
    if stopped and uvloop.run(holds_up_others(dsn)):
        os.kill(frozen, signal.SIGKILL)
        os.waitpid(frozen, 0)
        stopped = False
    if stopped:
        in_a_process(lambda: project(dsn, paper, dies_at, of_reading=True))
        os.kill(frozen, signal.SIGCONT)
        _, status = os.waitpid(frozen, 0)
        well = os.waitstatus_to_exitcode(status) in {0, OVERTAKEN}
    try:
        in_a_process(lambda: project(dsn, paper, 0))
    except SystemExit:
        well = False
    same = uvloop.run(look(dsn, empty)) == expected
    return well and same if stopped else None


def unguarded(step: str) -> str:
    """How the checkpoint would be stepped by whoever asks."""
    return step.replace("AND c.epoch = s.epoch AND c.next_offset = s.seen_offset", "").replace(
        "AND c.term = s.seen_term AND c.claim_id = s.seen_claim", ""
    )


def added_twice(dsn: str, paper: Paper, expected: Album) -> bool:
    """Whether somewhere one who was frozen, and is overtaken by one that runs to the end, adds to partial rows what was added."""
    alone = [CALL_SUMMARIES]
    at, stopped, twice = 0, True, False
    while stopped and not twice:
        at += 1
        frozen = begun(lambda: project(dsn, paper, at, freezes=True, of_reading=True, projections=alone))  # noqa: B023 - run within the turn
        _, status = os.waitpid(frozen, os.WUNTRACED)
        stopped = os.WIFSTOPPED(status)
        if stopped and uvloop.run(holds_up_others(dsn)):
            os.kill(frozen, signal.SIGKILL)
            os.waitpid(frozen, 0)
        elif stopped:
            in_a_process(lambda: project(dsn, paper, 0, projections=alone))
            os.kill(frozen, signal.SIGCONT)
            _, status = os.waitpid(frozen, 0)
            found = uvloop.run(look(dsn, empty)).pictures[named(CALL_SUMMARIES)]
            twice = os.waitstatus_to_exitcode(status) == 0 and found != expected.pictures[named(CALL_SUMMARIES)]
        uvloop.run(look(dsn, empty))
    return twice


def killed_while_reading(dsn: str, paper: Paper, expected: Album) -> Mapping[int, bool]:
    """What came of it, by the step of reading, until one runs to its end."""
    found: dict[int, bool] = {}
    while (same := killed(dsn, paper, len(found) + 1, expected, of_reading=True)) is not None:
        found[len(found) + 1] = same
    uvloop.run(look(dsn, empty))
    return found


def differing(found: Mapping[int, bool | None]) -> list[int]:
    """The steps after which the rows were not those of a replay."""
    return [at for at, same in found.items() if not same]


def main(dsn: str) -> None:
    """Kill at one step after the other until a run comes to its end."""
    # Made once: what it compiles, each process has from its parent.
    paper = reader()
    in_a_process(lambda: project(dsn, paper, 0))
    expected = uvloop.run(look(dsn, drop_all))
    opening = paper.before_reading
    openings = {at: killed(dsn, paper, at, expected, of_reading=False) for at in range(_OF_THE_OPENING, opening + 1, _OF_THE_OPENING)}
    in_a_process(lambda: project(dsn, paper, 0))
    uvloop.run(look(dsn, empty))
    usual, stepping.FEW = stepping.FEW, 0
    several = killed_while_reading(dsn, paper, expected)
    stepping.FEW = usual
    read = killed_while_reading(dsn, paper, expected)
    # Who overtakes comes so far that it has written.
    points = {at: len(read) - at * 7 % (len(read) // 3) for at in range(len(read) // 2, len(read), 3)}
    guarded = [overtaken(dsn, paper, at, dies_at, expected) for at, dies_at in points.items()]
    stepping.STEP = unguarded(stepping.STEP)
    harmed = [overtaken(dsn, paper, at, dies_at, expected) for at, dies_at in points.items()]
    twice = added_twice(dsn, paper, expected)
    rows = {name: each.rows for name, each in expected.pictures.items()}
    answer = {
        "of_opening": len(openings),
        "of_reading": len(read),
        "of_reading_in_several_statements": len(several),
        "differing": {"opening": differing(openings), "reading": differing(read), "several": differing(several)},
        "overtaken": guarded,
        "overtaken_without_predicate": harmed,
        "added_twice_without_predicate": twice,
        "rows": rows,
    }
    print(json.dumps(answer))  # noqa: T201 - a program's answer


if __name__ == "__main__":
    main(sys.argv[1])
