"""A voice worker's spool as a program that is killed: `python -m tests.faults.spooling_worker BOOTSTRAP PREFIX FOLDER DUTY`.

`keep`: calls are answered; some of their facts go onto the log, all into the spool; then `kept` is printed and nothing follows.
`drain`: what others kept is brought home; every few facts `told n` is printed, and `home` at the end. `drain-forgetfully`: with a new
command id each time, as if nobody remembered what was sent.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from commands.decider import Decider
from commands.dispatch import Committed, Dispatch, Order
from commands.ownership.appending import World
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from commands.spool.drain import Drain, DrainPace
from commands.spool.spool import Spool
from commands.wire import CommandWire
from events.rooms import prepared_codec
from events.streams import StreamId
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.spool_folder import SpoolFolders
from tests.commands.spool.call import call, failure, order, received

CALLS = 3
FACTS = 200
"""Of each call; more than the decider itself remembers of what came late."""
SENT = 20
PARTITIONS = 8


@asynccontextmanager
async def owners(bootstrap: str, prefix: str) -> AsyncIterator[Owners]:
    async with KafkaLog(bootstrap) as log:
        schemas = SchemaTopic(log, prepared_codec(), f"{prefix}.schemas")
        world = World(log=log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        topics = {"calls": (f"{prefix}.calls.v1", PARTITIONS)}
        async with Owners(topics, {"calls": DECIDERS["calls"]}, schemas.codec, world, address=f"worker-{os.getpid()}") as owning:
            yield owning


async def keep(dispatch: Dispatch, folders: SpoolFolders) -> None:
    streams = [call(n) for n in range(CALLS)]
    await received(dispatch, *streams)
    incarnation = f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}"
    spool = Spool(folders.own(incarnation), CommandWire(DECIDERS), incarnation, Counter())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(spool.run())
        for n in range(FACTS):
            for stream in streams:
                command = failure(n)
                spool.keep(stream, "MZ1", n, order(stream, n + 1, command), command)
                if n < SENT:
                    await dispatch(DECIDERS["calls"], stream, command, order(stream, n + 1, command))
        await spool.settled()
        print("kept", flush=True)  # noqa: T201 - its word to the test


class Forgetful:
    """A dispatch whose repeats nobody recognises."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        anew = replace(order, command_id=os.urandom(16))
        return await self._dispatch(decider, stream, command, anew, expected_version=expected_version)


async def drain(dispatch: Dispatch, root: Path) -> None:
    counters: Counter[str] = Counter()
    home = Drain(dispatch, DECIDERS, CommandWire(DECIDERS), counters, pace=DrainPace(look_again_seconds=0.1))
    async with asyncio.TaskGroup() as tasks:
        draining = tasks.create_task(home.run(SpoolFolders(root)))
        told = 0
        while any(root.iterdir()):  # noqa: ASYNC240 - a handful of names
            await asyncio.sleep(0.001)
            if counters["spool-facts-drained"] >= told + 20:
                told = counters["spool-facts-drained"]
                print("told", told, flush=True)  # noqa: T201
        print("home", flush=True)  # noqa: T201
        draining.cancel()


async def main(bootstrap: str, prefix: str, folder: str, duty: str) -> None:
    root = Path(folder)
    async with owners(bootstrap, prefix) as owning:
        match duty:
            case "keep":
                await keep(owning, SpoolFolders(root))
            case "drain":
                await drain(owning, root)
            case _:
                await drain(Forgetful(owning), root)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
