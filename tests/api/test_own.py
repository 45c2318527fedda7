"""What a person reads of themselves, as it was."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio

from tests.api.asking import refusal
from tests.api.people import PASSWORD, Member, joined
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(loop_scope="package")
async def ada(running: Platform, tenant: Tenant, unique: str) -> Member:
    return await joined(running, tenant, f"ada.{unique}@example.com", "analyst")


@pytest_asyncio.fixture(loop_scope="package")
async def me(running: Platform, ada: Member) -> AsyncIterator[httpx.AsyncClient]:
    async with ada.client(running) as client:
        yield client


async def renamed(me: httpx.AsyncClient, name: str) -> str:
    """The place of the change."""
    answer = await me.patch("/v1/people/me", json={"name": name})
    assert answer.is_success, answer.text
    return str(answer.json()["position"])


async def moment() -> str:
    """Behind all that was appended, and before all that will be."""
    now = datetime.now(UTC)
    while datetime.now(UTC) < now + timedelta(milliseconds=2):
        await asyncio.sleep(0)
    return now.isoformat()


class TestMyself:
    @pytest.mark.parametrize("tail", ["", "/memberships", "/sessions"])
    async def test_asks_strangers_for_a_token_and_programs_to_be_people(
        self, anonymous: httpx.AsyncClient, tenant: Tenant, tail: str
    ) -> None:
        now = datetime.now(UTC).isoformat()
        assert refusal(await anonymous.get(f"/v1/people/me{tail}", params={"as-of": now})) == (401, "unauthenticated")
        assert refusal(await tenant.api.get(f"/v1/people/me{tail}", params={"as-of": now})) == (403, "person-only")

    async def test_as_of_a_place_has_the_name_of_then(self, me: httpx.AsyncClient) -> None:
        first, last = await renamed(me, "Ada"), await renamed(me, "Countess")
        now = await me.get("/v1/people/me", params={"min-position": last})
        then = await me.get("/v1/people/me", params={"as-of": first, "min-position": last})
        assert (now.json()["name"], then.json()["name"]) == ("Countess", "Ada")
        assert int(then.headers["ETag"].strip('"')) + 1 == int(now.headers["ETag"].strip('"'))
        assert (then.headers["Aybiza-Position"], then.headers["Aybiza-As-Of"][-1]) == (first, "Z")

    async def test_before_one_was_there_is_not_found(self, me: httpx.AsyncClient) -> None:
        before = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        last = await renamed(me, "Ada")
        assert refusal(await me.get("/v1/people/me", params={"as-of": before, "min-position": last})) == (404, "not-found")

    @pytest.mark.parametrize("as_of", ["yesterday", "2999-01-01T00:00:00Z"])
    async def test_refuses_the_future_and_what_is_no_time(self, me: httpx.AsyncClient, as_of: str) -> None:
        assert refusal(await me.get("/v1/people/me", params={"as-of": as_of})) == (400, "bad-as-of")

    async def test_learns_of_no_place_where_others_write(self, me: httpx.AsyncClient, stranger: Tenant) -> None:
        flag = await stranger.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "red"})
        answer = await me.get("/v1/people/me", params={"as-of": flag.headers["Aybiza-Position"]})
        assert refusal(answer) == (400, "bad-as-of")

    async def test_changes_only_what_one_has_seen(self, me: httpx.AsyncClient) -> None:
        seen = (await me.get("/v1/people/me", params={"min-position": await renamed(me, "Ada")})).headers["ETag"]
        await renamed(me, "Countess")
        late = await me.patch("/v1/people/me", json={"name": "Lady"}, headers={"If-Match": seen})
        assert refusal(late) == (412, "precondition-failed")


class TestMyMemberships:
    async def test_that_have_ended_are_there_as_of_then(self, me: httpx.AsyncClient, tenant: Tenant) -> None:
        between = await moment()
        left = await me.delete(f"/v1/people/me/memberships/{tenant.id}")
        params = {"min-position": left.json()["position"]}
        assert (await me.get("/v1/people/me/memberships", params=params)).json()["data"] == []
        (shown,) = (await me.get("/v1/people/me/memberships", params={**params, "as-of": between})).json()["data"]
        assert (shown["organisation_id"], shown["role"]) == (tenant.id, "analyst")
        assert "calls:read" in shown["scopes"]
        assert shown["organisation"]


class TestMySessions:
    async def test_that_have_ended_are_there_as_of_then(self, me: httpx.AsyncClient, ada: Member, running: Platform) -> None:
        async with running.client() as anonymous:
            other = (await anonymous.post("/auth/sessions", json={"email": ada.email, "password": PASSWORD})).json()
        between = await moment()
        ended = await me.delete(f"/v1/people/me/sessions/{other['session_id']}")
        params = {"min-position": ended.json()["position"]}
        now = (await me.get("/v1/people/me/sessions", params=params)).json()["data"]
        then = (await me.get("/v1/people/me/sessions", params={**params, "as-of": between})).json()["data"]
        assert [each["id"] for each in now] == [ada.session["session_id"]]
        assert {each["id"] for each in then} == {ada.session["session_id"], other["session_id"]}
