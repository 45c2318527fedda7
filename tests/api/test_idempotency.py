"""What an `Idempotency-Key` names: one request for one thing."""

import httpx
import pytest

from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
LAMP = {"enabled": True, "variant": "on"}


class TestKey:
    async def test_is_refused_for_any_other_request_for_the_same_thing(self, tenant: Tenant, unique: str) -> None:
        named = {"Idempotency-Key": unique}
        made = await tenant.api.post("/v1/agents", json={"name": "Ann"}, headers=named)
        agent = made.headers["Location"]
        other = [
            await tenant.api.post("/v1/agents", json={"name": "Bea"}, headers=named),
            await tenant.api.patch(agent, json={"name": "Bea"}, headers=named),
            await tenant.api.post("/v1/agents?label=1", json={"name": "Ann"}, headers=named),
        ]
        assert [refusal(each) for each in other] == [(422, "idempotency-key-reused")] * 3
        assert (await tenant.api.get(agent, params=seen(made))).json()["name"] == "Ann"

    async def test_names_another_request_for_another_thing(self, tenant: Tenant, stranger: Tenant, unique: str) -> None:
        named = {"Idempotency-Key": unique}
        made = await tenant.api.post("/v1/agents", json={"name": "Ann"}, headers=named)
        lamp, candle = [await tenant.api.put(f"/v1/flags/{name}", json=LAMP, headers=named) for name in ("lamp", "candle")]
        assert [made.status_code, lamp.status_code, candle.status_code] == [201, 200, 200]
        flags = (await tenant.api.get("/v1/flags", params=seen(lamp, candle))).json()["data"]
        assert [each["name"] for each in flags] == ["candle", "lamp"]
        theirs = await stranger.api.post("/v1/agents", json={"name": "Ann"}, headers=named)
        assert (theirs.status_code, theirs.json()["id"] == made.json()["id"]) == (201, False)

    async def test_says_so_where_it_is_described(self, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/openapi.json")).json()
        (described,) = {
            parameter["description"]
            for methods in document["paths"].values()
            for operation in methods.values()
            for parameter in operation.get("parameters", ())
            if parameter["name"] == "Idempotency-Key"
        }
        assert "idempotency-key-reused" in described
