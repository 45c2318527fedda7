"""The platform as separate processes on a stack of its own: each does its part, and one that is killed is missed by nobody."""

import asyncio
import itertools
import json
import signal
from asyncio.subprocess import Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from events.agents import AgentCreated
from events.headers import Kind
from events.positions import Position
from events.recorded import Recorded
from events.records import recorded
from events.registry import Fact
from events.streams import topic_of
from events.webhooks import WebhookDeliveriesMade
from infra.adapters.kafka.reader import KafkaLogReader, open_reader
from infra.apps.demo_business.opening import CALLER, NUMBER
from infra.apps.ringing import ring
from infra.apps.webhooks import HeldVectors
from infra.settings import Settings
from projections.feed_names import Resume, resume_at
from tests.faults.processes import ROLES, SECONDS, House, asking, opened
from tests.infra.apps.command import aybiza
from tests.stream_processors.receiving import Receiver, receiver, takes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with opened(settings.model_copy(update={"state_dir": tmp_path_factory.mktemp("house") / "state"})) as it:
        yield it


class TestTheParts:
    async def test_share_the_work_and_take_over_from_one_that_is_killed(self, house: House) -> None:
        own, voice = house.settings, house.where("realtime").voice
        assert voice is not None
        async with asking(house) as http:
            status = await asyncio.to_thread(aybiza, "status", "--json", state_dir=own.state_dir)
            assert sorted(each["role"] for each in json.loads(status.stdout)["processes"]) == sorted(ROLES)
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


class TestASenderOfWebhooksThatWasFrozen:
    async def test_has_missed_nothing_for_the_address_and_says_nothing_of_it_twice(self, house: House) -> None:
        async with asking(house) as http, receiver() as receiving, open_reader(house.kafka) as reader:
            told = Address(http, receiving)
            await sent(http, "POST", "/v1/webhooks", {"url": receiving.url, "types": ["flag-set"]}, "address")
            await told.happen(30)
            await receiving.until(lambda: told.whole)
            answering = asyncio.Event()

            async def waits(request: web.Request, event: dict[str, Any]) -> web.Response:
                await answering.wait()
                return await takes(request, event)

            receiving.behaves, asked = waits, len(receiving.asked)
            await told.happen(5)
            await receiving.until(lambda: len(receiving.asked) > asked)
            # It has sent something, and not heard what became of it.
            first = house.child(house.where("processors").pid)
            first.send_signal(signal.SIGSTOP)
            receiving.behaves = takes
            answering.set()
            await told.happen(100)
            before = told.happened
            # The control: nobody else sends, so what happens meanwhile is missing.
            assert not told.whole
            await house.start("processors")
            await receiving.until(lambda: told.whole)
            first.send_signal(signal.SIGCONT)
            # From here on both are alive, and the first believes for a while that the address is its own.
            for _ in range(3):
                await told.happen(100)
            await receiving.until(lambda: told.whole)
            told.must_be_in_order()
            # Whatever each of them said of how far it is, the address was never taken back, and is behind what the frozen one was in.
            reached: list[Resume] = []
            async with asyncio.timeout(SECONDS):
                while not (reached and told.is_behind(reached[-1], before)):
                    said = [each.fact for each in await facts_of(reader, "webhooks") if isinstance(each.fact, WebhookDeliveriesMade)]
                    reached = [at for each in said if (at := await resume_at(each.after, HeldVectors())) is not None]
            for place in reached[-1].cursor:
                offsets = [at.next_offset(place) for at in reached]
                assert offsets == sorted(offsets)
            first.kill()
            await first.wait()


class Address:
    """An address that is told of flags, and what should have come there."""

    def __init__(self, http: aiohttp.ClientSession, receiving: Receiver) -> None:
        self.happened = 0
        self._http = http
        self._receiving = receiving

    async def happen(self, times: int) -> None:
        for _ in range(times):
            body = {"enabled": True, "variant": f"v{self.happened}", "description": ""}
            await sent(self._http, "PUT", f"/v1/flags/told-{self.happened % 4}", body, f"told-{self.happened}")
            self.happened += 1

    @property
    def whole(self) -> bool:
        return len({name for name, _ in self._receiving.taken}) == self.happened

    def is_behind(self, at: Resume, events: int) -> bool:
        """Whether a place is behind so many of the first events."""
        came = [Position.parse(event["aybizaposition"]) for event in dict(self._receiving.taken).values()]
        return all(at.next_offset((each.topic, each.partition)) > each.offset for each in came[:events])

    def must_be_in_order(self) -> None:
        """Of each flag, by what came for the first time; and what came again is the same."""
        first = dict(reversed(self._receiving.taken))
        assert all(event == first[name] for name, event in self._receiving.taken)
        versions: defaultdict[str, list[int]] = defaultdict(list)
        for event in dict(self._receiving.taken).values():
            versions[event["subject"]].append(event["aybizaversion"])
        assert all(each == list(range(1, len(each) + 1)) for each in versions.values())


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
        async with asyncio.timeout(SECONDS):
            while len(load.answers) < told + 30:
                await asyncio.sleep(0.01)
        api.send_signal(signal.SIGSTOP)
        if found := {name for name, _, _ in await created(reader)} & (set(load.asked) - load.answers.keys()):
            return found
        api.send_signal(signal.SIGCONT)


async def facts_of(reader: KafkaLogReader, room: str) -> Sequence[Recorded[Fact]]:
    """As they are on the log."""
    found: list[Recorded[Fact]] = []
    async for batch in reader.batches([topic_of(room)], {}, stop_at_end=True):
        found += [recorded(raw, reader.codec) for raw in batch.records if raw.header is not None and raw.header.kind is Kind.EVENT]
    return found


async def created(reader: KafkaLogReader) -> Sequence[tuple[str, str, str]]:
    """Agents as they are on the log: name, id, position."""
    facts = await facts_of(reader, "agents")
    return [(each.fact.name, each.stream.id, str(each.position)) for each in facts if isinstance(each.fact, AgentCreated)]


async def must_be_once(http: aiohttp.ClientSession, reader: KafkaLogReader, load: Load) -> None:
    """What was answered is what was written, where it was said to be, and what is shown."""
    asked = set(load.asked)
    written = sorted(each for each in await created(reader) if each[0] in asked)
    assert written == sorted((name, each.id, each.position) for name, each in load.answers.items())
    seen = [each for each in await every_agent(http, len(load.answers)) if each["name"] in asked]
    assert sorted((each["name"], each["id"]) for each in seen) == sorted((name, each.id) for name, each in load.answers.items())


async def every_agent(http: aiohttp.ClientSession, at_least: int) -> Sequence[Mapping[str, Any]]:
    """What the API lists on all pages, once it is as much."""
    async with asyncio.timeout(SECONDS):
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
    async with asyncio.timeout(SECONDS):
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
    async with asyncio.timeout(SECONDS):
        while True:
            async with http.get(path, params={"limit": 100}) as answer:
                entries: Sequence[Mapping[str, Any]] = (await answer.json())["data"]
            if len(entries) >= count:
                return entries
            await asyncio.sleep(0)
