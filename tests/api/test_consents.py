"""Consents over HTTP."""

import httpx
import pytest

from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
CALLER = "+14155550199"
GRANT = {"caller": CALLER, "purpose": "recording", "evidence": "form 7"}
RECORDING = f"/v1/consents/{CALLER}/recording"


class TestGrantConsent:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/consents", json=GRANT)) == (401, "unauthenticated")

    async def test_is_seen_by_the_one_organisation_alone(self, tenant: Tenant, stranger: Tenant) -> None:
        granted = await tenant.api.post("/v1/consents", json=GRANT)
        assert refusal(await stranger.api.get(f"/v1/consents/{CALLER}", params=seen(granted))) == (404, "not-found")
        assert refusal(await stranger.api.get(granted.headers["Location"])) == (404, "not-found")

    @pytest.mark.parametrize(
        ("wrong", "pointer"),
        [
            ({"caller": "12"}, "#/caller"),
            ({"purpose": "everything"}, "#/purpose"),
            ({"evidence": ""}, "#/evidence"),
            ({"expires_at": "2030-01-01T00:00:00"}, "#/expires_at"),
            ({"expires_at": "9999-12-31T23:59:59-14:00"}, "#/expires_at"),
        ],
    )
    async def test_is_refused_with_a_pointer(self, tenant: Tenant, wrong: dict[str, str], pointer: str) -> None:
        answer = await tenant.api.post("/v1/consents", json=GRANT | wrong)
        assert refusal(answer) == (422, "invalid-request")
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    async def test_is_on_record_with_its_place_on_the_log(self, tenant: Tenant) -> None:
        granted = await tenant.api.post("/v1/consents", json=GRANT | {"expires_at": "2100-01-01T00:00:00+01:00"})
        assert granted.status_code == 201
        read = (await tenant.api.get(granted.headers["Location"], params=seen(granted))).json()
        assert (read["id"], read["number"]) == (granted.json()["caller_id"], CALLER)
        (permission,) = read["permissions"]
        assert (permission["purpose"], permission["holds"], permission["withdrawn"]) == ("recording", True, None)
        assert permission["granted"] == {
            "at": permission["granted"]["at"], "evidence": "form 7", "position": granted.headers["Aybiza-Position"], "version": 1,
            "expires_at": "2099-12-31T23:00:00Z",
        }  # fmt: skip

    async def test_of_the_past_holds_no_more(self, tenant: Tenant) -> None:
        granted = await tenant.api.post("/v1/consents", json=GRANT | {"expires_at": "2001-01-01T00:00:00Z"})
        read = (await tenant.api.get(granted.headers["Location"], params=seen(granted))).json()
        assert not read["permissions"][0]["holds"]


class TestRevokeConsent:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.delete(RECORDING)) == (401, "unauthenticated")

    async def test_cannot_be_done_by_another_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        granted = await tenant.api.post("/v1/consents", json=GRANT)
        assert refusal(await stranger.api.delete(RECORDING)) == (409, "consent-not-held")
        assert (await tenant.api.get(f"/v1/consents/{CALLER}", params=seen(granted))).json()["permissions"][0]["holds"]

    async def test_is_refused_when_nothing_is_held(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.delete(RECORDING)) == (409, "consent-not-held")

    async def test_is_refused_for_a_purpose_that_there_is_not(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.delete(f"/v1/consents/{CALLER}/everything")) == (422, "invalid-request")

    async def test_finds_no_caller_behind_what_is_no_number(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.delete("/v1/consents/somebody/recording")) == (404, "not-found")

    async def test_is_accepted_with_its_place_on_the_log(self, tenant: Tenant) -> None:
        granted = await tenant.api.post("/v1/consents", json=GRANT)
        withdrawn = await tenant.api.delete(f"{granted.headers['Location']}/recording", params={"evidence": "letter of May"})
        assert withdrawn.status_code == 202
        assert withdrawn.json() == {"position": withdrawn.headers["Aybiza-Position"]}
        (permission,) = (await tenant.api.get(f"/v1/consents/{CALLER}", params=seen(withdrawn))).json()["permissions"]
        assert (permission["holds"], permission["withdrawn"]["evidence"]) == (False, "letter of May")
        assert permission["withdrawn"]["position"] == withdrawn.json()["position"]

    async def test_sent_again_under_its_key_has_the_first_answer(self, tenant: Tenant, unique: str) -> None:
        await tenant.api.post("/v1/consents", json=GRANT)
        first, again = [await tenant.api.delete(RECORDING, headers={"Idempotency-Key": unique}) for _ in range(2)]
        assert (again.status_code, again.json()) == (202, first.json())


class TestListConsents:
    async def test_shows_callers_with_their_numbers_in_clear(self, tenant: Tenant) -> None:
        granted = [await tenant.api.post("/v1/consents", json=GRANT | {"caller": caller}) for caller in (CALLER, "+442079460123")]
        listed = (await tenant.api.get("/v1/consents", params=seen(*granted))).json()
        assert {each["number"] for each in listed["data"]} == {CALLER, "+442079460123"}
