"""The platform as separate processes on a stack of its own: each does its part, and one that is killed is missed by nobody."""

import asyncio
import itertools
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from events.agents import AgentCreated
from events.headers import Kind
from events.recorded import Recorded
from events.records import recorded
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader, open_reader
from infra.apps.demo_business.opening import CALLER, NUMBER, open_business
from infra.apps.installation import Installation, open_installation
from infra.apps.ringing import ring
from infra.apps.whereabouts import Whereabouts, processes
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import Settings
from tests.infra.apps.command import aybiza

_SECONDS = 90.0
_ROLES = ("commands", "commands", "realtime", "projections", "processors", "api")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Processes, those of `_ROLES` first."""

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
        environment = {**os.environ, "AYBIZA_STATE_DIR": str(self.settings.state_dir)}
        fresh = []
        for role in roles:
            words = [sys.executable, "-m", "infra.apps", "run", role]
            child = await asyncio.create_subprocess_exec(*words, env=environment, stdout=PIPE, stderr=PIPE)
            self.stack.push_async_callback(killed, child)
            fresh.append(child)
        self.children.extend(fresh)
        async with asyncio.timeout(_SECONDS):
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
        await house.start(*_ROLES)
        yield house
        left = [child for child in house.children if child.returncode is None]
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with opened(settings.model_copy(update={"state_dir": tmp_path_factory.mktemp("house") / "state"})) as it:
        yield it


@asynccontextmanager
async def asking(house: House) -> AsyncIterator[aiohttp.ClientSession]:
    """As the operator, for the demo business."""
    api, key = house.where("api").api, house.installation.operator_key
    assert api is not None
    business = await open_business(api, key)
    headers = {"Authorization": f"Bearer {key}", "Aybiza-Organisation": business.organisation_id}
    async with aiohttp.ClientSession(api, headers=headers) as http:
        yield http


class TestTheParts:
    async def test_share_the_work_and_take_over_from_one_that_is_killed(self, house: House) -> None:
        own, voice = house.settings, house.where("realtime").voice
        assert voice is not None
        async with asking(house) as http:
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
            await ring(house.installation, voice, number=NUMBER, caller=CALLER, lines=(), patience_ms=500)

            dead_pid = next(each.pid for each in house.running if each.peer == dead)
            lost = {(each["topic"], each["partition"]): each["term"] for each in before if each["owner"] == dead}
            house.child(dead_pid).kill()
            await asyncio.gather(*(write(http, number) for number in range(40)))
            # By need, long before the group missed it, or when it did: whatever it owned has an owner that lives.
            after = {(each["topic"], each["partition"]): each for each in await every_partition(house)}
            assert lost
            assert [place for place, term in lost.items() if after[place]["term"] <= term] == []
            assert await listed(http, "/v1/flags", 41)
            assert await listed(http, "/v1/agents", 41)
            (call,) = await listed(http, "/v1/calls", 1)
            assert call["status"] == "ended"


class TestTheApiKilledUnderLoad:
    async def test_has_done_once_what_it_answered_and_what_it_did_not(self, house: House) -> None:
        load = Load()
        async with asking(house) as http, open_reader(house.kafka) as reader:
            first = house.where("api")
            async with asyncio.TaskGroup() as callers:
                for number in range(16):
                    callers.create_task(load.caller(http, number), name=f"caller {number}")
                lost = await until_something_is_unanswered(house.child(first.pid), reader, load)
                house.child(first.pid).kill()
            await house.child(first.pid).wait()
        # The log has them, and nobody was told.
        assert lost.isdisjoint(load.answers)
        await house.start("api")
        async with asking(house) as http, open_reader(house.kafka) as reader:
            assert house.where("api").pid != first.pid
            for name in load.asked:
                again = await create(http, name, key=name)
                # Who had an answer has that one again, who had none has the first.
                assert load.answers.setdefault(name, again) == again
            await must_be_once(http, reader, load)
            # Asked for without its key it is another request, which the test can tell.
            await create(http, next(iter(lost)), key=None)
            with pytest.raises(AssertionError):
                await must_be_once(http, reader, load)


class Answer(NamedTuple):
    id: str
    position: str
    tag: str
    body: str


class Load:
    """Agents that are asked for, by their names, and what was answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}

    async def caller(self, http: aiohttp.ClientSession, number: int) -> None:
        """One after the other, until nobody is there any more."""
        for turn in itertools.count():
            name = f"load-{number}-{turn}"
            self.asked.append(name)
            try:
                self.answers[name] = await create(http, name, key=name)
            except aiohttp.ClientError:
                return


async def create(http: aiohttp.ClientSession, name: str, *, key: str | None) -> Answer:
    """As a client does: what is refused for now is sent again."""
    headers = {} if key is None else {"Idempotency-Key": key}
    while True:
        async with http.post("/v1/agents", json={"name": name}, headers=headers) as answer:
            body = await answer.text()
            if answer.status == 201:
                return Answer(json.loads(body)["id"], answer.headers["Aybiza-Position"], answer.headers["ETag"], body)
            assert answer.status in {429, 503}, body
            await asyncio.sleep(float(answer.headers["Retry-After"]))


async def until_something_is_unanswered(api: Process, reader: KafkaLogReader, load: Load) -> set[str]:
    """Names that the log has and nobody was told of: the API stands still, and is left so."""
    while True:
        # Answers must come between two looks.
        told = len(load.answers)
        async with asyncio.timeout(_SECONDS):
            while len(load.answers) < told + 30:
                await asyncio.sleep(0.01)
        api.send_signal(signal.SIGSTOP)
        if found := {each.fact.name for each in await created(reader)} & (set(load.asked) - load.answers.keys()):
            return found
        api.send_signal(signal.SIGCONT)


async def created(reader: KafkaLogReader) -> Sequence[Recorded[Any]]:
    """As they are on the log."""
    found = []
    async for batch in reader.batches([topic_of("agents")], {}, stop_at_end=True):
        facts = (recorded(raw, reader.codec) for raw in batch.records if raw.header is not None and raw.header.kind is Kind.EVENT)
        found += [fact for fact in facts if isinstance(fact.fact, AgentCreated)]
    return found


async def must_be_once(http: aiohttp.ClientSession, reader: KafkaLogReader, load: Load) -> None:
    """What was answered is what was written, where it was said to be, and what is shown."""
    asked = set(load.asked)
    written = sorted((each.fact.name, each.stream.id, str(each.position)) for each in await created(reader) if each.fact.name in asked)
    assert written == sorted((name, each.id, each.position) for name, each in load.answers.items())
    seen = [each for each in await every_agent(http, len(load.answers)) if each["name"] in asked]
    assert sorted((each["name"], each["id"]) for each in seen) == sorted((name, each.id) for name, each in load.answers.items())


async def every_agent(http: aiohttp.ClientSession, at_least: int) -> Sequence[Mapping[str, Any]]:
    """What the API lists on all pages, once it is as much."""
    async with asyncio.timeout(_SECONDS):
        while True:
            found: list[Mapping[str, Any]] = []
            asked: dict[str, Any] | None = {"limit": 100}
            while asked is not None:
                async with http.get("/v1/agents", params=asked) as answer:
                    page = await answer.json()
                assert answer.status == 200, page
                found += page["data"]
                asked = {"limit": 100, "cursor": page["next_cursor"]} if page["has_more"] else None
            if len(found) >= at_least:
                return found


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
