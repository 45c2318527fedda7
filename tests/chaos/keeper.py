"""A process that keeps commands in a spool, and one that brings home what the dead left: `python -m tests.chaos.keeper '{…}'`."""

import asyncio
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
import uvloop

from commands.flags import FLAGS
from commands.spool.drain import Drain, DrainPace
from commands.spool.spool import Spool, SpoolLimits
from commands.wire import CommandWire
from infra.adapters.spool_folder import SpoolFolders
from infra.local.ports import LOOPBACK
from tests.chaos.wire import command_of, order_of, stream_of
from tests.chaos.worker import owning

_DECIDERS = {FLAGS.category: FLAGS}
_RETRY_SECONDS = 0.05


async def keep(said: dict[str, Any]) -> None:
    """Promises a command once it is on disk, and sends nothing: to this process the log is away."""
    spool = Spool(
        SpoolFolders(Path(said["spools"])).own(said["name"]),
        CommandWire(_DECIDERS),
        said["name"],
        Counter(),
        limits=SpoolLimits(retry_seconds=_RETRY_SECONDS),
    )
    kept_so_far = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as tasks:
            while line := await reader.readline():
                tasks.create_task(promise(json.loads(line), writer))

    async def promise(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        nonlocal kept_so_far
        kept_so_far += 1
        kept = spool.keep(stream_of(asked), said["name"], kept_so_far, order_of(asked), command_of(asked))
        while kept is not None and not kept.durable:
            await spool.settled()
        writer.write(json.dumps({"n": asked["n"], "outcome": "full" if kept is None else "kept"}).encode() + b"\n")

    async with await asyncio.start_server(serve, LOOPBACK, said["port"]):
        await spool.run()


async def bring_home(said: dict[str, Any]) -> None:
    """Sends what it finds through owners of its own, as any process of the product would."""
    counters: Counter[str] = Counter()
    spools = SpoolFolders(Path(said["spools"]))
    spools.own(said["name"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps({"n": json.loads(line)["n"], "drained": counters["spool-facts-drained"]}).encode() + b"\n")

    async with owning(said) as owners, await asyncio.start_server(serve, LOOPBACK, said["port"]):
        pace = DrainPace(streams=4, doubt_seconds=0.05, look_again_seconds=0.2)
        await Drain(owners, _DECIDERS, CommandWire(_DECIDERS), counters, pace=pace).run(spools)


async def main(said: dict[str, Any]) -> None:
    role = asyncio.create_task({"keep": keep, "bring-home": bring_home}[said["role"]](said))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, role.cancel)
    await asyncio.wait([role])
    if not role.cancelled():
        role.result()


if __name__ == "__main__":
    # On a full disk a line of the log has no place either.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    uvloop.run(main(json.loads(sys.argv[1])))
