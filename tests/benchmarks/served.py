"""The API as its users meet it: real processes on a stack of their own, and requests at a fixed rate, each timed from when it was due."""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from rich.console import Console

from infra.apps.installation import open_installation
from infra.apps.whereabouts import processes
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import Settings, load_settings

_ASIDES = Console(stderr=True)
_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An organisation's view of a running platform. `api`: the one process that answers."""

    http: aiohttp.ClientSession
    url: str
    operator_key: str
    organisation_id: str
    api: psutil.Process

    def cpu_seconds(self) -> float:
        """What the API's process has used."""
        times = self.api.cpu_times()
        return float(times.user + times.system)


def told(part: str, words: str) -> None:
    _ASIDES.print(f"{part}: {words}")


@asynccontextmanager
async def served(*roles: str) -> AsyncIterator[Served]:
    """`aybiza run` of some roles, the API's among them, with an organisation. All of it is gone afterwards."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        settings = load_settings().model_copy(update={"state_dir": Path(folder) / "state"})
        stack.push_async_callback(stop_stack, settings.state_dir, settings, told)
        await ensure_stack(settings.state_dir, settings, told)
        environment = {**os.environ, "AYBIZA_STATE_DIR": str(settings.state_dir)}
        for role in roles:
            words = [sys.executable, "-m", "infra.apps", "run", role]
            child = await asyncio.create_subprocess_exec(*words, env=environment, stdout=PIPE)
            stack.push_async_callback(_stopped, child)
            async with asyncio.timeout(_READY_SECONDS):
                if child.stdout is None or not await child.stdout.readline():
                    raise SystemExit(f"aybiza run {role} did not begin")
        yield await _organised(stack, settings)


async def _organised(stack: AsyncExitStack, settings: Settings) -> Served:
    where = next(each for each in processes(settings.state_dir) if each.api is not None)
    installation = stack.enter_context(open_installation(settings))
    url = where.api or ""
    operator = {"Authorization": f"Bearer {installation.operator_key}"}
    async with aiohttp.ClientSession(url, headers=operator) as http, http.post("/v1/organisations", json={"name": "Bench"}) as answer:
        made = await answer.json()
    headers = {"Authorization": f"Bearer {made['api_key']['key']}"}
    connector = aiohttp.TCPConnector(limit=64)
    client = await stack.enter_async_context(aiohttp.ClientSession(url, headers=headers, connector=connector))
    return Served(
        http=client, url=url, operator_key=installation.operator_key, organisation_id=made["id"], api=psutil.Process(where.pid)
    )  # fmt: skip


async def _stopped(child: Process) -> None:
    if child.returncode is None:
        child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(20):
                await child.communicate()
        except TimeoutError:
            child.kill()
            await child.communicate()


async def at_rate(rate: float, seconds: float, ask: Callable[[int], Awaitable[None]]) -> list[float]:
    """Sorted milliseconds of each request from the moment it was due, as by a Poisson process: who waits in a queue is counted.

    How late we began to ask ourselves, and what that cost us, is told: it is in the figures, and not the API's doing.
    """
    draw = random.Random(7)
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    late: list[float] = []
    used = time.process_time()

    async def one(number: int, due: float) -> None:
        late.append((loop.time() - due) * 1000)
        await ask(number)
        taken.append((loop.time() - due) * 1000)

    due = loop.time() + 0.1
    end, number = due + seconds, 0
    async with asyncio.TaskGroup() as tasks:
        while due < end:
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(number, due))
            number += 1
            due += draw.expovariate(rate)
    late.sort()
    each = (time.process_time() - used) / len(late) * 1e6
    told("we ourselves", f"{each:.0f} us of CPU for each request, late by {at(late, 50)} ms at p50, {at(late, 99)} ms at p99")
    return sorted(taken)


def at(taken: Sequence[float], percent: float) -> float:
    """A percentile, rounded."""
    return round(taken[min(len(taken) - 1, int(len(taken) * percent / 100))], 2)


async def must(answer: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """The answer, read to its end. SystemExit where it is not what was asked for."""
    await answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{answer.method} {answer.url.path}: {answer.status} {(await answer.text())[:300]}")
    return answer
