"""Environments, branches and what makes versions different, over HTTP."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
FIRST: Mapping[str, Any] = {"name": "Ann", "version": "1", "system_prompt": "You are Ann.", "greeting": "Hello.", "voice": {"model": "a"}}
SECOND: Mapping[str, Any] = {**FIRST, "version": "2", "greeting": "Good day.", "voice": {"model": "a", "style": "calm"}}


async def agent_of(tenant: Tenant) -> str:
    """An agent with one version that is live."""
    agent = str((await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"])
    await tenant.api.post(f"/v1/agents/{agent}/versions", json=FIRST)
    return agent


class TestBranches:
    async def test_ask_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/agents/agt_1/branches", json={"name": "try"})) == (401, "unauthenticated")

    async def test_are_found_by_no_other_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        agent = await agent_of(tenant)
        assert refusal(await stranger.api.post(f"/v1/agents/{agent}/branches", json={"name": "try"})) == (404, "not-found")

    async def test_take_versions_go_live_and_are_closed(self, tenant: Tenant) -> None:
        agent = await agent_of(tenant)
        path = f"/v1/agents/{agent}/branches"
        opened = await tenant.api.post(path, json={"name": "try"})
        assert (opened.status_code, opened.headers["Location"]) == (201, f"{path}/try")
        kept = await tenant.api.post(f"/v1/agents/{agent}/versions", json=SECOND, params={"branch": "try"})
        shown = (await tenant.api.get(f"/v1/agents/{agent}", params=seen(kept))).json()
        assert (shown["live"]["label"], shown["versions"]) == ("1", 1)
        branches = {each["name"]: each["hash"] for each in (await tenant.api.get(path)).json()["data"]}
        assert branches == {"main": shown["live"]["hash"], "try": kept.json()["hash"]}
        published = await tenant.api.post(f"{path}/try/publish")
        assert (await tenant.api.get(f"/v1/agents/{agent}", params=seen(published))).json()["live"]["label"] == "2"
        closed = await tenant.api.delete(f"{path}/try")
        assert refusal(await tenant.api.get(f"{path}/try", params=seen(closed))) == (404, "not-found")

    async def test_that_there_are_not_take_no_versions(self, tenant: Tenant) -> None:
        agent = await agent_of(tenant)
        answer = await tenant.api.post(f"/v1/agents/{agent}/versions", json=SECOND, params={"branch": "nowhere"})
        assert refusal(answer) == (404, "not-found")

    async def test_are_not_opened_under_the_main_ones_name(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.post(f"/v1/agents/{await agent_of(tenant)}/branches", json={"name": "main"})) == (
            409,
            "main-branch",
        )


class TestDiff:
    async def test_says_by_pointers_what_a_version_has_otherwise(self, tenant: Tenant) -> None:
        agent = await agent_of(tenant)
        published = await tenant.api.post(f"/v1/agents/{agent}/versions", json=SECOND)
        path = f"/v1/agents/{agent}/versions/{published.json()['version']}/diff"
        told = (await tenant.api.get(path, params={"against": 2, **seen(published)})).json()
        assert told["differences"] == [
            {"what": "replaced", "pointer": "/greeting", "before": "Hello.", "after": "Good day."},
            {"what": "replaced", "pointer": "/version", "before": "1", "after": "2"},
            {"what": "added", "pointer": "/voice/style", "before": None, "after": "calm"},
        ]
        assert refusal(await tenant.api.get(path, params={"against": 99})) == (404, "not-found")


class TestEnvironments:
    async def test_ask_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.put("/v1/environments/staging")) == (401, "unauthenticated")

    async def test_are_found_by_no_other_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        opened = await tenant.api.put("/v1/environments/staging", json={"description": "Where we try."})
        assert refusal(await stranger.api.get("/v1/environments/staging", params=seen(opened))) == (404, "not-found")
        assert refusal(await stranger.api.delete("/v1/environments/staging")) == (404, "not-found")

    async def test_pin_versions_are_compared_and_promoted(self, tenant: Tenant) -> None:
        agent = await agent_of(tenant)
        second = await tenant.api.post(f"/v1/agents/{agent}/versions", json=SECOND)
        for name in ("staging", "production"):
            await tenant.api.put(f"/v1/environments/{name}")
        await tenant.api.put(f"/v1/environments/production/agents/{agent}", json={"version": 2}, params=seen(second))
        pinned = await tenant.api.put(f"/v1/environments/staging/agents/{agent}", json={"version": second.json()["version"]})
        compare = "/v1/environments/staging/diff"
        (difference,) = (await tenant.api.get(compare, params={"against": "production", **seen(pinned)})).json()["data"]
        assert (difference["before"]["label"], difference["after"]["label"]) == ("1", "2")
        promoted = await tenant.api.post("/v1/environments/production/promote", json={"source": "staging"})
        assert (await tenant.api.get(compare, params={"against": "production", **seen(promoted)})).json()["data"] == []

    async def test_pin_no_version_that_there_is_not(self, tenant: Tenant, stranger: Tenant) -> None:
        agent = await agent_of(tenant)
        for each in (tenant, stranger):
            await each.api.put("/v1/environments/staging")
        path = f"/v1/environments/staging/agents/{agent}"
        assert refusal(await tenant.api.put(path, json={"version": 99})) == (404, "not-found")
        assert refusal(await stranger.api.put(path, json={"version": 2})) == (404, "not-found")

    async def test_are_where_a_number_looks_up_its_version(self, tenant: Tenant, unique: str) -> None:
        number = f"+1415556{int(unique[-6:], 16) % 9_000 + 1000:04d}"
        agent = await agent_of(tenant)
        wanted = {"number": number, "agent_id": agent, "environment": "staging"}
        answer = await tenant.api.post("/v1/numbers", json=wanted)
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#/environment"
        await tenant.api.put("/v1/environments/staging")
        assigned = await tenant.api.post("/v1/numbers", json=wanted)
        assert assigned.json()["environment"] == "staging"
        changed = await tenant.api.patch(f"/v1/numbers/{number}", json={"environment": None})
        shown = (await tenant.api.get(f"/v1/numbers/{number}", params=seen(changed))).json()
        assert (shown["environment"], shown["agent_id"]) == (None, agent)
