"""Every read says up to where it is true, and takes back what it said."""

import os
import random
from typing import Any

import httpx
import pytest

from api.wire import read_seen
from tests.api.asking import refusal, seen
from tests.api.people import joined
from tests.api.platform import Platform, Tenant
from tests.api.test_isolation import Belongings, belongings

__all__ = ["belongings"]
pytestmark = pytest.mark.asyncio(loop_scope="package")
# Each of its events says where it stands.
OF_EVENTS = {"/v1/events"}
# What these operations need to be good requests.
ASKED_WITH = {
    "operation": "list_calls", "against": "1", "from": "2026-11-21T00:00:00Z", "to": "2026-11-22T00:00:00Z", "per": "hour",
}  # fmt: skip


async def reads(tenant: Tenant) -> list[tuple[str, dict[str, Any]]]:
    document = (await tenant.api.get("/openapi.json")).json()
    return [
        (path, methods["get"])
        for path, methods in document["paths"].items()
        if path.startswith("/v1/") and "get" in methods and path not in OF_EVENTS
    ]


class TestEveryRead:
    async def test_says_up_to_where_it_is_true(self, running: Platform, tenant: Tenant, belongings: Belongings) -> None:
        ada = await joined(running, tenant, f"cleo.{os.urandom(4).hex()}@example.com", "owner")
        forgetful, found = [], 0
        async with ada.client(running) as person:
            for path, operation in await reads(tenant):
                needed = [each["name"] for each in operation["parameters"] if each["in"] == "query" and each.get("required")]
                query = {name: ASKED_WITH[name] for name in needed}
                api = person if path.startswith("/v1/people") else tenant.api
                answer = await api.get(path.format(**{**belongings.ids, "person_id": ada.id}), params=query)
                assert answer.status_code in {200, 404}, (path, answer.text)
                found += answer.status_code == 200
                told = answer.headers.get("Aybiza-Position", "")
                if "@" not in told or not read_seen(told)[0]:
                    forgetful.append((path, answer.status_code, told))
                assert "Aybiza-Position" in operation["responses"]["200"]["headers"], path
        assert not forgetful
        assert found > 40

    async def test_is_true_of_the_past_where_it_was_of_the_present(self, tenant: Tenant) -> None:
        """What an answer said of itself gives the same answer, whatever came since."""
        made = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "red"})
        one = await tenant.api.get("/v1/flags/lamp", params=seen(made))
        listed = await tenant.api.get("/v1/flags")
        since = [await tenant.api.put(f"/v1/flags/{name}", json={"enabled": True, "variant": "blue"}) for name in ("lamp", "door")]
        assert len((await tenant.api.get("/v1/flags", params=seen(*since))).json()["data"]) == 2
        for path, before in (("/v1/flags/lamp", one), ("/v1/flags", listed)):
            then = await tenant.api.get(path, params={"as-of": before.headers["Aybiza-Position"]})
            assert (then.status_code, then.json()) == (200, before.json())
            assert then.headers["Aybiza-Position"]

    async def test_shows_at_least_what_another_one_showed(self, tenant: Tenant) -> None:
        made = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "red"})
        listed = await tenant.api.get("/v1/flags", params=seen(made))
        again = await tenant.api.get("/v1/flags/lamp", params=seen(listed))
        assert (again.status_code, "Warning" in again.headers) == (200, False)
        before, after = (read_seen(each.headers["Aybiza-Position"])[0] for each in (listed, again))
        assert all(offset >= before[place] for place, offset in after.items())
        # Of one thing it is the one partition in which its facts are.
        assert (len(after), len(before)) == (1, 2)

    async def test_says_it_of_what_is_not_there_too(self, tenant: Tenant, stranger: Tenant) -> None:
        made = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "red"})
        nothing = await stranger.api.get("/v1/flags/lamp", params=seen(made))
        assert refusal(nothing) == (404, "not-found")
        ours, _ = read_seen((await tenant.api.get("/v1/flags/lamp", params=seen(made))).headers["Aybiza-Position"])
        theirs, _ = read_seen(nothing.headers["Aybiza-Position"])
        assert {topic for topic, _ in theirs} == {topic for topic, _ in ours}

    async def test_says_what_holds_for_all_that_it_was_asked_for(self, running: Platform, tenant: Tenant) -> None:
        agent = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        number = await tenant.api.post("/v1/numbers", json={"number": f"+1202555{random.randint(1000, 9999)}", "agent_id": agent})
        assert number.is_success, number.text
        path = f"/v1/numbers/{number.json()['number']}"
        alone = await tenant.api.get(path, params=seen(number))
        both = await tenant.api.get(path, params={"expand": "agent"})
        assert topics(alone) == {f"{running.prefix}.numbers.v1"}
        assert topics(both) == {f"{running.prefix}.numbers.v1", f"{running.prefix}.agents.v1"}
        graph = await tenant.api.post("/graphql", json={"query": "{ agents { nodes { id } } flags { nodes { name } } }"})
        assert topics(graph) == {f"{running.prefix}.agents.v1", f"{running.prefix}.flags.v1"}, graph.text

    @pytest.mark.parametrize("wrong", ["@", "x@", "@1", "x:@1", "x:0@1", "x:0/1@", "x:0/1@-1", "x:0/1,0/2@1", "x:0/-1@1", "x:0/1@1"])
    async def test_takes_nothing_that_none_said(self, tenant: Tenant, wrong: str) -> None:
        assert refusal(await tenant.api.get("/v1/flags", params={"min-position": wrong})) == (400, "bad-position")
        assert refusal(await tenant.api.get("/v1/flags", params={"as-of": wrong})) == (400, "bad-as-of")

    async def test_of_what_is_still_to_come_is_refused(self, tenant: Tenant) -> None:
        place, _, at = (await tenant.api.get("/v1/flags")).headers["Aybiza-Position"].partition("@")
        for beyond in (f"{place}999@{at}", f"{place}@{at}9"):
            assert refusal(await tenant.api.get("/v1/flags", params={"as-of": beyond})) == (400, "bad-as-of")


def topics(answer: httpx.Response) -> set[str]:
    return {topic for topic, _ in read_seen(answer.headers["Aybiza-Position"])[0]}
