"""Voice workers behind one address, as processes on a stack of their own; for tests that kill one of them in mid-call."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from events.headers import Kind
from events.recorded import Recorded
from events.records import recorded
from events.registry import Fact
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader, open_reader
from infra.apps.demo_business.opening import open_business
from infra.apps.installation import Installation, open_installation
from infra.emulators.balancer import Balancer
from infra.local.ports import free_ports
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import Settings

_HOST = "127.0.0.1"
_SECONDS = 90.0


@dataclass(slots=True, kw_only=True)
class House:
    """A platform and its stack; workers of its own are started behind balancers."""

    settings: Settings
    stack: AsyncExitStack
    installation: Installation
    reader: KafkaLogReader
    children: dict[int, Process] = field(default_factory=dict)

    async def worker(self, role: str, url: str, port: int, more: Mapping[str, str]) -> None:
        """Returns once it answers."""
        (media,) = free_ports(1)
        environment = {
            **os.environ, "AYBIZA_STATE_DIR": str(self.settings.state_dir), "AYBIZA_PUBLIC_URL": url, "AYBIZA_HTTP_PORT": str(port),
            "AYBIZA_MEDIA_PORT": str(media), "AYBIZA_MEDIA_URL": f"ws://{_HOST}:{media}/media", **more,
        }  # fmt: skip
        words = [sys.executable, "-m", "infra.apps", "run", role]
        with (self.settings.state_dir / f"{role}-{port}.err").open("ab") as log:
            child = await asyncio.create_subprocess_exec(*words, env=environment, stdout=PIPE, stderr=log)
        self.stack.push_async_callback(_ended, child)
        self.children[child.pid] = child
        async with asyncio.timeout(_SECONDS):
            assert child.stdout is not None
            assert await child.stdout.readline(), f"{role} did not start"

    async def pair(self, **more: str) -> str:
        """Two voice workers behind one address, which it gives."""
        ports = free_ports(2)
        url = await self.stack.enter_async_context(Balancer([(_HOST, port) for port in ports]).serving())
        async with asyncio.TaskGroup() as tasks:
            for port in ports:
                tasks.create_task(self.worker("realtime", url, port, more), name=f"worker at {port}")
        return url

    def signal(self, pid: int, by: signal.Signals) -> None:
        self.children[pid].send_signal(by)

    async def everything(self) -> Sequence[Recorded[Fact]]:
        """Every fact of every call, in order."""
        found: list[Recorded[Fact]] = []
        async for batch in self.reader.batches([topic_of("calls")], {}, stop_at_end=True):
            found += [recorded(raw, self.reader.codec) for raw in batch.records if raw.header is not None and raw.header.kind is Kind.EVENT]
        return found


def unheard(_part: str, _words: str) -> None:
    """Progress that nobody watches."""


@asynccontextmanager
async def opened(settings: Settings, **more: str) -> AsyncIterator[House]:
    """With the demo business open on it. `more`: what the environment of its platform has besides."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stop_stack, settings.state_dir, settings, unheard)
        services = await ensure_stack(settings.state_dir, settings, unheard)
        installation = stack.enter_context(open_installation(settings))
        reader = await stack.enter_async_context(open_reader(services.kafka))
        house = House(settings=settings, stack=stack, installation=installation, reader=reader)
        (port,) = free_ports(1)
        await house.worker("all", f"http://{_HOST}:{port}", port, more)
        await open_business(f"http://{_HOST}:{port}", installation.operator_key)
        yield house


async def _ended(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.communicate()
