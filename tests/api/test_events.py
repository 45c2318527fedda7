"""The event stream over HTTP: what happens as it happens, and on from exactly where a program was."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import httpx
import pytest

from api.limits import MOST_AT_ONCE
from tests.api.asking import refusal
from tests.api.platform import Platform, Tenant

_COUNT = itertools.count()
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def messages(api: httpx.AsyncClient, after: str | None = None, **params: Any) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Id and event of each message, until the stream ends."""
    headers = {} if after is None else {"Last-Event-ID": after}
    async with api.stream("GET", "/v1/events", params=params, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                name = value
            elif field == "data":
                yield name, json.loads(value)


async def setting(api: httpx.AsyncClient, *names: str) -> list[httpx.Response]:
    """Each time a fact: a flag that is set as it is already would be none."""
    return [await api.put(f"/v1/flags/{name}", json={"enabled": True, "variant": f"v{next(_COUNT)}"}) for name in names]


async def heard(api: httpx.AsyncClient, count: int, after: str | None = None, **params: Any) -> list[tuple[str, dict[str, Any]]]:
    """The first so many messages."""
    found = []
    async with asyncio.timeout(120), aclosing(messages(api, after, **params)) as stream:
        async for message in stream:
            if message[1]["subject"] != "flags/again":
                found.append(message)
            if len(found) == count:
                break
    return found


async def live(tenant: Tenant, *names: str) -> list[tuple[str, dict[str, Any]]]:
    """What a listener hears while these flags are set, one after another."""
    async with asyncio.timeout(120), aclosing(messages(tenant.api, types=["flag-set"])) as stream:
        first = asyncio.ensure_future(anext(stream))
        # From now on is from where the process reads: a flag that is set again and again is heard from some time on.
        while not first.done():
            await setting(tenant.api, "again")
            await asyncio.wait([first], timeout=0.05)
        found = [first.result()]
        await setting(tenant.api, *names)
        async for message in stream:
            found.append(message)
            if message[1]["subject"] == f"flags/{names[-1]}":
                return [each for each in found if each[1]["subject"] != "flags/again"]
    return found


def subjects(found: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [event["subject"] for _, event in found]


class TestFollowEvents:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/v1/events")) == (401, "unauthenticated")

    async def test_tells_a_fact_as_a_cloud_event(self, tenant: Tenant) -> None:
        ((name, event),) = await live(tenant, "lamp")
        assert name
        assert (event["specversion"], event["type"], event["source"]) == ("1.0", "flag-set.v1", "aybiza/flags")
        assert event["data"]["variant"].startswith("v")
        assert event["aybizaposition"].split("/")[0].endswith(".flags.v1")
        assert event["time"].endswith("Z")

    async def test_goes_on_behind_the_event_that_was_heard_last(self, tenant: Tenant) -> None:
        ((name, _),) = await live(tenant, "one")
        await setting(tenant.api, "two", "three", "four", "five")
        found = await heard(tenant.api, 4, after=name, types=["flag-set"])
        assert sorted(subjects(found)) == ["flags/five", "flags/four", "flags/three", "flags/two"]
        # From every one of them on, the others follow: none twice, none left out.
        for at, (place, _) in enumerate(found):
            rest = await heard(tenant.api, 9, after=place, types=["flag-set"], wait_seconds=0)
            assert sorted(subjects(rest)) == sorted(subjects(found[at + 1 :]))

    async def test_tells_nothing_of_another_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        ((name, _),) = await live(tenant, "mine")
        await setting(stranger.api, "theirs")
        await setting(tenant.api, "mine-too")
        # The place of one organisation's event is a place on the log, which shows another only its own.
        assert subjects(await heard(tenant.api, 1, after=name)) == ["flags/mine-too"]
        assert subjects(await heard(stranger.api, 1, after=name)) == ["flags/theirs"]

    async def test_ends_when_nothing_comes_for_as_long_as_was_said(self, tenant: Tenant) -> None:
        ((name, _),) = await live(tenant, "lamp")
        assert await heard(tenant.api, 1, after=name, types=["flag-set"], wait_seconds=0) == []

    async def test_ends_when_its_key_is_revoked(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = (await tenant.api.post(path, json={"label": "ears", "scopes": ["events:read"]})).json()
        async with running.client(issued["key"]) as ears, asyncio.timeout(120):
            stream = messages(ears)
            async with aclosing(stream):
                first = asyncio.ensure_future(anext(stream))
                while not first.done():
                    await setting(tenant.api, "again")
                    await asyncio.wait([first], timeout=0.05)
                await tenant.api.delete(f"{path}/{issued['id']}")
                await setting(tenant.api, "after")
                rest = [event async for _, event in stream]
        assert "flags/after" not in [event["subject"] for event in rest]

    @pytest.mark.parametrize("name", ["x", "v", "vAAAA", "k" + "0" * 31, "v!!!", "kzz.1-1", "v.1-1", "v" + "A" * 200])
    async def test_refuses_an_id_that_it_never_gave(self, tenant: Tenant, name: str) -> None:
        answer = await tenant.api.get("/v1/events", headers={"Last-Event-ID": name}, params={"wait_seconds": 0})
        assert refusal(answer) == (400, "bad-event-id")

    async def test_says_when_a_place_is_kept_no_longer(self, tenant: Tenant) -> None:
        answer = await tenant.api.get("/v1/events", headers={"Last-Event-ID": "k" + "0" * 32})
        assert refusal(answer) == (410, "event-id-expired")

    async def test_is_not_counted_among_the_requests_that_are_answered(self, running: Platform, tenant: Tenant) -> None:
        async with running.client(tenant.key) as ears, AsyncExitStack() as open_streams:
            for _ in range(MOST_AT_ONCE + 1):
                answer = await open_streams.enter_async_context(ears.stream("GET", "/v1/events"))
                assert answer.status_code == 200
            assert (await ears.get("/v1/flags")).status_code == 200
