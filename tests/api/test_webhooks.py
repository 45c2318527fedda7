"""Webhooks over HTTP: added, changed, looked at; their secret is shown once."""

import httpx
import pytest

from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
NONE = "webhook_" + "0" * 32
NEW = {"url": "https://example.com/hook", "types": ["call-ended"], "description": "books"}


async def added(tenant: Tenant) -> tuple[str, httpx.Response]:
    answer = await tenant.api.post("/v1/webhooks", json=NEW)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], answer


class TestAddWebhook:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/webhooks", json=NEW)) == (401, "unauthenticated")

    async def test_shows_its_secret_once(self, tenant: Tenant) -> None:
        webhook_id, answer = await added(tenant)
        assert answer.json()["secret"].startswith("whsec_")
        shown = await tenant.api.get(f"/v1/webhooks/{webhook_id}", params=seen(answer))
        assert (shown.json()["url"], shown.json()["types"], shown.json()["enabled"]) == (NEW["url"], NEW["types"], True)
        assert "secret" not in shown.json()
        listed = (await tenant.api.get("/v1/webhooks")).json()["data"]
        assert [each["id"] for each in listed] == [webhook_id]

    async def test_has_the_same_answer_when_it_is_asked_again(self, tenant: Tenant) -> None:
        first, again = [await tenant.api.post("/v1/webhooks", json=NEW, headers={"Idempotency-Key": "once"}) for _ in range(2)]
        assert first.json() == again.json()

    @pytest.mark.parametrize(
        "url", ["http://example.com/", "ftp://example.com/", "https://", "https://me:it@example.com/", "https://a b/", "x"]
    )
    async def test_refuses_what_is_no_address_for_personal_words(self, tenant: Tenant, url: str) -> None:
        assert refusal(await tenant.api.post("/v1/webhooks", json={**NEW, "url": url})) == (422, "invalid-request")

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "2130706433", "localhost",
                 "db.inside", "gone.nowhere", f"{'a' * 70}.nowhere"],
    )  # fmt: skip
    async def test_and_its_change_refuse_an_address_that_is_not_everybodys(self, tenant: Tenant, host: str) -> None:
        body = {**NEW, "url": f"https://{host}/hook"}
        answers = [await tenant.api.post("/v1/webhooks", json=body), await tenant.api.patch(f"/v1/webhooks/{NONE}", json=body)]
        for answer in answers:
            assert refusal(answer) == (422, "invalid-request")
            assert [each["pointer"] for each in answer.json()["errors"]] == ["#/url"]

    async def test_lets_nobody_hear_what_they_may_not_read(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        key = (await tenant.api.post(path, json={"label": "deaf", "scopes": ["webhooks:write"]})).json()["key"]
        async with running.client(key) as deaf:
            answer = await deaf.post("/v1/webhooks", json=NEW)
        assert (*refusal(answer), answer.json()["needed"]) == (403, "scope-missing", "events:read")

    async def test_keeps_its_secret_out_of_the_events(self, tenant: Tenant) -> None:
        webhook_id, answer = await added(tenant)
        secret = answer.json()["secret"]
        position = answer.headers["Aybiza-Position"]
        found = await tenant.api.get(f"/v1/webhooks/{webhook_id}/attempts", params={"min-position": position})
        assert found.json()["data"] == []
        assert secret not in found.text


class TestWebhook:
    async def test_is_nobody_elses(self, tenant: Tenant, stranger: Tenant) -> None:
        webhook_id, answer = await added(tenant)
        path = f"/v1/webhooks/{webhook_id}"
        assert refusal(await stranger.api.get(path, params=seen(answer))) == (404, "not-found")
        for method, where, body in (
            ("PATCH", path, {"url": "https://evil.example/"}), ("DELETE", path, None), ("POST", f"{path}/rotate", {}),
            ("POST", f"{path}/ping", None), ("POST", f"{path}/redeliveries", {"since": "2026-01-01T00:00:00Z"}),
        ):  # fmt: skip
            assert refusal(await stranger.api.request(method, where, json=body)) == (404, "not-found")

    async def test_is_changed_turned_off_and_removed(self, tenant: Tenant) -> None:
        webhook_id, _ = await added(tenant)
        path = f"/v1/webhooks/{webhook_id}"
        await tenant.api.patch(path, json={"types": []})
        rotated = await tenant.api.post(f"{path}/rotate", json={"overlap_seconds": 60})
        assert rotated.status_code == 201
        off = await tenant.api.post(f"{path}/disable")
        shown = (await tenant.api.get(path, params=seen(off))).json()
        assert (shown["types"], shown["enabled"], shown["disabled_because"]) == ([], False, "asked")
        assert shown["old_secret_until"] is not None
        assert refusal(await tenant.api.post(f"{path}/ping")) == (409, "webhook-disabled")
        assert (await tenant.api.post(f"{path}/enable")).status_code == 202
        removed = await tenant.api.delete(path)
        assert refusal(await tenant.api.get(path, params=seen(removed))) == (404, "not-found")

    async def test_is_sent_back_to_a_time_or_a_position_that_was(self, tenant: Tenant) -> None:
        webhook_id, answer = await added(tenant)
        path = f"/v1/webhooks/{webhook_id}/redeliveries"
        await tenant.api.get("/v1/webhooks", params=seen(answer))
        for since in ("2026-11-20T10:00:00+02:00", answer.headers["Aybiza-Position"]):
            assert (await tenant.api.post(path, json={"since": since})).status_code == 202
        for since in ("2999-01-01T00:00:00Z", "yesterday", "aybiza.calls.v1/0/1/1/00000000000000000000000000000000"):
            assert refusal(await tenant.api.post(path, json={"since": since})) == (422, "invalid-request")
