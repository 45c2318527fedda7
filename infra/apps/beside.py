"""Projections beside each other: which builds a process folds, and a build that is made while readers see another one."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from events.rooms import ROOMS
from events.streams import topic_of
from infra.adapters.postgres.builds import Build, BuildState, CannotSwitch, Extent, build_of, extents, mark, standing, switch
from infra.adapters.postgres.connections import Pool
from infra.adapters.postgres.store import PostgresStore
from infra.local.services import Progress
from projections.journal import JOURNAL, Journal
from projections.ports import LogReader, Projection, Superseded, TopicOf, named
from projections.registry import EARLIER, STORED
from projections.runner import Runner

log = structlog.get_logger()

# A projection that is new where there is more history than this is built beside: in the read of the others they would wait for it.
SHORT_HISTORY = 100_000
# So near to the end of the log what follows is left to whoever folds the build from then on.
_NEAR = 5_000
_SHOW_SECONDS = 0.2
_RATE_OVER_SECONDS = 15.0
KNOWN: tuple[Projection, ...] = (*EARLIER, *STORED)
"""Every version that this program can fold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What runs: what readers see, and what is kept warm beside it. `left`: what is not folded, with the reason."""

    live: Sequence[Projection]
    warm: Sequence[Projection]
    left: Sequence[tuple[str, str]]


def versions_of(name: str, known: Collection[Projection] = KNOWN) -> Sequence[Projection]:
    """The versions of a projection that this program knows, the one that it reads last."""
    return [each for each in known if each.name == name]


async def folded(pool: Pool, topic_of: TopicOf, stored: Sequence[Projection] = STORED, known: Collection[Projection] = KNOWN) -> Folded:
    """What is to be folded now. Raises StoreUnavailable."""
    builds, behind = await standing(pool), await extents(pool)
    code = {(each.name, each.version): each for each in known}
    chosen: dict[BuildState, list[Projection]] = {BuildState.LIVE: [], BuildState.WARM: []}
    left: list[tuple[str, str]] = []
    for build in builds:
        projection = code.get((build.name, build.version))
        if build.state not in chosen:
            continue
        if projection is None:
            left.append((build.projection, "its fold is not in this program"))
        elif gone := behind.get(build.projection, Extent()).topics - topics_of(projection, topic_of):
            left.append((build.projection, f"it was folded from {', '.join(sorted(gone))}, which has a successor"))
        else:
            chosen[build.state].append(build_of(projection, build.build))
    there = {build.name for build in builds}
    for projection in stored:
        if projection.name not in there:
            if _history(behind) <= SHORT_HISTORY:
                chosen[BuildState.LIVE].append(projection)
            else:
                left.append((named(projection), "it is new, and there is much history"))
    return Folded(live=chosen[BuildState.LIVE], warm=chosen[BuildState.WARM], left=left)


async def succeed(
    reader: LogReader, pool: Pool, topic_of: TopicOf, stored: Sequence[Projection] = STORED, known: Collection[Projection] = KNOWN
) -> Sequence[str]:
    """Where readers see a version whose fold this program no longer has, build ours and let them see it, if there is little history.

    Returns what they see now. Where there is more, an operator says when (`aybiza rebuild NAME --beside`); until then they see what was.
    Raises StoreUnavailable, LogAway or Superseded.
    """
    builds, behind = await standing(pool), await extents(pool)
    code, ours = {(each.name, each.version) for each in known}, {each.name: each for each in stored}
    left = [build for build in builds if build.state is BuildState.LIVE and (build.name, build.version) not in code and build.name in ours]
    if not left or _history(behind) > SHORT_HISTORY:
        return ()
    seen = []
    for name in [build.name for build in left]:
        projection = next_build(ours[name], builds)
        if await build_beside(reader, pool, projection, topic_of=topic_of) is BuildState.WARM:
            (build,) = [each for each in await standing(pool, name) if each.projection == named(projection)]
            try:
                await switch(pool, build, versions_of(name, known))
                seen.append(named(projection))
            except CannotSwitch as cause:
                log.warning("projection-not-switched", projection=named(projection), reason=str(cause))
    return seen


def _history(behind: Mapping[str, Extent]) -> int:
    """How many records lie behind the journal."""
    return max((extent.records for name, extent in behind.items() if name.startswith(f"{JOURNAL.name}.v")), default=0)


def topics_of(projection: Projection, topic_of: TopicOf) -> frozenset[str]:
    """What a projection is folded from."""
    return frozenset(map(topic_of, ROOMS)) if isinstance(projection, Journal) else frozenset({topic_of(projection.room)})


async def build_beside(
    reader: LogReader, pool: Pool, projection: Projection, *, topic_of: TopicOf = topic_of, progress: Progress | None = None
) -> BuildState:
    """Fold the log into a build, at full speed, from where it stands; warm when it has come to the end, or paused when somebody says so.

    Nobody sees it, nobody is woken by it, nothing else is written. Broken off at any point it goes on from there when it is called again.
    Raises StoreUnavailable, LogAway, HistoryLost, or Superseded where somebody else builds the same.
    """
    await mark(pool, named(projection), BuildState.BUILDING)
    runner = Runner(reader, PostgresStore(pool, building=True), [projection], topic_of=topic_of, journal_rooms=ROOMS)
    async with _shown(runner, reader, progress):
        try:
            left = _NEAR + 1
            while left > _NEAR:
                await runner.run(stop_at_end=True)
                left = await _left(runner, reader)
        except Superseded:
            state = next((each.state for each in await standing(pool, projection.name) if each.projection == named(projection)), None)
            if state is BuildState.PAUSED:
                return state
            raise
    await mark(pool, named(projection), BuildState.WARM)
    return BuildState.WARM


async def _left(runner: Runner, reader: LogReader) -> int:
    ends = sum((await reader.end_offsets(runner.topics)).values())
    return ends - sum(checkpoint.next_offset for checkpoint in runner.checkpoints.values())


@asynccontextmanager
async def _shown(runner: Runner, reader: LogReader, progress: Progress | None) -> AsyncIterator[None]:
    if progress is None:
        yield
        return
    goal = sum((await reader.end_offsets(runner.topics)).values())
    showing = asyncio.create_task(_show(runner, goal, progress), name="rebuild: show progress")
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait([showing])


async def _show(runner: Runner, goal: int, progress: Progress) -> None:
    seen: deque[tuple[float, int]] = deque()
    while True:
        done = sum(checkpoint.next_offset for checkpoint in runner.checkpoints.values())
        now = time.monotonic()
        if runner.checkpoints:
            seen.append((now, done))
        while seen and seen[0][0] < now - _RATE_OVER_SECONDS:
            seen.popleft()
        progress("rebuild", words_of(done, goal, (done - seen[0][1]) / (now - seen[0][0]) if len(seen) > 1 else 0.0))
        await asyncio.sleep(_SHOW_SECONDS)


def words_of(done: int, goal: int, per_second: float) -> str:
    """How far it is and when it will be done."""
    share = f"{min(100 * done // goal, 100)} % of {goal} records" if goal else f"{done} records"
    if per_second < 1:
        return share
    seconds = max(goal - done, 0) / per_second
    left = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
    return f"{share}, {per_second:.0f} a second, {left} left"


def next_build(projection: Projection, builds: Sequence[Build]) -> Projection:
    """The build to go on with where one was begun and not finished; else a new one."""
    own = [each for each in builds if (each.name, each.version) == (projection.name, projection.version)]
    begun = [each.build for each in own if each.state in (BuildState.BUILDING, BuildState.PAUSED)]
    return build_of(projection, begun[-1] if begun else max((each.build for each in own), default=0) + 1)
