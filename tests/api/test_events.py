"""The event stream over HTTP: what happens as it happens, and on from exactly where a program was."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.limits import MOST_AT_ONCE
from commands.calls.deciding import CALLS
from commands.calls.orders import OrderHangUp, Witness
from commands.dispatch import Order
from events.calls.talking import CallerTurn
from events.sealing import Sealed
from tests.api.asking import refusal
from tests.api.platform import Platform, Tenant
from tests.api.test_calls import OVER, call_under_way

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


class TestGetEvent:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get(f"/v1/events/{'0' * 32}-0")) == (401, "unauthenticated")

    async def test_shows_what_was_heard_by_any_spelling_of_its_id_and_to_nobody_else(self, tenant: Tenant, stranger: Tenant) -> None:
        for _, event in await live(tenant, "lamp", "door"):
            commit, _, index = event["id"].partition("-")
            dashed = f"{commit[:8]}-{commit[8:12]}-{commit[12:16]}-{commit[16:20]}-{commit[20:]}"
            params = {"min-position": event["aybizaposition"]}
            for name in (event["id"], event["id"].upper(), commit + index, f"{dashed}-{index}", f"%20{commit}%2D{index}"):
                answer = await tenant.api.get(f"/v1/events/{name}", params=params)
                assert (answer.status_code, answer.json()) == (200, event)
                looked = await tenant.api.get(f"/v1/lookup/{name}", params=params)
                assert looked.json() == {"kind": "event", "id": event["id"], "href": f"/v1/events/{event['id']}"}
                for path in ("events", "lookup"):
                    assert refusal(await stranger.api.get(f"/v1/{path}/{name}", params=params)) == (404, "not-found")

    @pytest.mark.parametrize("name", ["0", "0" * 32, "0" * 32 + "-0", "f" * 32 + "-65536", "0" * 32 + "-٣", "call-1", "%00"])
    async def test_is_not_found_where_nothing_is(self, tenant: Tenant, name: str) -> None:
        assert refusal(await tenant.api.get(f"/v1/events/{name}")) == (404, "not-found")

    async def test_is_not_there_before_it_was(self, tenant: Tenant) -> None:
        *_, (_, event) = await live(tenant, "lamp")
        path, position = f"/v1/events/{event['id']}", {"min-position": event["aybizaposition"]}
        then = await tenant.api.get(path, params={"as-of": event["aybizaposition"], **position})
        assert (then.json(), then.headers["Aybiza-Position"]) == (event, event["aybizaposition"])
        earlier = await tenant.api.get(path, params={"as-of": "2020-01-01T00:00:00Z", **position})
        assert refusal(earlier) == (404, "not-found")

    async def test_leads_to_its_cause_and_is_shown_in_part(self, running: Platform, tenant: Tenant) -> None:
        call = await call_under_way(running, tenant)
        said = await running.do(CALLS, call, OrderHangUp(reason="shift ends"))
        order = Order(
            command_id=os.urandom(16), digest=os.urandom(16), actor="worker:test", occurred_at=datetime.now(UTC),
            causation=said.facts[0].event_id,
        )  # fmt: skip
        over = await running.owners(CALLS, call, OVER, order)
        params = {"fields": "type,aybizacause", "expand": "cause", "min-position": str(over.position)}
        answer = (await tenant.api.get(f"/v1/events/{over.facts[0].event_id}", params=params)).json()
        assert (answer["type"], answer["aybizacause"], len(answer)) == ("call-ended.v1", str(said.facts[0].event_id), 3)
        assert answer["expanded"]["cause"]["data"] == {"reason": "shift ends"}

    async def test_keeps_quiet_of_a_person_who_was_erased(self, running: Platform, tenant: Tenant) -> None:
        call = await call_under_way(running, tenant)
        # Under a key that is not there: as after an erasure.
        nobodys: Sealed[str] = Sealed("nobody/at-all", b"0" * 40)
        words = []
        for sealed in (running.key_ring.seal(f"{tenant.id}/ann", "my name is Ann"), nobodys):
            said = CallerTurn(turn=2, words=sealed, started_ms=2000, ended_ms=2400, recognised_ms=2450, confidence=0.5)
            told = await running.do(CALLS, call, Witness(fact=said))
            params = {"min-position": str(told.position)}
            words.append((await tenant.api.get(f"/v1/events/{told.facts[0].event_id}", params=params)).json()["data"]["words"])
        assert words == ["my name is Ann", None]
