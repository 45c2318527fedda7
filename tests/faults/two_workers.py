"""Two voice workers behind one address, as processes on a stack of their own; for tests that kill one of them in mid-call."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from events.headers import Kind
from events.recorded import Recorded
from events.records import recorded
from events.registry import Fact
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader, open_reader
from infra.apps.demo_business.opening import Business, open_business
from infra.apps.installation import Installation, open_installation
from infra.apps.whereabouts import processes
from infra.emulators.balancer import Balancer
from infra.local.ports import free_ports
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import Settings

_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """`url` is the balancer's."""

    url: str
    business: Business
    installation: Installation
    workers: Sequence[Process]
    reader: KafkaLogReader

    def kill(self, pid: int, by: signal.Signals) -> None:
        next(each for each in self.workers if each.pid == pid).send_signal(by)

    async def everything(self) -> Sequence[Recorded[Fact]]:
        """Every fact of every call, in order."""
        found: list[Recorded[Fact]] = []
        async for batch in self.reader.batches([topic_of("calls")], {}, stop_at_end=True):
            found += [recorded(raw, self.reader.codec) for raw in batch.records if raw.header is not None and raw.header.kind is Kind.EVENT]
        return found


def unheard(_part: str, _words: str) -> None:
    """Progress that nobody watches."""


@asynccontextmanager
async def two_workers(settings: Settings, folder: Path, *, resume_calls: bool = True, drain_seconds: float = 30.0) -> AsyncIterator[Pair]:
    """The first one is rung first."""
    own = settings.model_copy(update={"state_dir": folder / "state"})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stop_stack, own.state_dir, own, unheard)
        services = await ensure_stack(own.state_dir, own, unheard)
        first, second, media_first, media_second = free_ports(4)
        balancer = Balancer([("127.0.0.1", first), ("127.0.0.1", second)])
        url = await stack.enter_async_context(balancer.serving())
        children: list[Process] = []
        roles = ["commands", "projections", "processors", "api"]
        started = [await _run(stack, own, role, {}) for role in roles]
        for port, media in ((first, media_first), (second, media_second)):
            children.append(await _run(stack, own, "realtime", {
                "AYBIZA_HTTP_PORT": str(port), "AYBIZA_MEDIA_PORT": str(media), "AYBIZA_PUBLIC_URL": url,
                "AYBIZA_MEDIA_URL": f"ws://127.0.0.1:{media}/media", "AYBIZA_RESUME_CALLS": str(resume_calls),
                "AYBIZA_DRAIN_SECONDS": str(drain_seconds),
            }))  # fmt: skip
            started.append(children[-1])
        async with asyncio.timeout(_SECONDS):
            for child in started:
                assert child.stdout is not None
                assert await child.stdout.readline()
        installation = stack.enter_context(open_installation(own))
        api = next(each.api for each in processes(own.state_dir) if each.api is not None)
        business = await open_business(api, installation.operator_key)
        reader = await stack.enter_async_context(open_reader(services.kafka))
        balancer.prefer(("127.0.0.1", first))
        yield Pair(url=url, business=business, installation=installation, workers=children, reader=reader)


async def _run(stack: AsyncExitStack, settings: Settings, role: str, more: dict[str, str]) -> Process:
    environment = {**os.environ, "AYBIZA_STATE_DIR": str(settings.state_dir), **more}
    words = [sys.executable, "-m", "infra.apps", "run", role]
    with (settings.state_dir / f"{role}-{len(more)}.err").open("ab") as log:
        child = await asyncio.create_subprocess_exec(*words, env=environment, stdout=PIPE, stderr=log)
    stack.push_async_callback(_ended, child)
    return child


async def _ended(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.communicate()
