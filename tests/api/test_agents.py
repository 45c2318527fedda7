"""Agents and their versions over HTTP."""

import httpx
import pytest

from api.wire import bound
from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
JSON = {"Content-Type": "application/json"}
# With the remark that people leave in such files, and two slashes that are none.
CONFIGURATION = """{
  "name": "Support", "version": "2.1.0",
  "system_prompt": "See https://example.com/help // not a remark \\" // neither",
  "greeting": "Hello, thank you for calling.",
  "phone_integration": {
    "type": "managed", // "managed", "sip_trunk", "twilio"
    "region": "us-east-1"
  }
}"""


async def agent_of(tenant: Tenant) -> str:
    made = await tenant.api.post("/v1/agents", json={"name": "Ann"})
    assert made.status_code == 201
    return str(made.json()["id"])


async def published(tenant: Tenant, agent: str, configuration: str = CONFIGURATION) -> httpx.Response:
    return await tenant.api.post(f"/v1/agents/{agent}/versions", content=configuration, headers=JSON)


class TestCreateAgent:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/agents", json={"name": "Ann"})) == (401, "unauthenticated")

    async def test_asks_strangers_for_a_key_whatever_they_send(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/agents", content=b"{" * 10, headers=JSON)) == (401, "unauthenticated")

    async def test_is_refused_when_the_body_is_not_json(self, tenant: Tenant) -> None:
        answer = await tenant.api.post("/v1/agents", content=b'{"name": ', headers=JSON)
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#"

    @pytest.mark.parametrize("name", ['"\\ud800"', '"a\\u0000b"', '""', "7", "null"])
    async def test_is_refused_when_the_name_is_none(self, tenant: Tenant, name: str) -> None:
        answer = await tenant.api.post("/v1/agents", content=f'{{"name": {name}}}'.encode(), headers=JSON)
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#/name"

    async def test_sent_again_makes_no_second_agent(self, tenant: Tenant, unique: str) -> None:
        headers = {"Idempotency-Key": unique}
        first, again = [await tenant.api.post("/v1/agents", json={"name": "Ann"}, headers=headers) for _ in range(2)]
        assert first.json()["id"] == again.json()["id"]
        listed = (await tenant.api.get("/v1/agents", params=seen(first))).json()
        assert len(listed["data"]) == 1

    async def test_sent_again_by_another_organisation_makes_its_own(self, tenant: Tenant, stranger: Tenant, unique: str) -> None:
        headers = {"Idempotency-Key": unique}
        ours, theirs = [await each.api.post("/v1/agents", json={"name": "Ann"}, headers=headers) for each in (tenant, stranger)]
        assert ours.json()["id"] != theirs.json()["id"]


class TestListAgents:
    async def test_begins_with_the_newest_that_no_key_named_and_keeps_its_order(self, tenant: Tenant) -> None:
        made = [await tenant.api.post("/v1/agents", json={"name": f"Agent {at}"}) for at in range(3)]
        ids = [answer.json()["id"] for answer in made]
        listed = (await tenant.api.get("/v1/agents", params=seen(*made))).json()["data"]
        assert [each["id"] for each in listed] == ids[::-1]
        named = [await tenant.api.post("/v1/agents", json={"name": "Named"}, headers={"Idempotency-Key": f"k{at}"}) for at in range(3)]
        listed = (await tenant.api.get("/v1/agents", params=seen(*named))).json()["data"]
        assert [each["id"] for each in listed] == sorted([*ids, *(answer.json()["id"] for answer in named)], reverse=True)


class TestGetAgent:
    async def test_finds_nothing_of_another_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        agent = await agent_of(tenant)
        assert refusal(await stranger.api.get(f"/v1/agents/{agent}")) == (404, "not-found")

    @pytest.mark.parametrize("agent", ["agt_", "call_1", "agt_%00", "agt_..%2f", "agt_" + "x" * 200])
    async def test_finds_nothing_that_could_not_be_ours(self, tenant: Tenant, agent: str) -> None:
        assert refusal(await tenant.api.get(f"/v1/agents/{agent}"))[0] == 404

    async def test_shows_the_agent_before_it_has_a_version(self, tenant: Tenant) -> None:
        made = await tenant.api.post("/v1/agents", json={"name": " Ann "})
        read = await tenant.api.get(made.headers["Location"], params=seen(made))
        assert read.json() == made.json() | {"name": "Ann", "versions": 0, "live": None}


class TestPublishAgentVersion:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/agents/agt_1/versions", json={})) == (401, "unauthenticated")

    async def test_finds_no_agent_of_another_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        assert refusal(await published(stranger, await agent_of(tenant))) == (404, "not-found")

    async def test_is_refused_with_a_pointer_for_each_fault(self, tenant: Tenant) -> None:
        answer = await published(tenant, await agent_of(tenant), '{"name": 3, "version": "1", "greeting": "hi", "voice": {"model": 1}}')
        assert refusal(answer) == (422, "invalid-configuration")
        assert {error["pointer"] for error in answer.json()["errors"]} == {"#/name", "#/system_prompt", "#/voice/model"}

    async def test_is_refused_when_it_is_nested_too_deeply_behind_a_remark(self, tenant: Tenant) -> None:
        answer = await published(tenant, await agent_of(tenant), '// "\n' + "[" * 50_000)
        assert refusal(answer) == (422, "body-too-deep")

    async def test_is_refused_when_it_is_not_text(self, tenant: Tenant) -> None:
        answer = await tenant.api.post(f"/v1/agents/{await agent_of(tenant)}/versions", content=b'{"name": "\xff"}', headers=JSON)
        assert refusal(answer) == (422, "invalid-request")

    async def test_keeps_the_configuration_without_its_remarks(self, tenant: Tenant) -> None:
        agent = await agent_of(tenant)
        answer = await published(tenant, agent)
        assert (answer.status_code, answer.json()["label"]) == (201, "2.1.0")
        read = (await tenant.api.get(answer.headers["Location"], params=seen(answer))).json()
        assert read == answer.json() | {"published_at": read["published_at"]}
        assert read["configuration"]["system_prompt"] == 'See https://example.com/help // not a remark " // neither'
        assert (await tenant.api.get(f"/v1/agents/{agent}")).json()["live"]["hash"] == read["hash"]

    async def test_changes_nothing_when_it_is_live_already(self, tenant: Tenant) -> None:
        agent = await agent_of(tenant)
        first = await published(tenant, agent)
        again = await published(tenant, agent, CONFIGURATION.replace("  ", " "))
        assert (again.status_code, again.headers["Location"], again.headers["ETag"]) == (
            201,
            first.headers["Location"],
            first.headers["ETag"],
        )

    async def test_lists_what_was_live_in_order(self, tenant: Tenant) -> None:
        agent = await agent_of(tenant)
        labels = ("2.1.0", "2.2.0", "2.3.0")
        every = [await published(tenant, agent, CONFIGURATION.replace("2.1.0", label)) for label in labels]
        path = f"/v1/agents/{agent}/versions"
        first = (await tenant.api.get(path, params={"limit": "2", **seen(*every)})).json()
        rest = (await tenant.api.get(path, params={"limit": "2", "cursor": first["next_cursor"]})).json()
        assert [version["label"] for version in first["data"] + rest["data"]] == [*labels]
        assert not rest["has_more"]

    async def test_refuses_cursors_that_no_list_gave(self, tenant: Tenant) -> None:
        made = await tenant.api.post("/v1/agents", json={"name": "Ann"})
        path = f"{made.headers['Location']}/versions"
        for place in ("W10", "WzFd0", "WyJhIl0", "Wy0xXQ", "WzFlMzBd", "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDBd"):
            answer = await tenant.api.get(path, params={"cursor": bound(path, place), **seen(made)})
            assert refusal(answer) == (400, "bad-cursor")

    async def test_refuses_the_cursor_of_another_agent(self, tenant: Tenant) -> None:
        agent, other = await agent_of(tenant), await agent_of(tenant)
        every = [await published(tenant, agent, CONFIGURATION.replace("2.1.0", label)) for label in ("2.1.0", "2.2.0")]
        given = (await tenant.api.get(f"/v1/agents/{agent}/versions", params={"limit": "1", **seen(*every)})).json()["next_cursor"]
        assert refusal(await tenant.api.get(f"/v1/agents/{other}/versions", params={"cursor": given})) == (400, "bad-cursor")
