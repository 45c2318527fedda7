"""Any name of a thing leads to it, for whoever may see it."""

import os

import httpx
import pytest

from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, ReceiveCall
from events.streams import StreamId
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, fresh_call_id

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def thing(api: httpx.AsyncClient, name: str, *written: httpx.Response) -> dict[str, str]:
    answer = await api.get(f"/v1/lookup/{name}", params=seen(*written))
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    assert (await api.get(found["href"])).status_code == 200
    return found


class TestLookUp:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/v1/lookup/agt_1")) == (401, "unauthenticated")

    async def test_finds_an_agent_in_any_spelling_and_for_nobody_else(self, tenant: Tenant, stranger: Tenant) -> None:
        made = await tenant.api.post("/v1/agents", json={"name": "Ann"})
        agent_id = made.json()["id"]
        digits = agent_id.removeprefix("agt_")
        dashed = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        for name in (agent_id, agent_id.upper(), digits, dashed, f"agt {digits}", f" {dashed.upper()} "):
            assert await thing(tenant.api, name, made) == {"kind": "agent", "id": agent_id, "href": f"/v1/agents/{agent_id}"}
            assert refusal(await stranger.api.get(f"/v1/lookup/{name}", params=seen(made))) == (404, "not-found")

    async def test_finds_a_number_and_a_caller_by_how_people_write_it(self, tenant: Tenant, unique: str) -> None:
        local = f"{int(unique[-6:], 16) % 9_000 + 1000:04d}"
        agent = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        number = await tenant.api.post("/v1/numbers", json={"number": f"+1202555{local}", "agent_id": agent})
        assert (await thing(tenant.api, f"+1 (202) 555-{local}", number))["kind"] == "number"
        consent = await tenant.api.post("/v1/consents", json={"caller": "+14155550166", "purpose": "recording", "evidence": "form"})
        caller = await thing(tenant.api, "+1 415 555 0166", consent)
        assert caller["kind"] == "caller"
        assert (await thing(tenant.api, caller["id"]))["id"] == caller["id"]

    async def test_finds_a_call_a_key_a_flag_and_the_organisation_itself(self, running: Platform, tenant: Tenant) -> None:
        call_id, sealed = fresh_call_id(), running.key_ring.seal(f"{tenant.id}/caller", "+14155550166")
        ring = ReceiveCall(
            call_sid=f"CA{call_id}", caller=sealed, caller_ref="ref", number=sealed, number_ref="number", agent_id="agt_1",
            agent_version="1", agent_version_hash="0" * 64,
        )  # fmt: skip
        rung = await running.do(CALLS, StreamId(tenant.id, "calls", call_id), ring)
        params = {"min-position": str(rung.position)}
        assert (await tenant.api.get(f"/v1/lookup/{call_id.upper()}", params=params)).json()["kind"] == "call"
        issued = await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "shop"})
        assert (await thing(tenant.api, issued.json()["id"].lower(), issued))["kind"] == "api-key"
        flag = await tenant.api.put("/v1/flags/night-shift", json={"enabled": True, "variant": "on"})
        assert (await thing(tenant.api, "Night-Shift", flag))["id"] == "night-shift"
        assert (await thing(tenant.api, tenant.id.lower().replace("-", " ").replace("0", "o")))["id"] == tenant.id

    async def test_finds_a_call_by_the_names_that_the_carrier_has_for_it(self, running: Platform, tenant: Tenant, stranger: Tenant) -> None:
        call_id, sealed = fresh_call_id(), running.key_ring.seal(f"{tenant.id}/caller", "+14155550166")
        call_sid, stream_sid = f"CA{os.urandom(16).hex()}", f"MZ{os.urandom(16).hex()}"
        ring = ReceiveCall(
            call_sid=call_sid, caller=sealed, caller_ref="ref", number=sealed, number_ref="number", agent_id="agt_1", agent_version="1",
            agent_version_hash="0" * 64,
        )  # fmt: skip
        stream = StreamId(tenant.id, "calls", call_id)
        await running.do(CALLS, stream, ring)
        answer = AnswerCall(stream_sid=stream_sid, worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)
        params = {"min-position": str((await running.do(CALLS, stream, answer)).position)}
        for name in (call_sid, call_sid.upper(), f"ca {call_sid[2:]}", stream_sid, stream_sid.lower()):
            found = await tenant.api.get(f"/v1/lookup/{name}", params=params)
            assert found.json() == {"kind": "call", "id": call_id, "href": f"/v1/calls/{call_id}"}
            assert refusal(await stranger.api.get(f"/v1/lookup/{name}", params=params)) == (404, "not-found")

    async def test_finds_whatever_else_has_an_id_or_a_name(self, tenant: Tenant, stranger: Tenant) -> None:
        hook = await tenant.api.post("/v1/webhooks", json={"url": "https://example.com/"})
        export = await tenant.api.post("/v1/exports", json={"types": ["flag-set"]})
        client = await tenant.api.post("/v1/oauth-clients", json={"label": "shop"})
        staging = await tenant.api.put("/v1/environments/staging", json={"description": "next"})
        clerk = await tenant.api.put("/v1/roles/clerk", json={"description": "reads", "grants": [{"scope": "calls:read"}]})
        for kind, thing_id, written in (
            ("webhook", hook.json()["id"], hook),
            ("operation", export.json()["id"], export),
            ("oauth-client", client.json()["client_id"], client),
            ("environment", "staging", staging),
            ("role", "clerk", clerk),
        ):
            for name in (thing_id, thing_id.upper(), thing_id.replace("_", "-")):
                found = await thing(tenant.api, name, written)
                assert (found["kind"], found["id"]) == (kind, thing_id)
            assert refusal(await stranger.api.get(f"/v1/lookup/{thing_id}")) == (404, "not-found")

    async def test_shows_a_key_only_what_it_may_read(self, running: Platform, tenant: Tenant) -> None:
        made = await tenant.api.post("/v1/agents", json={"name": "Ann"})
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = (await tenant.api.post(path, json={"label": "shop", "scopes": ["lookup:read", "calls:read"]})).json()
        async with running.client(issued["key"]) as client:
            assert refusal(await client.get(f"/v1/lookup/{made.json()['id']}", params=seen(made))) == (404, "not-found")

    @pytest.mark.parametrize(
        "name", ["agt_1", "nothing", "AYB-0000-0000-0000", "+1", "%00", "0" * 32, "key_0000000000000000", "CA" + "0" * 32, "0" * 33]
    )
    async def test_finds_nothing_where_nothing_is(self, tenant: Tenant, name: str) -> None:
        assert refusal(await tenant.api.get(f"/v1/lookup/{name}"))[0] in {404, 422}
