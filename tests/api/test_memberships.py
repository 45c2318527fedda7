"""Who belongs to an organisation and what roles give, over HTTP."""

import asyncio

import httpx
import pytest

from tests.api.asking import refusal, seen
from tests.api.people import PASSWORD, joined
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def defined(tenant: Tenant, name: str, *grants: dict[str, object], reaches_children: bool = False) -> httpx.Response:
    body = {"description": name, "grants": grants, "reaches_children": reaches_children}
    answer = await tenant.api.put(f"/v1/roles/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return answer


class TestInvitations:
    async def test_are_listed_without_their_tokens(self, tenant: Tenant, unique: str) -> None:
        answer = await tenant.api.post("/v1/invitations", json={"email": f"{unique}@Example.com", "role": "analyst"})
        listed = await tenant.api.get("/v1/invitations", params=seen(answer))
        (one,) = listed.json()["data"]
        assert (one["id"], one["email"], one["accepted_by"]) == (answer.json()["id"], f"{unique}@example.com", None)
        assert answer.json()["token"] not in listed.text

    async def test_sent_again_have_the_first_answer(self, tenant: Tenant, unique: str) -> None:
        body, headers = {"email": f"{unique}@example.com", "role": "analyst"}, {"Idempotency-Key": unique}
        first, again = [await tenant.api.post("/v1/invitations", json=body, headers=headers) for _ in range(2)]
        assert (first.json()["id"], first.json()["token"]) == (again.json()["id"], again.json()["token"])

    async def test_name_a_role_that_there_is(self, tenant: Tenant, unique: str) -> None:
        answer = await tenant.api.post("/v1/invitations", json={"email": f"{unique}@example.com", "role": "nobody"})
        assert refusal(answer) == (422, "role-unknown")

    async def test_give_nothing_that_the_inviting_person_has_not(self, running: Platform, tenant: Tenant, unique: str) -> None:
        admin = await joined(running, tenant, f"admin.{unique}@example.com", "admin")
        async with admin.client(running) as client:
            body = {"email": f"more.{unique}@example.com", "role": "owner"}
            assert refusal(await client.post("/v1/invitations", json=body)) == (403, "scope-too-wide")
            assert (await client.post("/v1/invitations", json={**body, "role": "developer"})).status_code == 201


class TestMemberships:
    async def test_show_who_belongs_and_end_at_once(self, running: Platform, tenant: Tenant, unique: str) -> None:
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "analyst")
        async with bob.client(running) as client:
            assert (await client.get("/v1/calls")).status_code == 200
            removed = await tenant.api.delete(f"/v1/memberships/{bob.id}")
            assert removed.status_code == 202
            # Here alone they belonged: so they are signed out, and no refreshing brings them back.
            async with asyncio.timeout(120):
                while (answer := await client.get("/v1/people/me")).status_code != 401:
                    assert refusal(await client.get("/v1/calls"))[0] in (401, 403)
            assert refusal(answer) == (401, "unauthenticated")
            again = await client.post("/auth/sessions/refresh", json={"refresh_token": bob.session["refresh_token"]})
            assert refusal(again) == (401, "unauthenticated")
        shown = (await tenant.api.get(f"/v1/memberships/{bob.id}", params=seen(removed))).json()
        # Who has left is a name no more: only that somebody was here, and when.
        assert (shown["email"], shown["role"], shown["ended_at"] is None) == (None, "analyst", False)

    async def test_change_their_role_at_once(self, running: Platform, tenant: Tenant, unique: str) -> None:
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "analyst")
        async with bob.client(running) as client:
            assert refusal(await client.post("/v1/agents", json={"name": "Desk"})) == (403, "scope-missing")
            changed = await tenant.api.patch(f"/v1/memberships/{bob.id}", json={"role": "developer"})
            assert (await client.post("/v1/agents", json={"name": "Desk"})).status_code == 201
        shown = (await tenant.api.get("/v1/memberships", params=seen(changed))).json()["data"]
        assert [(each["email"], each["role"]) for each in shown] == [(bob.email, "developer")]

    async def test_of_owners_are_theirs_alone_to_end(self, running: Platform, tenant: Tenant, unique: str) -> None:
        owner = await joined(running, tenant, f"owner.{unique}@example.com", "owner")
        admin = await joined(running, tenant, f"admin.{unique}@example.com", "admin")
        async with admin.client(running) as client:
            assert refusal(await client.delete(f"/v1/memberships/{owner.id}")) == (403, "scope-too-wide")
            assert refusal(await client.patch(f"/v1/memberships/{owner.id}", json={"role": "analyst"})) == (403, "scope-too-wide")
            assert refusal(await client.patch(f"/v1/memberships/{admin.id}", json={"role": "owner"})) == (403, "scope-too-wide")

    async def test_have_personal_keys_that_may_what_the_member_may_and_end_with_it(
        self, running: Platform, tenant: Tenant, unique: str
    ) -> None:
        path, personal = f"/v1/organisations/{tenant.id}/api-keys", {"label": "mine", "personal": True}
        assert refusal(await tenant.api.post(path, json=personal)) == (403, "person-only")
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "admin")
        async with bob.client(running) as client:
            whole, narrow = [(await client.post(path, json={**personal, "scopes": each})).json() for each in ([], ["flags:write"])]
            wide = await client.post(path, json={"label": "ours"})
        listed = {each["id"]: each["person_id"] for each in (await tenant.api.get(path, params=seen(wide))).json()["data"]}
        assert [listed[each["id"]] for each in (whole, narrow, wide.json())] == [bob.id, bob.id, None]
        for key in whole, narrow:
            assert refusal(await tenant.api.post(f"{path}/{key['id']}/rotate", json={})) == (403, "person-only")
        async with running.client(whole["key"]) as program, running.client(narrow["key"]) as other:
            lamp = {"enabled": True, "variant": "on"}
            assert [(await each.put("/v1/flags/lamp", json=lamp)).status_code for each in (program, other)] == [200, 200]
            assert refusal(await other.get("/v1/calls")) == (403, "scope-missing")
            assert refusal(await program.get("/v1/people/me")) == (403, "person-only")
            await tenant.api.patch(f"/v1/memberships/{bob.id}", json={"role": "analyst"})
            assert [(await each.put("/v1/flags/lamp", json=lamp)).status_code for each in (program, other)] == [403, 403]
            assert (await program.get("/v1/calls")).status_code == 200
            await tenant.api.delete(f"/v1/memberships/{bob.id}")
            for each in program, other:
                assert refusal(await each.get("/v1/flags")) == (401, "unauthenticated")
        async with running.client(wide.json()["key"]) as program:
            assert (await program.get("/v1/flags")).status_code == 200

    async def test_of_the_last_owner_stand(self, running: Platform, tenant: Tenant, unique: str) -> None:
        ada = await joined(running, tenant, f"ada.{unique}@example.com", "owner")
        async with ada.client(running) as client:
            for method, path, body in (
                ("PATCH", f"/v1/memberships/{ada.id}", {"role": "admin"}), ("DELETE", f"/v1/memberships/{ada.id}", None),
                ("DELETE", f"/v1/people/me/memberships/{tenant.id}", None),
            ):  # fmt: skip
                answer = await client.request(method, path, json=body)
                assert refusal(answer) == (409, "last-owner")
                assert "make somebody else an owner first" in answer.json()["detail"]
            assert (await client.patch(f"/v1/memberships/{ada.id}", json={"role": "owner"})).status_code == 200
            await joined(running, tenant, f"bob.{unique}@example.com", "owner")
            stale = await client.delete(f"/v1/memberships/{ada.id}", headers={"If-Match": '"7"'})
            assert refusal(stale) == (412, "precondition-failed")
            assert (await client.delete(f"/v1/memberships/{ada.id}")).status_code == 202

    async def test_of_owners_who_remove_each_other_at_once_do_not_all_end(self, running: Platform, tenant: Tenant, unique: str) -> None:
        owners = [await joined(running, tenant, f"{at}.{unique}@example.com", "owner") for at in range(3)]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(tenant.api.delete(f"/v1/memberships/{each.id}")) for each in owners]
        assert sorted(each.result().status_code for each in asked) == [202, 202, 409]
        # Who is made an owner again counts again.
        (last,) = [each for each, answer in zip(owners, asked, strict=True) if answer.result().status_code == 409]
        dan = await joined(running, tenant, f"dan.{unique}@example.com", "analyst")
        for change in (dan.id, "owner", 200), (last.id, "analyst", 200), (dan.id, "analyst", 409), (last.id, "owner", 200):
            answer = await tenant.api.patch(f"/v1/memberships/{change[0]}", json={"role": change[1]})
            assert answer.status_code == change[2], change
        assert (await tenant.api.delete(f"/v1/memberships/{dan.id}")).status_code == 202

    async def test_of_another_organisation_are_not_there(self, running: Platform, tenant: Tenant, stranger: Tenant, unique: str) -> None:
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "analyst")
        for method, body in (("GET", None), ("PATCH", {"role": "analyst"}), ("DELETE", None)):
            for person in (bob.id, "USR-0000000000", "nobody"):
                answer = await stranger.api.request(method, f"/v1/memberships/{person}", json=body)
                assert refusal(answer) == (404, "not-found"), (method, person)


