"""An owner process as the product has them, that takes commands from anyone as lines of JSON: `python -m tests.chaos.worker '{…}'`."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
import uvloop

from commands.decider import CommandRefused
from commands.dispatch import CommandIdReused, CommitInDoubt, ExpectedVersionMismatch, LogUnavailable
from commands.flags import FLAGS
from commands.ownership.appending import World
from commands.routing.owners import Owners
from events.rooms import prepared_codec
from infra.adapters.kafka.claims import ClaimsTopic
from infra.adapters.kafka.membership import GroupAssignments
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.peers import PeerServer, SocketPeers
from infra.local.ports import LOOPBACK
from tests.chaos.wire import command_of, order_of, stream_of

_LINE_BYTES = 1 << 20


async def answer(owners: Owners, asked: dict[str, Any]) -> dict[str, Any]:
    """What a command's bearer hears, as JSON."""
    try:
        committed = await owners(FLAGS, stream_of(asked), command_of(asked), order_of(asked), expected_version=asked["expected"])
    except ExpectedVersionMismatch as conflict:
        return {"outcome": "conflict", "expected": conflict.expected, "found": conflict.found}
    except CommandRefused as refusal:
        return {"outcome": "refused", "code": refusal.code}
    except CommandIdReused:
        return {"outcome": "reused"}
    except LogUnavailable as away:
        return {"outcome": "unavailable", "retry_ms": away.retry_after_ms, "reason": str(away)}
    except CommitInDoubt:
        return {"outcome": "doubt"}
    return {"outcome": "committed", "position": str(committed.position), "version": committed.version, "repeated": committed.repeated}


class Desk:
    """Takes commands on a plain socket. Each is answered as soon as it can be, whatever came before it."""

    def __init__(self, owners: Owners, tasks: asyncio.TaskGroup) -> None:
        self._owners = owners
        self._tasks = tasks

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self._tasks.create_task(self._answer(json.loads(line), writer))
        writer.close()

    async def _answer(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        said = self._owned() if asked.get("what") == "owned" else await answer(self._owners, asked)
        if not writer.is_closing():
            writer.write(json.dumps(said | {"n": asked["n"]}).encode() + b"\n")

    def _owned(self) -> dict[str, Any]:
        return {"owned": [each.place.partition for each in self._owners.ownerships() if each.owned]}


@asynccontextmanager
async def owning(said: dict[str, Any]) -> AsyncIterator[Owners]:
    """The owners of one process as the product wires them; others reach them at `peer_port`."""
    skew_ms = said["skew_ms"]
    topic = f"{said['prefix']}.flags.v1"
    async with KafkaLog(said["bootstrap"]) as log, SocketPeers(None) as peers, AsyncExitStack() as stack:
        schemas = SchemaTopic(log, prepared_codec(), f"{said['prefix']}.schemas")
        world = World(log=log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000 + skew_ms, draw=os.urandom)
        listening = socket.create_server((LOOPBACK, said["peer_port"]))
        address = f"{LOOPBACK}:{said['peer_port']}/{os.urandom(4).hex()}"
        claims = await stack.enter_async_context(ClaimsTopic(said["bootstrap"], log, schemas, schemas.codec, f"{said['prefix']}.claims"))
        members = GroupAssignments(said["bootstrap"], f"{said['prefix']}.owners", [topic], session_seconds=said["session_seconds"])
        topics = {FLAGS.room: (topic, said["partitions"])}
        owners = Owners(
            topics, {FLAGS.category: FLAGS}, schemas.codec, world, address=address, peers=peers, claims=claims, assignments=members
        )
        async with PeerServer(owners.serve, listening, None), owners:
            yield owners


async def main(said: dict[str, Any]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with owning(said) as owners, asyncio.TaskGroup() as tasks:
        desk = await asyncio.start_server(Desk(owners, tasks).serve, LOOPBACK, said["port"], limit=_LINE_BYTES)
        await stopping.wait()
        desk.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(main(json.loads(sys.argv[1])))
