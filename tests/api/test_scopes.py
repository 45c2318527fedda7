"""What a key may, from the request alone, and that no route is left out."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api.scopes import RESOURCES, allows, covers, needed
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant

CALL = "call_0190f0a0000070008000000000000000"


class TestNeeded:
    @pytest.mark.parametrize(
        ("method", "path", "scope"),
        [
            ("GET", "/v1/calls", "calls:read"),
            ("HEAD", f"/v1/calls/{CALL}/recording", "calls:read"),
            ("POST", f"/v1/calls/{CALL}/hang-up", "calls:write"),
            ("PATCH", "/v1/organisations/AYB-1", "organisations:write"),
            ("GET", "/v1/organisations/AYB-1/api-keys", "api-keys:read"),
            ("DELETE", "/v1/organisations/AYB-1/api-keys/key_1", "api-keys:write"),
            ("GET", "/v1/organisations/AYB-1/api-keyses", "organisations:read"),
            ("GET", "/v1", ":read"),
        ],
    )
    def test_follows_from_the_request(self, method: str, path: str, scope: str) -> None:
        assert needed(method, path) == scope


class TestAllows:
    def test_everything_without_scopes(self) -> None:
        assert allows((), "calls:write")

    def test_reading_to_whoever_may_write(self) -> None:
        assert allows(("calls:write",), "calls:read")
        assert not allows(("calls:read",), "calls:write")

    def test_nothing_else(self) -> None:
        assert not allows(("calls:write",), "agents:read")
        assert not allows(("calls:read",), ":read")


class TestCovers:
    def test_never_everything_but_by_everything(self) -> None:
        assert covers((), ())
        assert covers((), ("calls:read",))
        assert not covers(("calls:write",), ())

    def test_what_is_within(self) -> None:
        assert covers(("calls:write",), ("calls:read", "calls:write"))
        assert not covers(("calls:write",), ("calls:read", "agents:read"))


@pytest.mark.asyncio(loop_scope="package")
class TestScopedKey:
    async def test_may_what_it_says_and_is_told_what_it_lacks(self, running: Platform, tenant: Tenant) -> None:
        issued = (await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "shop", "scopes": ["calls:read"]})).json()
        assert issued["scopes"] == ["calls:read"]
        async with running.client(issued["key"]) as client:
            assert (await client.get("/v1/calls")).status_code == 200
            answer = await client.get("/v1/agents")
            assert refusal(answer) == (403, "scope-missing")
            assert answer.json()["needed"] == "agents:read"

    async def test_cannot_issue_one_that_may_more(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = (await tenant.api.post(path, json={"label": "keys", "scopes": ["api-keys:write", "calls:read"]})).json()
        async with running.client(issued["key"]) as client:
            assert refusal(await client.post(path, json={"label": "more", "scopes": ["calls:write"]})) == (403, "scope-too-wide")
            same = await client.post(path, json={"label": "same"})
            assert same.json()["scopes"] == ["api-keys:write", "calls:read"]

    async def test_of_a_name_that_there_is_not_is_refused(self, tenant: Tenant) -> None:
        answer = await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "shop", "scopes": ["calls:listen"]})
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#/scopes"

    async def test_may_be_made_for_as_long_as_the_calendar_goes(self, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        beyond = await tenant.api.post(path, json={"label": "beyond", "expires_at": "9999-12-31T23:59:59-14:00"})
        assert refusal(beyond) == (422, "invalid-request")
        last = (await tenant.api.post(path, json={"label": "last", "expires_at": "9999-12-31T23:59:59Z"})).json()
        assert (await tenant.api.post(f"{path}/{last['id']}/rotate", json={})).status_code == 201

    async def test_opens_nothing_once_it_has_expired(self, running: Platform, tenant: Tenant) -> None:
        yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = (await tenant.api.post(path, json={"label": "old", "expires_at": yesterday})).json()
        async with running.client(issued["key"]) as client:
            answer = await client.get("/v1/calls")
        assert refusal(answer) == (401, "unauthenticated")
        assert "expired" in answer.json()["detail"]


@pytest.mark.asyncio(loop_scope="package")
class TestRotation:
    async def test_leaves_both_keys_open_for_a_while(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        answer = await tenant.api.post(path, json={"label": "shop", "scopes": ["calls:read"]})
        old = answer.json()
        rotated = await tenant.api.post(f"{path}/{old['id']}/rotate", json={"overlap_seconds": 60}, params=seen(answer))
        new = rotated.json()
        assert (rotated.status_code, new["label"], new["scopes"]) == (201, "shop", ["calls:read"])
        for key in (old["key"], new["key"]):
            async with running.client(key) as client:
                assert (await client.get("/v1/calls")).status_code == 200
                assert refusal(await client.get("/v1/agents")) == (403, "scope-missing")
        listed = (await tenant.api.get(path, params=seen(rotated))).json()["data"]
        ends = {key["id"]: key["expires_at"] for key in listed}
        assert ends[old["id"]] is not None
        assert ends[new["id"]] is None

    async def test_without_overlap_closes_the_old_key_at_once(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        answer = await tenant.api.post(path, json={"label": "shop"})
        old = answer.json()
        await tenant.api.post(f"{path}/{old['id']}/rotate", json={"overlap_seconds": 0}, params=seen(answer))
        async with running.client(old["key"]) as client:
            assert refusal(await client.get("/v1/calls")) == (401, "unauthenticated")

    async def test_of_a_key_that_was_never_issued_is_not_found(self, tenant: Tenant) -> None:
        gone = await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys/key_0000000000000000/rotate", json={})
        assert refusal(gone) == (404, "not-found")


@pytest.mark.asyncio(loop_scope="package")
async def test_every_route_has_a_scope(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        if path.startswith("/v1"):
            for method in methods:
                assert needed(method.upper(), path).partition(":")[0] in RESOURCES, (method, path)
