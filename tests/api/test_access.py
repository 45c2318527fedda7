"""Why somebody can or cannot do a thing, over HTTP."""

from typing import Any

import httpx
import pytest

from events.positions import Position
from tests.api.asking import refusal
from tests.api.people import joined
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def why(client: httpx.AsyncClient, operation: str, **more: str) -> dict[str, Any]:
    answer = await client.get("/v1/access/explain", params={"operation": operation, **more})
    assert answer.status_code == 200, answer.text
    explained: dict[str, Any] = answer.json()
    return explained


class TestExplain:
    async def test_names_the_role_and_the_facts_it_rests_on(self, running: Platform, tenant: Tenant, unique: str) -> None:
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "analyst")
        can = await why(tenant.api, "list_calls", actor=bob.id.lower())
        assert (can["actor"], can["needs"], can["allowed"], can["rule"]) == (bob.id, "calls:read", True, "role-gives-scope")
        cannot = await why(tenant.api, "hang_up", actor=bob.id)
        assert (cannot["needs"], cannot["allowed"], cannot["rule"]) == ("calls:write", False, "role-lacks-scope")
        changed = await tenant.api.patch(f"/v1/memberships/{bob.id}", json={"role": "operator"})
        now = await why(tenant.api, "hang_up", actor=bob.id)
        assert now["allowed"]
        assert now["grounds"][0]["position"] == changed.headers["Aybiza-Position"]
        left = await tenant.api.delete(f"/v1/memberships/{bob.id}")
        gone = await why(tenant.api, "hang_up", actor=bob.id)
        assert (gone["allowed"], gone["rule"]) == (False, "membership-ended")
        assert [each["position"] for each in gone["grounds"]] == [left.headers["Aybiza-Position"]]

    async def test_agrees_with_the_gate_on_single_things(self, running: Platform, tenant: Tenant, unique: str) -> None:
        body = {"description": "lamp", "grants": [{"scope": "flags:write", "resources": ["lamp"]}, {"scope": "access:read"}]}
        defined = await tenant.api.put("/v1/roles/lamplighter", json=body)
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "lamplighter")
        async with bob.client(running) as client:
            for name, allowed in (("lamp", True), ("horn", False)):
                explained = await why(client, "set_flag", resource=name)
                asked = await client.put(f"/v1/flags/{name}", json={"enabled": True, "variant": "on"})
                assert (explained["allowed"], asked.is_success) == (allowed, allowed)
                assert defined.headers["Aybiza-Position"] in [each["position"] for each in explained["grounds"]]
            assert (await why(client, "flags:write", resource="horn"))["rule"] == "role-limited-to-others"

    async def test_knows_keys_and_programs(self, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        key = (await tenant.api.post(path, json={"label": "shop", "scopes": ["calls:read"]})).json()["id"]
        assert (await why(tenant.api, "calls:read", actor=key))["rule"] == "key-has-scope"
        lacking = await why(tenant.api, "create_agent", actor=key)
        assert (lacking["allowed"], lacking["rule"], lacking["needs"]) == (False, "key-lacks-scope", "agents:write")
        Position.parse(lacking["grounds"][0]["position"])
        await tenant.api.delete(f"{path}/{key}")
        assert (await why(tenant.api, "calls:read", actor=key))["rule"] == "key-revoked"
        client = (await tenant.api.post("/v1/oauth-clients", json={"label": "shop", "scopes": ["calls:read"]})).json()["client_id"]
        assert (await why(tenant.api, "calls:write", actor=client))["rule"] == "client-lacks-scope"
        await tenant.api.delete(f"/v1/oauth-clients/{client}")
        assert (await why(tenant.api, "calls:read", actor=client))["rule"] == "client-removed"

    async def test_says_of_whoever_asks_what_they_may(self, tenant: Tenant) -> None:
        assert (await why(tenant.api, "create_agent"))["allowed"]

    async def test_tells_nobody_of_another_organisations_people_and_keys(
        self, running: Platform, tenant: Tenant, stranger: Tenant, unique: str
    ) -> None:
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "analyst")
        key = (await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "shop"})).json()["id"]
        client = (await tenant.api.post("/v1/oauth-clients", json={"label": "shop"})).json()["client_id"]
        said = set()
        for actor in (bob.id, key, client, "USR-0000000000", "key_" + "0" * 16, "cli_" + "0" * 32, "nobody"):
            answer = await stranger.api.get("/v1/access/explain", params={"operation": "calls:read", "actor": actor})
            said.add((*refusal(answer), answer.json()["detail"]))
        assert said == {(404, "not-found", "There is no such actor.")}

    async def test_asks_for_an_operation_that_there_is(self, tenant: Tenant) -> None:
        answer = await tenant.api.get("/v1/access/explain", params={"operation": "fly"})
        assert refusal(answer) == (422, "invalid-request")
