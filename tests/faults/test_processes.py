"""The platform as separate processes on a stack of its own: each does its part, and one that is killed is missed by nobody."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from infra.apps.demo_business.opening import CALLER, NUMBER, open_business
from infra.apps.installation import open_installation
from infra.apps.ringing import ring
from infra.apps.whereabouts import Whereabouts, processes
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import Settings
from tests.infra.apps.command import aybiza

_SECONDS = 90.0
_ROLES = ("commands", "commands", "realtime", "projections", "processors", "api")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Processes by their roles, in the order of `_ROLES`."""

    settings: Settings
    children: Sequence[Process]

    @property
    def running(self) -> Sequence[Whereabouts]:
        return processes(self.settings.state_dir)

    def where(self, role: str) -> Whereabouts:
        return next(each for each in self.running if each.role == role)

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
        await ensure_stack(settings.state_dir, settings, unheard)
        environment = {**os.environ, "AYBIZA_STATE_DIR": str(settings.state_dir)}
        children = []
        for role in _ROLES:
            words = [sys.executable, "-m", "infra.apps", "run", role]
            child = await asyncio.create_subprocess_exec(*words, env=environment, stdout=PIPE, stderr=PIPE)
            stack.push_async_callback(killed, child)
            children.append(child)
        async with asyncio.timeout(_SECONDS):
            for child in children:
                assert child.stdout is not None
                assert await child.stdout.readline()
        yield House(settings=settings, children=children)
        left = [child for child in children if child.returncode is None]
        for child in left:
            child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_SECONDS):
            ends = [await child.communicate() for child in left]
        assert [child.returncode for child in left] == [0] * len(left)
        assert not [err for _, err in ends if b"Traceback" in err]
        assert processes(settings.state_dir) == []


async def killed(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.communicate()


class TestTheParts:
    async def test_share_the_work_and_take_over_from_one_that_is_killed(self, settings: Settings, tmp_path: Path) -> None:
        own = settings.model_copy(update={"state_dir": tmp_path / "state"})
        async with opened(own) as house, AsyncExitStack() as stack:
            api, voice = house.where("api").api, house.where("realtime").voice
            assert api is not None
            assert voice is not None
            installation = stack.enter_context(open_installation(own))
            business = await open_business(api, installation.operator_key)
            headers = {"Authorization": f"Bearer {installation.operator_key}", "Aybiza-Organisation": business.organisation_id}
            http = await stack.enter_async_context(aiohttp.ClientSession(api, headers=headers))

            status = await asyncio.to_thread(aybiza, "status", "--json", state_dir=own.state_dir)
            assert sorted(each["role"] for each in json.loads(status.stdout)["processes"]) == sorted(_ROLES)
            assert json.loads(status.stdout)["lag"] is not None
            before = await every_partition(house)
            workers = {each.peer: each.role for each in house.running}
            assert {workers[each["owner"]] for each in before if each["topic"] == "aybiza.calls.v1"} == {"realtime"}
            # What was asked for before the group had settled went to whoever needed it (here: the API), and stays there.
            others = Counter(each["owner"] for each in before if each["topic"] != "aybiza.calls.v1")
            assert "commands" in {workers[owner] for owner in others}
            dead = max((each.peer for each in house.running if each.role == "commands"), key=lambda peer: others[peer])
            await ring(installation, voice, number=NUMBER, caller=CALLER, lines=(), patience_ms=500)

            dead_pid = next(each.pid for each in house.running if each.peer == dead)
            victim = next(child for child in house.children if child.pid == dead_pid)
            lost = {(each["topic"], each["partition"]): each["term"] for each in before if each["owner"] == dead}
            victim.kill()
            await asyncio.gather(*(write(http, number) for number in range(40)))
            # By need, long before the group missed it, or when it did: whatever it owned has an owner that lives.
            after = {(each["topic"], each["partition"]): each for each in await every_partition(house)}
            assert lost
            assert [place for place, term in lost.items() if after[place]["term"] <= term] == []
            assert await listed(http, "/v1/flags", 41)
            assert await listed(http, "/v1/agents", 41)
            (call,) = await listed(http, "/v1/calls", 1)
            assert call["status"] == "ended"


async def every_partition(house: House) -> Sequence[Mapping[str, Any]]:
    """Once each has an owner that answers."""
    async with asyncio.timeout(_SECONDS):
        seen = await house.owners()
        while {each["answers"] for each in seen} != {"yes"}:
            seen = await house.owners()
    return seen


async def write(http: aiohttp.ClientSession, number: int) -> None:
    await sent(http, "PUT", f"/v1/flags/flag-{number}", {"enabled": True, "variant": "on", "description": ""}, f"f{number}")
    await sent(http, "POST", "/v1/agents", {"name": f"agent {number}"}, f"a{number}")


async def sent(http: aiohttp.ClientSession, method: str, path: str, body: Mapping[str, Any], key: str) -> None:
    """As a client does: what could not be answered is sent again under its key."""
    while True:
        async with http.request(method, path, json=body, headers={"Idempotency-Key": key}) as answer:
            if answer.status < 300:
                return
            assert answer.status == 503, await answer.text()


async def listed(http: aiohttp.ClientSession, path: str, count: int) -> Sequence[Mapping[str, Any]]:
    """What the API lists, once it is as much."""
    async with asyncio.timeout(_SECONDS):
        while True:
            async with http.get(path, params={"limit": 100}) as answer:
                entries: Sequence[Mapping[str, Any]] = (await answer.json())["data"]
            if len(entries) >= count:
                return entries
            await asyncio.sleep(0)