class TestRoles:
    async def test_of_ones_own_count_from_the_next_request_and_no_longer_than_they_stand(
        self, running: Platform, tenant: Tenant, unique: str
    ) -> None:
        await defined(tenant, "flagger", {"scope": "flags:write"})
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "flagger")
        async with bob.client(running) as client:
            lamp = await client.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
            await defined(tenant, "flagger", {"scope": "flags:read"})
            assert refusal(await client.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})) == (403, "scope-missing")
            assert (await client.get("/v1/flags/lamp", params=seen(lamp))).status_code == 200
            await tenant.api.delete("/v1/roles/flagger")
            assert refusal(await client.get("/v1/flags/lamp")) == (403, "scope-missing")

    async def test_may_be_for_single_things(self, running: Platform, tenant: Tenant, unique: str) -> None:
        lamp, horn = [await tenant.api.put(f"/v1/flags/{name}", json={"enabled": True, "variant": "on"}) for name in ("lamp", "horn")]
        await defined(tenant, "lamplighter", {"scope": "flags:write", "resources": ["lamp"]})
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "lamplighter")
        async with bob.client(running) as client:
            assert (await client.get("/v1/flags/lamp", params=seen(lamp, horn))).status_code == 200
            assert (await client.delete("/v1/flags/lamp")).status_code == 202
            assert refusal(await client.get("/v1/flags/horn")) == (403, "scope-missing")
            # One that is not there has the same answer, and a list would show more than the one.
            assert refusal(await client.get("/v1/flags/nothing")) == (403, "scope-missing")
            assert refusal(await client.get("/v1/flags")) == (403, "scope-missing")

    async def test_of_ours_are_as_they_are(self, tenant: Tenant) -> None:
        listed = (await tenant.api.get("/v1/roles")).json()["data"]
        assert {"owner", "admin", "developer", "operator", "analyst", "auditor", "billing"} <= {each["name"] for each in listed}
        body = {"description": "mine", "grants": [{"scope": "calls:read"}]}
        assert refusal(await tenant.api.put("/v1/roles/owner", json=body)) == (409, "role-is-built-in")
        assert refusal(await tenant.api.delete("/v1/roles/owner")) == (409, "role-is-built-in")

    async def test_give_nothing_that_their_maker_has_not(self, running: Platform, tenant: Tenant, unique: str) -> None:
        await defined(tenant, "rolemaker", {"scope": "roles:write"}, {"scope": "memberships:write"}, {"scope": "calls:read"})
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "rolemaker")
        async with bob.client(running) as client:
            for scope, status in (("calls:write", 403), ("calls:read", 200)):
                body = {"description": "more", "grants": [{"scope": scope}]}
                assert (await client.put("/v1/roles/more", json=body)).status_code == status
            # Nor do they widen one that gave more than they have.
            await defined(tenant, "big", {"scope": "agents:write"})
            body = {"description": "big", "grants": [{"scope": "calls:read"}]}
            assert refusal(await client.put("/v1/roles/big", json=body)) == (403, "scope-too-wide")


