"""Each date version by itself: who was made for an older one asks and is answered as before, whoever comes anew as it is now."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.versions import FIRST, HEADER, Versions
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, served
from tests.api.test_conventions import an_agent, called

pytestmark = pytest.mark.asyncio(loop_scope="package")
NULLED = "2026-11-22"


@pytest.fixture
def number(unique: str) -> str:
    return f"+1503555{int(unique[-6:], 16) % 9_000 + 1000:04d}"


@pytest_asyncio.fixture(loop_scope="package")
async def older(running: Platform, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """Asks with a key of the tenant's that was made when there was the first version alone."""
    async with served(replace(running.ports, versions=Versions([]))) as url, replace(running, url=url).client(tenant.key) as then:
        issued = await then.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "of old"})
    async with running.client(issued.json()["key"]) as client:
        yield client


class TestNumberWithoutEnvironment:
    """Since 2026-11-22 it is null, where it was an empty text."""

    async def test_is_answered_as_the_key_was_made_for(self, tenant: Tenant, older: httpx.AsyncClient, number: str) -> None:
        agent = await an_agent(tenant)
        made = await older.post("/v1/numbers", json={"number": number, "agent_id": agent})
        again = await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": agent})
        assert (made.json()["environment"], again.json()["environment"]) == ("", None)
        for client, version, environment in ((older, FIRST, ""), (tenant.api, NULLED, None)):
            one = await client.get(f"/v1/numbers/{number}", params=seen(made))
            assert (one.headers[HEADER], one.json()["environment"]) == (version, environment)
            listed = await client.get("/v1/numbers", params={"fields": "environment"})
            assert listed.json()["data"] == [{"environment": environment}]
        named = await older.get(f"/v1/numbers/{number}", headers={HEADER: NULLED})
        assert (named.json()["environment"], "Deprecation" in named.headers) == (None, False)

    async def test_says_in_its_older_form_until_when_and_where_to_read_on(
        self, tenant: Tenant, older: httpx.AsyncClient, anonymous: httpx.AsyncClient
    ) -> None:
        old, new = await older.get("/v1/numbers"), await tenant.api.get("/v1/numbers")
        # 2026-11-22, at midnight, and two years later.
        assert (old.headers["Deprecation"], old.headers["Sunset"]) == ("@1795305600", "Wed, 22 Nov 2028 00:00:00 GMT")
        assert old.headers["Link"] == '</docs#versions>; rel="deprecation"'
        assert not {"Deprecation", "Sunset", "Link"} & new.headers.keys()
        page = (await anonymous.get("/docs")).text
        assert '<h2 id="versions">' in page
        assert "where it had an empty text" in page

    async def test_is_asked_for_as_the_key_was_made_for(self, tenant: Tenant, older: httpx.AsyncClient, number: str) -> None:
        wanted = {"number": number, "agent_id": await an_agent(tenant), "environment": ""}
        assert (await older.post("/v1/numbers", json=wanted)).status_code == 201
        await tenant.api.put("/v1/environments/staging", json={})
        for client, nothing in ((older, ""), (older, None), (tenant.api, None)):
            staged = await client.patch(f"/v1/numbers/{number}", json={"environment": "staging"})
            shown = await client.get(f"/v1/numbers/{number}", params=seen(staged))
            assert shown.json()["environment"] == "staging"
            taken = await client.patch(f"/v1/numbers/{number}", json={"environment": nothing})
            assert taken.status_code == 202, taken.text
            assert (await tenant.api.get(f"/v1/numbers/{number}", params=seen(taken))).json()["environment"] is None
        for refused in (
            await tenant.api.patch(f"/v1/numbers/{number}", json={"environment": ""}),
            await tenant.api.post("/v1/numbers", json=wanted),
        ):
            assert refusal(refused) == (422, "invalid-request")
            assert [error["pointer"] for error in refused.json()["errors"]] == ["#/environment"]

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"environment": {"a": ""}}', b'{"environment": 1e999}', b"\xff"])
    async def test_asked_for_by_what_is_no_request_is_refused_as_ever(self, tenant: Tenant, older: httpx.AsyncClient, body: bytes) -> None:
        json = {"Content-Type": "application/json"}
        old, new = [await client.post("/v1/numbers", content=body, headers=json) for client in (older, tenant.api)]
        assert refusal(old) == refusal(new)
        assert old.status_code in (400, 422)

    async def test_asked_for_again_under_a_key_is_the_same_request(
        self, tenant: Tenant, older: httpx.AsyncClient, number: str, unique: str
    ) -> None:
        agent, named = await an_agent(tenant), {"Idempotency-Key": unique}
        wanted = {"number": number, "agent_id": agent, "environment": ""}
        first, again = [await older.post("/v1/numbers", json=wanted, headers=named) for _ in range(2)]
        assert (again.status_code, again.json()) == (201, first.json())
        other = await older.post("/v1/numbers", json={**wanted, "environment": None}, headers=named)
        assert refusal(other) == (422, "idempotency-key-reused")

    async def test_is_in_what_a_call_refers_to_as_it_is_by_itself(
        self, running: Platform, tenant: Tenant, older: httpx.AsyncClient, number: str
    ) -> None:
        agent = await an_agent(tenant)
        made = await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": agent})
        call = await called(running, tenant, agent, number)
        for client, environment in ((older, ""), (tenant.api, None)):
            answer = await client.get(f"/v1/calls/{call}", params={"expand": "number", **seen(made)})
            assert answer.json()["expanded"]["number"]["environment"] == environment
            itself = await client.get(f"/v1/numbers/{number}", params={"expand": "environment,agent"})
            assert itself.json()["expanded"]["environment"] is None
            assert itself.json()["expanded"]["agent"]["id"] == agent

    async def test_is_null_in_graphql_whatever_the_key_was_made_for(self, tenant: Tenant, older: httpx.AsyncClient, number: str) -> None:
        made = await older.post("/v1/numbers", json={"number": number, "agent_id": await an_agent(tenant)})
        await older.get("/v1/numbers", params=seen(made))
        for client in (older, tenant.api):
            answer = await client.post("/graphql", json={"query": "{ numbers { nodes { number environment } } }"})
            assert answer.json() == {"data": {"numbers": {"nodes": [{"number": number, "environment": None}]}}}


class TestDocument:
    async def test_is_there_for_each_version(self, anonymous: httpx.AsyncClient) -> None:
        def environment(document: dict[str, Any], shape: str) -> Any:
            return document["components"]["schemas"][shape]["properties"]["environment"]

        newest, then, now = [
            (await anonymous.get("/openapi.json", params=params)).json() for params in ({}, {"version": FIRST}, {"version": NULLED})
        ]
        assert newest == now
        assert [each["version"] for each in newest["info"]["x-aybiza-versions"]] == [NULLED, FIRST]
        assert (environment(then, "Number")["type"], environment(then, "NewNumber")["default"]) == ("string", "")
        assert {"type": "null"} in environment(now, "Number")["anyOf"]
        for shape in ("Number", "NewNumber", "NumberChanges"):
            del then["components"]["schemas"][shape], now["components"]["schemas"][shape]
        assert then == now

    async def test_of_a_version_that_there_is_not_is_refused_with_those_that_there_are(self, anonymous: httpx.AsyncClient) -> None:
        answer = await anonymous.get("/openapi.json", params={"version": "1999-01-01"})
        assert refusal(answer) == (400, "unknown-version")
        assert answer.json()["possible"] == list(Versions().known)
