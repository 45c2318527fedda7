"""A program that is killed while it packs: `python -m tests.faults.packing_parts DSN`; for each line of its input, a process by its word.

It dies by SIGKILL `between` two steps, `within` one (pieces are written, nothing is committed), at the `exchange` (the part is gone,
nothing is committed); by any other word it packs what is cold to the end. It says how each ended: minus the signal's number, or 0.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from infra.adapters.postgres import packing
from infra.adapters.postgres.connections import connected
from projections.journal import JOURNAL

_SECOND = 2


def main(dsn: str) -> None:
    for line in sys.stdin:
        process = os.fork()
        if not process:
            asyncio.run(packed(dsn, line.strip()))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


async def packed(dsn: str, dies: str) -> None:
    packing.RECORDS_OF_A_PIECE, packing.PIECES_OF_A_STEP = 16, 1
    if dies == "within":
        vars(packing)["_streams"] = on_the_second(vars(packing)["_streams"])
    if dies == "exchange":
        exchange = vars(packing)["_exchange"]

        async def exchanged(*values: Any) -> None:
            await exchange(*values)
            die()

        vars(packing)["_exchange"] = exchanged
    steps = 0
    async with connected(dsn, purpose="test", durable=False, most=1) as pool, pool.acquire() as connection:
        while (name := await packing.next_cold(connection, JOURNAL, 1 << 60)) is not None:
            await packing.step(connection, JOURNAL, name, lock_ms=10_000)
            steps += 1
            if dies == "between" and steps == _SECOND:
                die()


def on_the_second(work: Callable[..., str]) -> Callable[..., str]:
    calls: list[object] = []

    def counted(*values: Any) -> str:
        calls.append(None)
        if len(calls) == _SECOND:
            die()
        return work(*values)

    return counted


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
