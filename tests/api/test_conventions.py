"""What holds for every answer of the API: its fields, what it refers to, its version, its age."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Annotated, Any

import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from api.auth import Caller
from api.shapes import shapes_of
from api.shaping import Conventions
from api.trace import Trace
from api.versions import CHANGES, Change, Deprecated, Versions, deprecated
from api.wire import Wire
from commands.calls.deciding import CALLS
from commands.calls.orders import ReceiveCall
from events.streams import StreamId
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, fresh_call_id, served

pytestmark = pytest.mark.asyncio(loop_scope="package")
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
CONFIGURATION = {"name": "Ann", "version": "1", "system_prompt": "You are Ann.", "greeting": "Hello."}


async def called(running: Platform, tenant: Tenant, agent_id: str, number: str = "+14155550123") -> str:
    """A call that rang at an agent."""
    call_id, sealed = fresh_call_id(), running.key_ring.seal(tenant.id, number)
    ring = ReceiveCall(
        call_sid=f"CA{os.urandom(8).hex()}", caller=sealed, caller_ref="0" * 32, number=sealed, number_ref="n", agent_id=agent_id,
        agent_version="1", agent_version_hash="0" * 64,
    )  # fmt: skip
    committed = await running.do(CALLS, StreamId(tenant.id, "calls", call_id), ring)
    await running.ports.rows.wait_for([committed.position], 120)
    return call_id


async def an_agent(tenant: Tenant) -> str:
    made = await tenant.api.post("/v1/agents", json={"name": "Ann"})
    await tenant.api.get("/v1/agents", params=seen(made))
    return str(made.json()["id"])


class TestFields:
    async def test_leave_out_what_was_not_asked_for(self, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        answer = await tenant.api.get(f"/v1/agents/{agent}", params={"fields": "id,name"})
        assert answer.json() == {"id": agent, "name": "Ann"}
        assert answer.headers["Content-Type"] == "application/vnd.aybiza.partial+json"
        assert answer.headers["ETag"]

    async def test_are_those_of_each_thing_in_a_list_and_of_what_it_holds(self, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        version = await tenant.api.post(f"/v1/agents/{agent}/versions", json=CONFIGURATION)
        answer = await tenant.api.get("/v1/agents", params={"fields": ["id", "live.label"], **seen(version)})
        assert answer.json() == {"data": [{"id": agent, "live": {"label": "1"}}], "has_more": False, "next_cursor": None}

    @pytest.mark.parametrize("name", ["nothing", "live.nothing", "id.id", "live.", ".id"])
    async def test_that_are_not_there_are_refused_with_those_that_are(self, tenant: Tenant, name: str) -> None:
        answer = await tenant.api.get(f"/v1/agents/{await an_agent(tenant)}", params={"fields": f"id,{name}"})
        assert refusal(answer) == (400, "unknown-field")
        assert answer.json()["errors"][0]["parameter"] == "fields"
        assert {"id", "live", "live.label"} <= set(answer.json()["possible"])

    async def test_of_what_is_not_there_are_not_told(self, stranger: Tenant, tenant: Tenant) -> None:
        answer = await stranger.api.get(f"/v1/agents/{await an_agent(tenant)}", params={"fields": "nothing"})
        assert refusal(answer) == (404, "not-found")


class TestExpand:
    async def test_adds_what_a_thing_refers_to(self, running: Platform, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        call = await called(running, tenant, agent)
        one = (await tenant.api.get(f"/v1/calls/{call}", params={"expand": "agent,number"})).json()
        assert one["agent_id"] == agent
        # The number was never assigned: nothing is there to show.
        assert one["expanded"] == {"agent": (await tenant.api.get(f"/v1/agents/{agent}")).json(), "number": None}
        listed = (await tenant.api.get("/v1/calls", params={"expand": "agent"})).json()
        assert [each["expanded"]["agent"]["name"] for each in listed["data"]] == ["Ann"]

    async def test_leads_from_a_number_to_its_environment(self, tenant: Tenant, unique: str) -> None:
        agent, number = await an_agent(tenant), f"+1404555{int(unique[-6:], 16) % 9_000 + 1000:04d}"
        await tenant.api.put("/v1/environments/staging", json={"description": "next"})
        made = await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": agent, "environment": "staging"})
        shown = (await tenant.api.get(f"/v1/numbers/{number}", params={"expand": "environment,agent", **seen(made)})).json()["expanded"]
        assert (shown["environment"]["description"], shown["agent"]["name"]) == ("next", "Ann")

    async def test_shows_no_other_organisation_what_is_referred_to(self, running: Platform, tenant: Tenant, stranger: Tenant) -> None:
        # A call that names an agent of others, which no command of the API could bring about.
        call = await called(running, stranger, await an_agent(tenant))
        answer = (await stranger.api.get(f"/v1/calls/{call}", params={"expand": "agent"})).json()
        assert answer["expanded"] == {"agent": None}

    async def test_needs_the_scope_that_asking_would_need(self, running: Platform, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        call = await called(running, tenant, agent)
        issued = await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "calls", "scopes": ["calls:read"]})
        async with running.client(issued.json()["key"]) as client:
            assert (await client.get(f"/v1/calls/{call}")).status_code == 200
            answer = await client.get(f"/v1/calls/{call}", params={"expand": "agent"})
        assert refusal(answer) == (403, "scope-missing")
        assert answer.json()["needed"] == "agents:read"

    async def test_is_refused_for_what_nothing_refers_to_with_what_it_could_be(self, running: Platform, tenant: Tenant) -> None:
        call = await called(running, tenant, await an_agent(tenant))
        answer = await tenant.api.get(f"/v1/calls/{call}", params={"expand": "weather"})
        assert refusal(answer) == (400, "unknown-expansion")
        assert answer.json()["possible"] == ["agent", "caller", "number", "usage"]

    async def test_goes_with_fields(self, running: Platform, tenant: Tenant) -> None:
        call = await called(running, tenant, await an_agent(tenant))
        answer = await tenant.api.get(f"/v1/calls/{call}", params={"expand": "agent", "fields": "id"})
        assert answer.json().keys() == {"id", "expanded"}


class TestPatch:
    async def test_is_a_merge_patch(self, tenant: Tenant) -> None:
        await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on", "description": "A lamp."})
        changed = await tenant.api.patch("/v1/flags/lamp", content='{"variant": "dim"}', headers=MERGE_PATCH)
        assert changed.status_code == 200
        flag = (await tenant.api.get("/v1/flags/lamp", params=seen(changed))).json()
        assert (flag["enabled"], flag["variant"], flag["description"]) == (True, "dim", "A lamp.")

    async def test_that_says_nothing_changes_nothing(self, tenant: Tenant) -> None:
        made = await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        again = await tenant.api.patch("/v1/flags/lamp", content="{}", headers=MERGE_PATCH)
        assert again.headers["ETag"] == made.headers["ETag"]

    async def test_cannot_take_away_what_must_be_there(self, tenant: Tenant) -> None:
        await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        answer = await tenant.api.patch("/v1/flags/lamp", content='{"variant": null}', headers=MERGE_PATCH)
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#/variant"

    async def test_finds_nothing_of_another_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
        assert refusal(await stranger.api.patch("/v1/flags/lamp", json={"variant": "x"})) == (404, "not-found")

    async def test_gives_an_agent_another_name(self, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        changed = await tenant.api.patch(f"/v1/agents/{agent}", content='{"name": "Bea"}', headers=MERGE_PATCH)
        assert (await tenant.api.get(f"/v1/agents/{agent}", params=seen(changed))).json()["name"] == "Bea"

    async def test_is_refused_for_a_version_that_has_passed(self, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        tag = (await tenant.api.get(f"/v1/agents/{agent}")).headers["ETag"]
        await tenant.api.patch(f"/v1/agents/{agent}", json={"name": "Bea"})
        answer = await tenant.api.patch(f"/v1/agents/{agent}", json={"name": "Cleo"}, headers={"If-Match": tag})
        assert refusal(answer) == (412, "precondition-failed")


def _renamed(agent: Any) -> Any:
    """As agents were shown before the change of the tests' own."""
    return {("title" if name == "name" else name): value for name, value in agent.items()}


