"""Organisations and their keys over HTTP."""

import httpx
import pytest

from tests.api.asking import refusal, seen
from tests.api.platform import OPERATOR_KEY, Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")


class TestCreateOrganisation:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        answer = await anonymous.post("/v1/organisations", json={"name": "ACME"})
        assert refusal(answer) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    async def test_is_not_for_organisations(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.post("/v1/organisations", json={"name": "ACME"})) == (403, "operator-only")

    async def test_is_refused_without_a_name(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.post("/v1/organisations", json={"name": " \u00a0 "})
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#/name"

    async def test_answers_with_a_key_that_opens_at_once(self, running: Platform, operator: httpx.AsyncClient) -> None:
        answer = await operator.post("/v1/organisations", json={"name": "  ACME   Corp ", "region": "eu-west-1"})
        body = answer.json()
        assert (answer.status_code, body["name"], body["region"]) == (201, "ACME Corp", "eu-west-1")
        async with running.client(body["api_key"]["key"]) as client:
            read = await client.get(answer.headers["Location"], params=seen(answer))
        assert read.json() == {"id": body["id"], "name": "ACME Corp", "region": "eu-west-1", "parent_id": None}

    async def test_sent_again_has_the_first_answer(self, operator: httpx.AsyncClient, unique: str) -> None:
        headers = {"Idempotency-Key": unique}
        first = await operator.post("/v1/organisations", json={"name": "ACME"}, headers=headers)
        again = await operator.post("/v1/organisations", json={"name": "ACME"}, headers=headers)
        assert again.json() == first.json()
        assert again.headers["Aybiza-Position"] == first.headers["Aybiza-Position"]

    async def test_is_refused_when_the_key_was_used_for_another(self, operator: httpx.AsyncClient, unique: str) -> None:
        headers = {"Idempotency-Key": unique}
        await operator.post("/v1/organisations", json={"name": "ACME"}, headers=headers)
        other = await operator.post("/v1/organisations", json={"name": "Other"}, headers=headers)
        assert refusal(other) == (422, "idempotency-key-reused")


class TestGetOrganisation:
    async def test_asks_strangers_for_a_key(self, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get(f"/v1/organisations/{tenant.id}")) == (401, "unauthenticated")

    async def test_does_not_tell_whether_another_one_exists(self, tenant: Tenant, stranger: Tenant) -> None:
        there = await stranger.api.get(f"/v1/organisations/{tenant.id}")
        nowhere = await stranger.api.get("/v1/organisations/AYB-0000-0000-0000")
        assert refusal(there) == refusal(nowhere) == (404, "not-found")
        assert there.json()["detail"] == nowhere.json()["detail"]

    async def test_reads_an_id_as_people_write_it(self, tenant: Tenant) -> None:
        renamed = await tenant.api.patch(f"/v1/organisations/{tenant.id}", json={"name": "Acme Ltd"})
        spelled = tenant.id.lower().replace("-", "").replace("0", "o")
        read = await tenant.api.get(f"/v1/organisations/{spelled}", params=seen(renamed))
        assert (read.json()["id"], read.json()["name"]) == (tenant.id, "Acme Ltd")


class TestListOrganisations:
    async def test_shows_an_organisation_itself_alone(self, tenant: Tenant, stranger: Tenant) -> None:
        renamed = await tenant.api.patch(f"/v1/organisations/{tenant.id}", json={"name": "Mine"})
        listed = (await tenant.api.get("/v1/organisations", params=seen(renamed))).json()
        assert [each["id"] for each in listed["data"]] == [tenant.id]

    async def test_shows_the_operator_all_of_them(self, operator: httpx.AsyncClient, tenant: Tenant, stranger: Tenant) -> None:
        ids: list[str] = []
        cursor: str | None = None
        renamed = await stranger.api.patch(f"/v1/organisations/{stranger.id}", json={"name": "Late"})
        while cursor is not None or not ids:
            params = {"limit": "2", **seen(renamed)} | ({"cursor": cursor} if cursor else {})
            page = (await operator.get("/v1/organisations", params=params)).json()
            ids += [each["id"] for each in page["data"]]
            cursor = page["next_cursor"]
        assert {tenant.id, stranger.id} <= set(ids)
        assert len(ids) == len(set(ids))


class TestOperator:
    async def test_acts_for_an_organisation_that_it_names(self, running: Platform, tenant: Tenant) -> None:
        async with running.client(OPERATOR_KEY, **{"Aybiza-Organisation": tenant.id.lower()}) as acting:
            made = await acting.post("/v1/agents", json={"name": "Ann"})
        assert (await tenant.api.get(made.headers["Location"], params=seen(made))).json()["name"] == "Ann"

    async def test_is_asked_for_whom_it_acts(self, operator: httpx.AsyncClient) -> None:
        assert refusal(await operator.post("/v1/agents", json={"name": "Ann"})) == (403, "organisation-needed")


class TestApiKeys:
    async def test_of_another_organisation_cannot_be_seen_or_made(self, tenant: Tenant, stranger: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        assert refusal(await stranger.api.get(path)) == (404, "not-found")
        assert refusal(await stranger.api.post(path, json={"label": "mine"})) == (404, "not-found")

    async def test_open_nothing_when_they_are_wrong_by_a_letter(self, running: Platform, tenant: Tenant) -> None:
        for wrong in (tenant.key[:-1] + ("0" if tenant.key[-1] != "0" else "1"), tenant.key + "0", "aybiza_key", "x"):
            async with running.client(wrong) as client:
                assert refusal(await client.get("/v1/agents")) == (401, "unauthenticated")

    async def test_are_listed_without_their_secrets(self, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = await tenant.api.post(path, json={"label": "shop"})
        assert issued.status_code == 201
        listed = await tenant.api.get(path, params=seen(issued))
        assert [(key["label"], key["revoked_at"]) for key in listed.json()["data"]] == [("first", None), ("shop", None)]
        assert issued.json()["key"].rsplit("_", 1)[1] not in listed.text
        assert (await tenant.api.get(issued.headers["Location"])).json()["label"] == "shop"

    async def test_open_nothing_once_they_are_revoked(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = (await tenant.api.post(path, json={"label": "shop"})).json()
        async with running.client(issued["key"]) as client:
            assert (await client.get("/v1/agents")).status_code == 200
            revoked = await tenant.api.delete(f"{path}/{issued['id']}")
            assert revoked.status_code == 202
            assert refusal(await client.get("/v1/agents")) == (401, "unauthenticated")

    async def test_that_were_never_issued_cannot_be_revoked(self, tenant: Tenant) -> None:
        gone = await tenant.api.delete(f"/v1/organisations/{tenant.id}/api-keys/key_0000000000000000")
        assert refusal(gone) == (404, "not-found")
