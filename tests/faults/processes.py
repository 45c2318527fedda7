"""The platform as separate processes on a stack of its own, for tests that kill and freeze them."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from infra.apps.demo_business.opening import open_business
from infra.apps.installation import Installation, open_installation
from infra.apps.whereabouts import Whereabouts, processes
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import Settings
from tests.infra.apps.command import aybiza

SECONDS = 90.0
ROLES = ("commands", "commands", "realtime", "projections", "processors", "api")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Processes, those of `ROLES` first."""

    settings: Settings
    kafka: str
    installation: Installation
    stack: AsyncExitStack
    children: list[Process]

    @property
    def running(self) -> Sequence[Whereabouts]:
        return processes(self.settings.state_dir)

    def where(self, role: str) -> Whereabouts:
        return next(each for each in self.running if each.role == role)

    def child(self, pid: int) -> Process:
        return next(each for each in self.children if each.pid == pid)

    async def start(self, *roles: str) -> None:
        """Returns once each has said where it is."""
        environment = {**os.environ, "AYBIZA_STATE_DIR": str(self.settings.state_dir), "AYBIZA_WEBHOOKS_PRIVATE": "true"}
        fresh = []
        for role in roles:
            words = [sys.executable, "-m", "infra.apps", "run", role]
            child = await asyncio.create_subprocess_exec(*words, env=environment, stdout=PIPE, stderr=PIPE)
            self.stack.push_async_callback(killed, child)
            fresh.append(child)
        self.children.extend(fresh)
        async with asyncio.timeout(SECONDS):
            for child in fresh:
                assert child.stdout is not None
                assert await child.stdout.readline()

    async def owners(self) -> Sequence[Mapping[str, Any]]:
        """Every partition as `aybiza owners` has it."""
        told = await asyncio.to_thread(aybiza, "owners", "--json", state_dir=self.settings.state_dir)
        assert told.returncode == 0, told.stderr
        seen: list[Mapping[str, Any]] = json.loads(told.stdout)
        return seen


def unheard(_part: str, _words: str) -> None:
    """Progress that nobody watches."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[House]:
    """All of them run within; at the end they are told to stop, and do so cleanly."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stop_stack, settings.state_dir, settings, unheard)
        services = await ensure_stack(settings.state_dir, settings, unheard)
        installation = stack.enter_context(open_installation(settings))
        house = House(settings=settings, kafka=services.kafka, installation=installation, stack=stack, children=[])
        await house.start(*ROLES)
        yield house
        left = [child for child in house.children if child.returncode is None]
        for child in left:
            child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            # All at once: who waits for another's end while that one's pipe is full would wait for ever.
            ends = await asyncio.gather(*(child.communicate() for child in left))
        assert [child.returncode for child in left] == [0] * len(left)
        assert not [err for _, err in ends if b"Traceback" in err]
        assert processes(settings.state_dir) == []


async def killed(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.communicate()


@asynccontextmanager
async def asking(house: House) -> AsyncIterator[aiohttp.ClientSession]:
    """As the operator, for the demo business."""
    api, key = house.where("api").api, house.installation.operator_key
    assert api is not None
    business = await open_business(api, key)
    headers = {"Authorization": f"Bearer {key}", "Aybiza-Organisation": business.organisation_id}
    async with aiohttp.ClientSession(api, headers=headers) as http:
        yield http