class TestTree:
    async def test_is_reached_from_above_where_the_role_says_so(
        self, running: Platform, operator: httpx.AsyncClient, tenant: Tenant, unique: str
    ) -> None:
        answer = await operator.post("/v1/organisations", json={"name": "Branch", "parent_id": tenant.id})
        child = answer.json()
        assert child["parent_id"] == tenant.id
        owner = await joined(running, tenant, f"owner.{unique}@example.com", "owner")
        analyst = await joined(running, tenant, f"analyst.{unique}@example.com", "analyst")
        below = {"Aybiza-Organisation": child["id"]}
        async with owner.client(running, **below) as client:
            assert (await client.get(f"/v1/organisations/{child['id']}", params=seen(answer))).json()["name"] == "Branch"
        async with analyst.client(running, **below) as client:
            assert refusal(await client.get("/v1/calls")) == (403, "organisation-needed")
        # And never upwards.
        async with running.client(child["api_key"]["key"]) as client:
            token = (await client.post("/v1/invitations", json={"email": f"low.{unique}@example.com", "role": "owner"})).json()["token"]
        async with running.client() as client:
            body = {"token": token, "password": PASSWORD}
            session = (await client.post("/auth/invitations/accept", json=body)).json()
        async with running.client(session["access_token"], **{"Aybiza-Organisation": tenant.id}) as client:
            assert refusal(await client.get("/v1/calls")) == (403, "organisation-needed")

    async def test_hangs_on_what_there_is(self, operator: httpx.AsyncClient) -> None:
        for parent in ("AYB-0000-0000-0000", "nothing"):
            answer = await operator.post("/v1/organisations", json={"name": "Branch", "parent_id": parent})
            assert refusal(answer) == (422, "invalid-request")
