"""Whoever rebuilds beside is killed in every phase: readers see what they saw, and the next one goes on from there to the same bytes."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from events.rooms import ROOMS
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import BuildState, Extent
from infra.adapters.postgres.comparing import compare
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.store import PostgresStore
from infra.apps.beside import build_beside, next_build
from projections.journal import JOURNAL
from projections.ports import named
from projections.runner import Runner
from tests.faults.rebuilding import SECOND, history
from tests.projections.paper import PaperReader

SEEN = 'SELECT array_agg(j.* ORDER BY topic, partition, "offset")::text FROM v_journal_v1.journal j'
# What each of the later phases needs and somebody who looks for long holds.
HELD_UP_BY = {"comparing": "LOCK TABLE p_journal_v1_b2.journal IN ACCESS EXCLUSIVE MODE", "switching": "SELECT FROM v_journal_v1.journal"}
WAITING = """
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.locktype = 'relation' AND a.application_name = 'aybiza rebuilding' AND a.datname = current_database()
"""


@asynccontextmanager
async def read_and_rebuilt(database: str, phase: str) -> AsyncIterator[tuple[Pool, Process]]:
    """What is read, and a process that rebuilds it."""
    async with connected(database, purpose="test", durable=False) as pool:
        log = history(PaperReader(seed=5))
        await Runner(log, PostgresStore(pool), [JOURNAL], journal_rooms=ROOMS).run(stop_at_end=True)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.rebuilding", database, phase, stdin=PIPE, stdout=PIPE
        )
        try:
            yield pool, child
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def killed_in(phase: str, pool: Pool, child: Process) -> None:
    assert child.stdout is not None
    said = await asyncio.wait_for(child.stdout.readline(), 120)
    if phase in HELD_UP_BY:
        assert said == b"warm\n"
        async with pool.acquire() as holder, holder.transaction():
            await holder.execute(HELD_UP_BY[phase])
            assert child.stdin is not None
            child.stdin.write(b"go on\n")
            async with asyncio.timeout(120):
                while not await holder.fetchval(WAITING):
                    await asyncio.sleep(0.01)
            child.kill()
            await child.wait()
        return
    if phase == "copying":
        # Something of it must have been written, or nothing is gone on with.
        async with asyncio.timeout(120):
            while not (await extent(pool)).records:
                await asyncio.sleep(0.01)
    child.kill()
    await child.wait()


async def extent(pool: Pool) -> Extent:
    return (await builds.extents(pool)).get(named(SECOND), Extent())


async def states(pool: Pool) -> dict[str, BuildState]:
    return {each.projection: each.state for each in await builds.standing(pool, JOURNAL.name)}


class TestKilled:
    @pytest.mark.parametrize("phase", ["copying", "catching up", "comparing", "switching"])
    async def test_changes_nothing_for_readers_and_is_gone_on_with(self, database: str, phase: str) -> None:
        async with read_and_rebuilt(database, phase) as (pool, child):
            seen = await pool.fetchval(SEEN)
            await killed_in(phase, pool, child)
            assert await pool.fetchval(SEEN) == seen
            begun = BuildState.WARM if phase in HELD_UP_BY else BuildState.BUILDING
            assert await states(pool) == {"journal.v1": BuildState.LIVE, "journal.v1.b2": begun}
            assert await build_beside(history(PaperReader(seed=8)), pool, SECOND) is BuildState.WARM
            report = await compare(pool, JOURNAL, SECOND)
            assert report.same
            assert report.digests is not None
            assert report.digests[0] == report.digests[1]
            (second,) = [each for each in await builds.standing(pool, JOURNAL.name) if each.projection == named(SECOND)]
            await builds.switch(pool, second, [JOURNAL])
            assert await states(pool) == {"journal.v1": BuildState.WARM, "journal.v1.b2": BuildState.LIVE}
            assert await pool.fetchval(SEEN) == seen

    async def test_or_paused_meanwhile_by_an_operator_it_is_gone_on_with(self, database: str) -> None:
        async with read_and_rebuilt(database, "copying") as (pool, child):
            await killed_in("copying", pool, child)
            await builds.mark(pool, named(SECOND), BuildState.PAUSED)
            paused = await extent(pool)
            assert await states(pool) == {"journal.v1": BuildState.LIVE, "journal.v1.b2": BuildState.PAUSED}
            assert next_build(JOURNAL, await builds.standing(pool, JOURNAL.name)) == SECOND
            assert await build_beside(history(PaperReader(seed=8)), pool, SECOND) is BuildState.WARM
            assert (await extent(pool)).records > paused.records
            assert (await compare(pool, JOURNAL, SECOND)).same

    async def test_negative_control_what_goes_on_from_elsewhere_than_its_rows_is_found_to_differ(self, database: str) -> None:
        async with read_and_rebuilt(database, "copying") as (pool, child):
            await killed_in("copying", pool, child)
            await pool.execute("UPDATE read_side.checkpoints SET next_offset = next_offset + 9 WHERE projection = $1", named(SECOND))
            await build_beside(history(PaperReader(seed=8)), pool, SECOND)
            assert not (await compare(pool, JOURNAL, SECOND)).same
