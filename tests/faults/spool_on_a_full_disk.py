"""A spool that meets the end of its disk: `python -m tests.faults.spool_on_a_full_disk FOLDER`. Prints what it saw as one JSON object.

The kernel stands in for a full disk: no file may grow beyond a limit, which is lifted later.
"""

import asyncio
import json
import resource
import sys
from collections import Counter
from pathlib import Path

import uvloop

from commands.rooms import DECIDERS
from commands.spool.spool import Kept, Spool, SpoolLimits
from commands.wire import CommandWire
from infra.adapters.spool_folder import SpoolFolders
from tests.commands.spool.call import call, failure, order

INCARNATION = "1764-ab"
_LIMIT = 20_000


_MOST = resource.getrlimit(resource.RLIMIT_FSIZE)[1]


def _allow(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, _MOST))


async def main(folder: str) -> None:
    counters: Counter[str] = Counter()
    spool = Spool(
        SpoolFolders(Path(folder)).own(INCARNATION), CommandWire(DECIDERS), INCARNATION, counters, limits=SpoolLimits(retry_seconds=0.01)
    )  # fmt: skip
    kept: list[Kept] = []
    seen: dict[str, object] = {}

    def keep() -> bool:
        n = len(kept)
        one = spool.keep(call(), "MZ1", n, order(call(), n, failure(n)), failure(n))
        if one is not None:
            kept.append(one)
        return one is not None

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(spool.run())
        _allow(_LIMIT)
        while not counters["spool-disk-failures"]:
            keep()
            await asyncio.sleep(0.001)
        seen |= {"kept_while_full": keep(), "takes_calls_while_full": spool.accepts_calls, "durable": sum(one.durable for one in kept)}
        _allow(_MOST)
        await spool.settled()
        seen |= {"takes_calls_after": spool.accepts_calls, "kept_after": keep()}
        await spool.settled()
        writing.cancel()
    seen |= {"kept": len(kept), "durable_after": sum(one.durable for one in kept)}
    print(json.dumps(seen))  # noqa: T201 - its answer to the test


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
