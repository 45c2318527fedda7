"""Flags over HTTP."""

import httpx
import pytest

from api.wire import bound
from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
ON = {"enabled": True, "variant": "short"}


class TestSetFlag:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.put("/v1/flags/greeting", json=ON)) == (401, "unauthenticated")

    async def test_leaves_another_organisations_flag_alone(self, tenant: Tenant, stranger: Tenant) -> None:
        ours = await tenant.api.put("/v1/flags/greeting", json=ON)
        theirs = await stranger.api.put("/v1/flags/greeting", json={"enabled": False, "variant": "long"})
        answer = await tenant.api.get("/v1/flags/greeting", params=seen(ours, theirs))
        assert answer.json()["variant"] == "short"

    async def test_is_refused_with_pointers_when_the_body_is_wrong(self, tenant: Tenant) -> None:
        answer = await tenant.api.put("/v1/flags/greeting", json={"enabled": "maybe", "colour": 1})
        assert refusal(answer) == (422, "invalid-request")
        assert {error["pointer"] for error in answer.json()["errors"]} == {"#/enabled", "#/variant", "#/colour"}

    async def test_is_refused_when_the_name_is_no_name(self, tenant: Tenant) -> None:
        answer = await tenant.api.put("/v1/flags/Greeting!", json=ON)
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["parameter"] == "name"

    async def test_is_refused_when_the_flag_has_changed_since_it_was_read(self, tenant: Tenant) -> None:
        first = await tenant.api.put("/v1/flags/greeting", json=ON)
        await tenant.api.put("/v1/flags/greeting", json={"enabled": False, "variant": "short"})
        stale = await tenant.api.put("/v1/flags/greeting", json=ON, headers={"If-Match": first.headers["ETag"]})
        assert refusal(stale) == (412, "precondition-failed")
        assert (stale.json()["expected"], stale.json()["found"]) == (1, 2)

    async def test_is_seen_by_a_read_that_names_its_position(self, tenant: Tenant) -> None:
        written = await tenant.api.put("/v1/flags/greeting", json={**ON, "description": "try a short one"})
        assert written.status_code == 200
        read = await tenant.api.get("/v1/flags/greeting", params=seen(written))
        assert read.headers["ETag"] == written.headers["ETag"] == '"1"'
        assert read.json() == written.json() | {"set_at": read.json()["set_at"]}
        assert "Warning" not in read.headers


class TestListFlags:
    async def test_shows_pages_that_stay_when_flags_come_in(self, tenant: Tenant) -> None:
        written = [await tenant.api.put(f"/v1/flags/{name}", json=ON) for name in ("b", "d", "f")]
        first = (await tenant.api.get("/v1/flags", params={"limit": "2", **seen(*written)})).json()
        late = await tenant.api.put("/v1/flags/a", json=ON)
        second = (await tenant.api.get("/v1/flags", params={"limit": "2", "cursor": first["next_cursor"], **seen(late)})).json()
        assert [flag["name"] for flag in first["data"] + second["data"]] == ["b", "d", "f"]
        assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)

    async def test_refuses_a_cursor_of_nobody(self, tenant: Tenant) -> None:
        for cursor in ("!!", "AAAA", "AC8A", "é"):
            for given in (cursor, bound("/v1/flags", cursor)):
                assert refusal(await tenant.api.get("/v1/flags", params={"cursor": given})) == (400, "bad-cursor")

    async def test_refuses_a_cursor_of_another_list(self, tenant: Tenant) -> None:
        flags = [await tenant.api.put(f"/v1/flags/{name}", json=ON) for name in ("b", "d")]
        given = (await tenant.api.get("/v1/flags", params={"limit": "1", **seen(*flags)})).json()["next_cursor"]
        assert (await tenant.api.get("/v1/flags", params={"cursor": given})).status_code == 200
        for path in ("agents", "calls", "numbers", "webhooks", "environments", "operations", "memberships", "usage"):
            answer = await tenant.api.get(f"/v1/{path}", params={"cursor": given})
            assert refusal(answer) == (400, "bad-cursor"), path
            assert "begin" in answer.json()["errors"][0]["detail"]

    async def test_refuses_a_position_of_nobody(self, tenant: Tenant) -> None:
        for position in ("latest", f"elsewhere/0/1/1/{'0' * 32}"):
            assert refusal(await tenant.api.get("/v1/flags", params={"min-position": position})) == (400, "bad-position")


class TestRemoveFlag:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.delete("/v1/flags/greeting")) == (401, "unauthenticated")

    async def test_finds_nothing_of_another_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        await tenant.api.put("/v1/flags/greeting", json=ON)
        assert refusal(await stranger.api.delete("/v1/flags/greeting")) == (404, "not-found")

    async def test_finds_nothing_twice(self, tenant: Tenant) -> None:
        await tenant.api.put("/v1/flags/greeting", json=ON)
        assert (await tenant.api.delete("/v1/flags/greeting")).status_code == 202
        assert refusal(await tenant.api.delete("/v1/flags/greeting")) == (404, "not-found")

    async def test_takes_the_flag_away(self, tenant: Tenant) -> None:
        await tenant.api.put("/v1/flags/greeting", json=ON)
        removed = await tenant.api.delete("/v1/flags/greeting")
        assert refusal(await tenant.api.get("/v1/flags/greeting", params=seen(removed))) == (404, "not-found")
