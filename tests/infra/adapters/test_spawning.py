"""Programs that are started while their caller is cancelled leave nothing behind."""

import asyncio
import sys

import psutil
import pytest

from infra.adapters.spawning import ended, spawned

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)", "time.sleep(60)")


def children() -> list[psutil.Process]:
    return [
        each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE and "time.sleep(60)" in each.cmdline()[-1]
    ]


class TestSpawned:
    @pytest.mark.parametrize("turns", [1, 2, 3, 5])
    async def test_leaves_no_program_to_a_caller_that_was_cancelled(self, turns: int) -> None:
        starting = asyncio.create_task(spawned(*SLEEPS))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert children() == []

    async def test_gives_a_program_that_can_be_ended_twice(self) -> None:
        program = await spawned(*SLEEPS)
        assert len(children()) == 1
        await ended(program)
        await ended(program)
        assert children() == []
