"""Whoever packs a part of the journal may be killed anywhere: nobody is told anything else, and the next one goes on."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE

from infra.adapters.postgres.packing import parts
from projections.journal import JOURNAL
from tests.infra.adapters.test_postgres_packing import FIRST, SECOND, TOPIC, Desk, desk

__all__ = ["desk"]
_KILLED = f"{-signal.SIGKILL}"


async def test_a_packer_that_is_killed_takes_nothing_with_it(desk: Desk, database: str) -> None:
    before, digest = await desk.answers(), await desk.digest()
    program = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.faults.packing_parts", database, stdin=PIPE, stdout=PIPE)
    assert program.stdin is not None
    assert program.stdout is not None
    done = []
    for dies, ended in (("between", _KILLED), ("within", _KILLED), ("exchange", _KILLED), ("nowhere", "0")):
        program.stdin.write(f"{dies}\n".encode())
        assert (await program.stdout.readline()).decode().strip() == ended
        assert await desk.digest() == digest, dies
        done.append([(each.name, each.packed, each.packing) for each in await parts(desk.pool, JOURNAL) if each.topic == TOPIC])
        if dies == "between":
            assert await desk.answers() == before
            await control(desk, digest)
    assert await desk.answers() == before
    program.stdin.close()
    assert await program.wait() == 0
    live = (f"{TOPIC}/2", False, None)
    # What the killed ones had committed was not done again.
    assert done[:2] == [[(FIRST, False, 32), (SECOND, False, None), live], [(FIRST, False, 48), (SECOND, False, None), live]]
    assert done[2][0][:2] == (FIRST, False)
    assert done[3] == [(FIRST, True, None), (SECOND, True, None), live]


async def control(desk: Desk, digest: str) -> None:
    """What is half packed is there twice, and it is the note of it that keeps readers from seeing that."""
    noted = await desk.pool.fetchrow("DELETE FROM p_journal_v1.packing RETURNING *")
    assert noted is not None
    assert await desk.digest() != digest
    await desk.pool.execute("INSERT INTO p_journal_v1.packing VALUES ($1, $2, $3, $4, $5)", *noted)
