"""Phone numbers over HTTP."""

import random

import httpx
import pytest

from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.fixture
def number() -> str:
    """One that no other test has."""
    return f"+1415{random.randint(2_000_000, 9_999_999)}"


async def agent_of(tenant: Tenant) -> str:
    return str((await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"])


class TestAssignNumber:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient, number: str) -> None:
        assert refusal(await anonymous.post("/v1/numbers", json={"number": number, "agent_id": "agt_1"})) == (401, "unauthenticated")

    @pytest.mark.parametrize("wrong", ["4155550123", "+1", "+1415555012345678", "call me", "+1415\u00005550123", ""])
    async def test_is_refused_when_it_is_no_number(self, tenant: Tenant, wrong: str) -> None:
        answer = await tenant.api.post("/v1/numbers", json={"number": wrong, "agent_id": await agent_of(tenant)})
        assert refusal(answer) == (422, "invalid-request")
        assert [error["pointer"] for error in answer.json()["errors"]] == ["#/number"]

    async def test_is_refused_when_there_is_no_such_agent(self, tenant: Tenant, number: str) -> None:
        answer = await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": "agt_nobody"})
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#/agent_id"

    async def test_is_refused_when_the_agent_is_another_organisations(self, tenant: Tenant, stranger: Tenant, number: str) -> None:
        answer = await stranger.api.post("/v1/numbers", json={"number": number, "agent_id": await agent_of(tenant)})
        assert refusal(answer) == (422, "invalid-request")

    async def test_is_refused_while_another_organisation_holds_it(self, tenant: Tenant, stranger: Tenant, number: str) -> None:
        await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": await agent_of(tenant)})
        answer = await stranger.api.post("/v1/numbers", json={"number": number, "agent_id": await agent_of(stranger)})
        assert refusal(answer) == (409, "number-taken")
        assert tenant.id not in answer.text

    async def test_has_the_agent_answer_it(self, tenant: Tenant, number: str) -> None:
        agent = await agent_of(tenant)
        written = f"+1 ({number[2:5]}) {number[5:8]}-{number[8:]}"
        answer = await tenant.api.post("/v1/numbers", json={"number": written, "agent_id": agent})
        assert (answer.status_code, answer.json()["number"]) == (201, number)
        read = await tenant.api.get(answer.headers["Location"], params=seen(answer))
        assert (read.json()["number"], read.json()["agent_id"]) == (number, agent)
        listed = (await tenant.api.get("/v1/numbers")).json()
        assert [each["number"] for each in listed["data"]] == [number]


class TestReleaseNumber:
    async def test_finds_nothing_of_another_organisation(self, tenant: Tenant, stranger: Tenant, number: str) -> None:
        held = await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": await agent_of(tenant)})
        assert refusal(await stranger.api.get(f"/v1/numbers/{number}", params=seen(held))) == (404, "not-found")
        assert refusal(await stranger.api.delete(f"/v1/numbers/{number}")) == (404, "not-found")

    async def test_finds_nothing_that_is_no_number(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.delete("/v1/numbers/hello")) == (404, "not-found")

    async def test_lets_another_organisation_have_it(self, tenant: Tenant, stranger: Tenant, number: str) -> None:
        await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": await agent_of(tenant)})
        released = await tenant.api.delete(f"/v1/numbers/{number}")
        assert released.status_code == 202
        taken = await stranger.api.post("/v1/numbers", json={"number": number, "agent_id": await agent_of(stranger)})
        assert taken.status_code == 201
        assert refusal(await tenant.api.get(f"/v1/numbers/{number}", params=seen(released, taken))) == (404, "not-found")


class TestHoldNumber:
    async def test_keeps_a_number_from_others_until_it_is_released(self, tenant: Tenant, stranger: Tenant, unique: str) -> None:
        number = f"+1202555{int(unique[-6:], 16) % 9_000 + 1000:04d}"
        held = await tenant.api.post(f"/v1/numbers/{number}/hold", json={"seconds": 60})
        assert (held.status_code, held.json()["number"]) == (200, number)
        assert refusal(await stranger.api.post(f"/v1/numbers/{number}/hold", json={})) == (409, "number-taken")
        agent = (await stranger.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        assert refusal(await stranger.api.post("/v1/numbers", json={"number": number, "agent_id": agent})) == (409, "number-taken")
        await tenant.api.delete(f"/v1/numbers/{number}")
        assert (await stranger.api.post("/v1/numbers", json={"number": number, "agent_id": agent})).status_code == 201

    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/numbers/+12025550100/hold", json={})) == (401, "unauthenticated")