LATER = Change(since="2027-01-01", operations={"get_agent", "list_agents"}, told="An agent's `title` is its `name`.", back=_renamed)


@pytest_asyncio.fixture(loop_scope="package")
async def later(running: Platform) -> AsyncIterator[Platform]:
    """The API as it is once answers have changed."""
    async with served(replace(running.ports, versions=Versions([*CHANGES, LATER]))) as url:
        yield replace(running, url=url)


class TestVersion:
    async def test_is_said_in_every_answer(self, tenant: Tenant) -> None:
        assert (await tenant.api.get("/v1/agents")).headers["Aybiza-Version"] == Versions().newest

    async def test_that_there_is_not_is_refused_with_those_that_there_are(self, tenant: Tenant) -> None:
        answer = await tenant.api.get("/v1/agents", headers={"Aybiza-Version": "1999-01-01"})
        assert refusal(answer) == (400, "unknown-version")
        assert answer.json()["possible"] == list(Versions().known)

    async def test_of_a_key_stays_what_it_was_when_the_key_was_made(self, later: Platform, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        async with later.client(tenant.key) as client:
            old = await client.get(f"/v1/agents/{agent}")
            listed = await client.get("/v1/agents")
            new = await client.get(f"/v1/agents/{agent}", headers={"Aybiza-Version": LATER.since})
        assert (old.json()["title"], "name" in old.json()) == ("Ann", False)
        assert [each["title"] for each in listed.json()["data"]] == ["Ann"]
        assert (new.json()["name"], "title" in new.json()) == ("Ann", False)
        assert (old.headers["Aybiza-Version"], new.headers["Aybiza-Version"]) == (Versions().newest, LATER.since)
        # 2027-01-01, at midnight; two years later its answers end.
        assert old.headers["Deprecation"] == "@1798761600"
        assert old.headers["Sunset"] == "Mon, 01 Jan 2029 00:00:00 GMT"
        assert "Deprecation" not in new.headers

    async def test_of_a_key_that_is_made_now_is_the_newest_also_when_it_is_replaced(self, later: Platform, tenant: Tenant) -> None:
        keys = f"/v1/organisations/{tenant.id}/api-keys"
        async with later.client(tenant.key) as client:
            fresh = await client.post(keys, json={"label": "fresh"})
            # A key that takes an older one's place is answered as that one was.
            first = (await client.get(keys, params=seen(fresh))).json()["data"][0]["id"]
            replaced = await client.post(f"{keys}/{first}/rotate", json={})
            pinned = {each["id"]: each["api_version"] for each in (await client.get(keys, params=seen(fresh, replaced))).json()["data"]}
        assert (pinned[fresh.json()["id"]], pinned[replaced.json()["id"]], pinned[first]) == (
            LATER.since,
            Versions().newest,
            Versions().newest,
        )

    async def test_that_is_older_takes_its_own_names_as_fields(self, later: Platform, tenant: Tenant) -> None:
        agent = await an_agent(tenant)
        async with later.client(tenant.key) as client:
            assert (await client.get(f"/v1/agents/{agent}", params={"fields": "title"})).json() == {"title": "Ann"}


class Lamp(Wire):
    name: str
    bulb: Annotated[str, Deprecated(since=date(2026, 12, 1), instead="/docs#led")] = ""


class TestDeprecation:
    async def test_is_declared_on_a_route_or_a_field_and_said_in_its_answers(self) -> None:
        router = APIRouter()

        @router.get("/v1/candles", response_model=Wire, **deprecated(since=date(2026, 12, 1), sunset=date(2027, 6, 1)))
        async def candles() -> Wire:
            return Wire()

        @router.get("/v1/lamps")
        async def lamps() -> Lamp:
            return Lamp(name="a")

        app = FastAPI()
        app.include_router(router)
        # No rows are read here: up to where an answer is true is not told.
        app.state.ports = None
        app.add_middleware(Conventions, shapes=shapes_of(each for each in router.routes if isinstance(each, APIRoute)), versions=Versions())

        async def known(scope: Any, receive: Any, send: Any) -> None:
            caller = Caller(organisation_id="AYB-0000-0000-0000", actor="api-key:k", is_operator=False)
            scope["state"] = {"caller": caller, "trace": Trace(trace_id=bytes(16), span_id=bytes(8))}
            await app(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(known), base_url="http://test") as client:
            route, field = await client.get("/v1/candles"), await client.get("/v1/lamps")
        assert route.headers["Deprecation"] == "@1796083200"
        assert route.headers["Sunset"] == "Tue, 01 Jun 2027 00:00:00 GMT"
        assert field.headers["Link"] == '</docs#led>; rel="deprecation"'
        assert "Sunset" not in field.headers
