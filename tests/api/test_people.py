"""People over HTTP: joining, signing in, second factors, sessions, and what only they may do about themselves."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
import pytest_asyncio

from api import totp
from api.limits import Policy
from api.ports import NotVerified
from api.tokens import Claims, device_token, sign
from commands.people import SESSIONS, OpenSession, RefreshSession
from events.people import SignInFailed
from events.positions import Position
from events.recorded import Recorded
from events.registry import Fact
from events.rooms import prepared_codec
from events.streams import PLATFORM, StreamId
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import Progress
from infra.adapters.postgres.rows import PostgresRows
from infra.local.stack import Addresses
from projections.queries import EVERYBODY, asked_for
from projections.registry import STORED
from tests.api.asking import refusal, seen
from tests.api.people import PASSWORD, Member, invited, joined
from tests.api.platform import Platform, Tenant, served

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(loop_scope="package")
async def ada(running: Platform, tenant: Tenant, unique: str) -> Member:
    return await joined(running, tenant, f"ada.{unique}@example.com", "owner")


@pytest_asyncio.fixture(loop_scope="package")
async def me(running: Platform, ada: Member) -> AsyncIterator[httpx.AsyncClient]:
    async with ada.client(running) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    return await client.post("/auth/sessions", json={"email": email, "password": password, **more})


async def facts_of(running: Platform, stream: StreamId, answer: httpx.Response) -> Sequence[Recorded[Fact]]:
    """What happened to a stream, once the journal has what was answered."""
    asked_for.set(EVERYBODY)
    assert await running.ports.rows.wait_for([Position.parse(answer.headers["Aybiza-Position"])], 120)
    return await running.ports.journal.stream_events(stream)


class TestJoining:
    async def test_makes_a_person_who_belongs_and_is_signed_in(self, me: httpx.AsyncClient, ada: Member, tenant: Tenant) -> None:
        shown = (await me.get("/v1/people/me")).json()
        assert (shown["id"], shown["email"], shown["name"]) == (ada.id, ada.email, "Ada Lovelace")
        belongs = (await me.get("/v1/people/me/memberships")).json()["data"]
        assert [(each["organisation_id"], each["role"]) for each in belongs] == [(tenant.id, "owner")]
        assert (await me.get(f"/v1/organisations/{tenant.id}")).status_code == 200

    async def test_opens_with_its_own_token_once_and_before_its_end(
        self, running: Platform, tenant: Tenant, anonymous: httpx.AsyncClient, unique: str
    ) -> None:
        invitation = await invited(tenant, f"{unique}@example.com", "analyst")
        join = {"token": invitation["token"], "password": PASSWORD}
        wrong = {**join, "token": invitation["token"][:-1] + ("0" if invitation["token"][-1] != "0" else "1")}
        assert refusal(await anonymous.post("/auth/invitations/accept", json=wrong)) == (404, "invitation-token")
        first = await anonymous.post("/auth/invitations/accept", json=join)
        assert first.status_code == 201
        # Whoever finds the token later is no further than somebody with an address and no password.
        again = await anonymous.post("/auth/invitations/accept", json={**join, "password": "something else entirely"})
        assert refusal(again) == (401, "sign-in-failed")

    async def test_is_over_when_it_was_withdrawn(self, tenant: Tenant, anonymous: httpx.AsyncClient, unique: str) -> None:
        invitation = await invited(tenant, f"{unique}@example.com", "analyst")
        assert (await tenant.api.delete(f"/v1/invitations/{invitation['id']}")).status_code == 202
        answer = await anonymous.post("/auth/invitations/accept", json={"token": invitation["token"], "password": PASSWORD})
        assert refusal(answer) == (404, "invitation-token")

    async def test_of_a_second_organisation_takes_the_password_that_the_person_has(
        self, running: Platform, ada: Member, stranger: Tenant, anonymous: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        token = (await invited(stranger, ada.email, "analyst"))["token"]
        wrong = await anonymous.post("/auth/invitations/accept", json={"token": token, "password": "not the password"})
        assert refusal(wrong) == (401, "sign-in-failed")
        answer = await anonymous.post("/auth/invitations/accept", json={"token": token, "password": PASSWORD})
        assert answer.json()["person_id"] == ada.id
        async with ada.client(running) as client:
            assert refusal(await client.get("/v1/calls")) == (403, "scope-missing")
        for organisation, agents in ((tenant.id, 201), (stranger.id, 403)):
            async with ada.client(running, **{"Aybiza-Organisation": organisation}) as client:
                assert (await client.post("/v1/agents", json={"name": "Desk"})).status_code == agents
                assert (await client.get("/v1/calls")).status_code == 200

    async def test_leaves_the_person_as_the_actor_of_what_they_do(self, running: Platform, me: httpx.AsyncClient, ada: Member) -> None:
        made = await me.post("/v1/agents", json={"name": "Desk"})
        organisation = (await me.get("/v1/people/me/memberships")).json()["data"][0]["organisation_id"]
        stream = StreamId(organisation, "agents", made.json()["id"])
        assert [each.actor for each in await facts_of(running, stream, made)] == [f"person:{ada.id}"]


class TestSigningIn:
    async def test_answers_alike_for_a_wrong_password_and_for_nobody(
        self, running: Platform, ada: Member, anonymous: httpx.AsyncClient, unique: str
    ) -> None:
        nobody = f"nobody.{unique}@example.com"
        wrong, strange = await sign_in(anonymous, ada.email, "not the password"), await sign_in(anonymous, nobody, PASSWORD)
        assert refusal(wrong) == refusal(strange) == (401, "sign-in-failed")
        assert wrong.json()["detail"] == strange.json()["detail"]
        # Either is a fact, so that either takes as long.
        for email in (ada.email, nobody):
            stream = StreamId(PLATFORM, "emails", running.key_ring.reference(PLATFORM, f"email {email}"))
            asked_for.set(EVERYBODY)
            async with asyncio.timeout(120):
                while not any(isinstance(each.fact, SignInFailed) for each in await running.ports.journal.stream_events(stream)):
                    await asyncio.sleep(0)

    async def test_takes_an_address_in_any_case(self, ada: Member, anonymous: httpx.AsyncClient) -> None:
        answer = await sign_in(anonymous, f" {ada.email.upper()} ")
        assert (answer.status_code, answer.json()["person_id"]) == (201, ada.id)

    async def test_is_counted_by_address_known_or_not(self, running: Platform, unique: str) -> None:
        ports = replace(running.ports, sign_ins=[Policy(name=f"few-{unique}", quota=2, window_seconds=600)])
        async with served(ports) as url, httpx.AsyncClient(base_url=url, timeout=120) as client:
            answers = [await sign_in(client, f"{unique}@example.com") for _ in range(3)]
        assert [each.status_code for each in answers] == [401, 401, 429]
        assert int(answers[-1].headers["Retry-After"]) > 0

    async def test_on_a_known_device_is_open_whatever_strangers_try(self, running: Platform, ada: Member, unique: str) -> None:
        few = Policy(name=f"few-{unique}", quota=2, window_seconds=86_400)
        ports = replace(running.ports, sign_ins=[few], sign_ins_to_one=replace(few, name=f"all-{unique}"))
        known = {"device_token": ada.session["device_token"]}
        async with served(ports) as url, httpx.AsyncClient(base_url=url, timeout=120) as client:
            guesses = [await sign_in(client, ada.email, "a stranger's guess") for _ in range(3)]
            assert [each.status_code for each in guesses] == [401, 401, 429]
            assert refusal(await sign_in(client, ada.email)) == (429, "too-many-requests")
            # The token of another address, or one that somebody made up, is none.
            other = device_token(running.key_ring, "another", ada.session["session_id"])
            for made_up in (other, ada.session["device_token"][:-1], "aybiza_device_"):
                assert refusal(await sign_in(client, ada.email, device_token=made_up)) == (429, "too-many-requests")
            assert (await sign_in(client, ada.email, **known)).status_code == 201
            # It opens nothing, and is counted as well.
            assert [(await sign_in(client, ada.email, "wrong", **known)).status_code for _ in range(2)] == [401, 429]


class TestSecondFactor:
    async def test_is_asked_for_once_it_is_confirmed_and_opens_once(
        self, running: Platform, ada: Member, me: httpx.AsyncClient, anonymous: httpx.AsyncClient
    ) -> None:
        secret = (await me.post("/v1/people/me/totp")).json()["secret"]
        assert (await sign_in(anonymous, ada.email)).status_code == 201
        step = int(datetime.now(UTC).timestamp()) // 30
        confirmed = await me.post("/v1/people/me/totp/confirm", json={"code": totp.code_at(secret, step)})
        assert confirmed.status_code == 200, confirmed.text
        codes = confirmed.json()["recovery_codes"]
        assert refusal(await sign_in(anonymous, ada.email)) == (401, "second-factor-needed")
        used = await sign_in(anonymous, ada.email, code=totp.code_at(secret, step))
        assert refusal(used) == (409, "code-used")
        opened = await sign_in(anonymous, ada.email, code=totp.code_at(secret, step + 1))
        assert opened.status_code == 201
        assert refusal(await sign_in(anonymous, ada.email, code="ABCDE-FGHJK")) == (401, "sign-in-failed")
        assert (await sign_in(anonymous, ada.email, code=codes[0].lower())).status_code == 201
        assert refusal(await sign_in(anonymous, ada.email, code=codes[0])) == (401, "sign-in-failed")
        assert (await me.get("/v1/people/me")).json()["recovery_codes_left"] == len(codes) - 1
        disabled = await me.post("/v1/people/me/totp/disable", json={"password": PASSWORD, "code": codes[1]})
        assert disabled.status_code == 202
        assert (await sign_in(anonymous, ada.email)).status_code == 201

    async def test_is_not_confirmed_by_a_wrong_code(self, me: httpx.AsyncClient) -> None:
        assert refusal(await me.post("/v1/people/me/totp/confirm", json={"code": "000000"})) == (409, "totp-not-offered")
        secret = (await me.post("/v1/people/me/totp")).json()["secret"]
        step = int(datetime.now(UTC).timestamp()) // 30
        right = {totp.code_at(secret, step + around) for around in range(-2, 3)}
        wrong = next(f"{n:06d}" for n in range(10) if f"{n:06d}" not in right)
        assert refusal(await me.post("/v1/people/me/totp/confirm", json={"code": wrong})) == (401, "sign-in-failed")


class TestSession:
    async def test_goes_on_by_its_last_refresh_token_and_ends_by_an_older_one(
        self, running: Platform, ada: Member, anonymous: httpx.AsyncClient
    ) -> None:
        first = ada.session["refresh_token"]
        second = await anonymous.post("/auth/sessions/refresh", json={"refresh_token": first})
        assert second.status_code == 200
        # Two windows of a browser ask at one moment: both have the same answer.
        twin = await anonymous.post("/auth/sessions/refresh", json={"refresh_token": first})
        assert twin.json()["refresh_token"] == second.json()["refresh_token"]
        # A minute later it is somebody else who has it.
        stream = StreamId(PLATFORM, "sessions", ada.session["session_id"])
        stolen = await running.do(SESSIONS, stream, RefreshSession(generation=1, at=datetime.now(UTC) + timedelta(minutes=1)))
        assert await running.ports.api_keys.wait_for([stolen.position], 120)
        third = await anonymous.post("/auth/sessions/refresh", json={"refresh_token": second.json()["refresh_token"]})
        assert refusal(third) == (401, "unauthenticated")
        async with ada.client(running) as client:
            assert refusal(await client.get("/v1/people/me")) == (401, "unauthenticated")

    async def test_is_not_refreshed_by_a_token_that_somebody_made_up(self, ada: Member, anonymous: httpx.AsyncClient) -> None:
        forged = ada.session["refresh_token"][:-4] + "0000"
        for token in (forged, "nothing", ada.session["access_token"]):
            answer = await anonymous.post("/auth/sessions/refresh", json={"refresh_token": token})
            assert refusal(answer) == (401, "unauthenticated")
        answer = await anonymous.post("/auth/sessions/refresh", json={"refresh_token": ada.session["refresh_token"]})
        assert answer.status_code == 200

    async def test_opens_nothing_after_sign_out(self, me: httpx.AsyncClient) -> None:
        assert (await me.delete("/v1/people/me/sessions/current")).status_code == 202
        assert refusal(await me.get("/v1/people/me")) == (401, "unauthenticated")

    async def test_of_another_person_is_not_there(self, me: httpx.AsyncClient, running: Platform, stranger: Tenant, unique: str) -> None:
        bob = await joined(running, stranger, f"bob.{unique}@example.com", "owner")
        answers = [await me.delete(f"/v1/people/me/sessions/{each}") for each in (bob.session["session_id"], "ses_" + "0" * 32)]
        assert {refusal(each) for each in answers} == {(404, "not-found")}

    async def test_of_others_end_when_the_password_changes(
        self, running: Platform, ada: Member, me: httpx.AsyncClient, anonymous: httpx.AsyncClient
    ) -> None:
        other = (await sign_in(anonymous, ada.email)).json()
        assert len((await me.get("/v1/people/me/sessions")).json()["data"]) == 2
        change = {"password": PASSWORD, "new_password": "another long password"}
        assert refusal(await me.post("/v1/people/me/password", json={**change, "password": "wrong"})) == (401, "sign-in-failed")
        assert (await me.post("/v1/people/me/password", json=change)).status_code == 202
        async with running.client(other["access_token"]) as client, asyncio.timeout(120):
            while (await client.get("/v1/people/me")).status_code != 401:
                await asyncio.sleep(0)
        assert (await me.get("/v1/people/me")).status_code == 200
        assert refusal(await sign_in(anonymous, ada.email)) == (401, "sign-in-failed")
        assert (await sign_in(anonymous, ada.email, "another long password")).status_code == 201

    async def test_that_is_over_or_too_much_is_ended_by_the_next_sign_in(
        self, running: Platform, ada: Member, anonymous: httpx.AsyncClient
    ) -> None:
        now, positions = datetime.now(UTC), []
        for at in range(24):
            past = now - timedelta(minutes=100 - at) if at >= 3 else now - timedelta(days=20)
            opened = OpenSession(person_id=ada.id, methods=("password",), at=past, expires_at=past + timedelta(days=1 if at == 0 else 30))
            committed = await running.do(SESSIONS, StreamId(PLATFORM, "sessions", f"ses_{os.urandom(16).hex()}"), opened)
            positions.append(committed.position)
        assert await running.ports.api_keys.wait_for(positions, 120)
        fresh = (await sign_in(anonymous, ada.email)).json()
        async with asyncio.timeout(120):
            while len(left := running.ports.access.sessions_of(ada.id)) != 20:
                await asyncio.sleep(0)
        assert {ada.session["session_id"], fresh["session_id"]} <= {each.id for each in left}
        assert min(each.opened_at for each in left) > now - timedelta(days=1)


class TestAccessToken:
    async def test_that_is_old_or_changed_opens_nothing(self, running: Platform, ada: Member) -> None:
        ring, session = running.key_ring, ada.session["session_id"]
        past = sign(ring, Claims(subject=session, expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        token = ada.session["access_token"]
        longer = sign(ring, Claims(subject=session, expires_at=datetime.now(UTC) + timedelta(days=9))).partition(".")[0]
        for bad in (past, f"{longer}.{token.partition('.')[2]}", token + "0", "aybiza_token_", "aybiza_token_.", "aybiza_token_é.é"):
            async with running.client() as client:
                answer = await client.get("/v1/people/me", headers={b"Authorization": f"Bearer {bad}".encode()})
            assert refusal(answer) == (401, "unauthenticated"), bad

    async def test_of_a_program_is_not_a_person(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.get("/v1/people/me")) == (403, "person-only")


class TestLeaving:
    async def test_closes_the_organisation_at_once(
        self, running: Platform, ada: Member, me: httpx.AsyncClient, tenant: Tenant, unique: str
    ) -> None:
        await joined(running, tenant, f"bob.{unique}@example.com", "owner")
        assert (await me.delete(f"/v1/people/me/memberships/{tenant.id}")).status_code == 202
        assert refusal(await me.get("/v1/calls")) == (403, "scope-missing")
        assert (await me.get("/v1/people/me/memberships")).json()["data"] == []
        async with ada.client(running, **{"Aybiza-Organisation": tenant.id}) as client:
            assert refusal(await client.get("/v1/calls")) == (403, "organisation-needed")

    async def test_an_organisation_that_one_never_joined_is_not_found(self, me: httpx.AsyncClient, stranger: Tenant) -> None:
        answers = [await me.delete(f"/v1/people/me/memberships/{each}") for each in (stranger.id, "AYB-0000-0000-0000", "nothing")]
        assert {refusal(each) for each in answers} == {(404, "not-found")}


class TestAnotherHousesWord:
    async def test_lets_in_who_is_known_here_and_nobody_else(self, running: Platform, ada: Member, unique: str) -> None:
        class House:
            async def verified(self, assertion: str) -> str:
                if not assertion.startswith("signed:"):
                    raise NotVerified
                return assertion.removeprefix("signed:")

        ports = replace(running.ports, identity_providers={"house": House()})
        async with served(ports) as url, httpx.AsyncClient(base_url=url, timeout=120) as client:
            known = await client.post("/auth/sessions/by/house", json={"assertion": f"signed:{ada.email}"})
            assert (known.status_code, known.json()["person_id"]) == (201, ada.id)
            for house, assertion in (
                ("house", ada.email),
                ("house", f"signed:{unique}@example.org"),
                ("house", "signed:x"),
                ("other", "x"),
            ):
                answer = await client.post(f"/auth/sessions/by/{house}", json={"assertion": assertion})
                assert refusal(answer) == (401, "sign-in-failed"), (house, assertion)


class TestWhilePostgresIsAway:
    async def test_people_sign_in_and_write_and_are_kept_out_as_ever(
        self, running: Platform, stack: Addresses, ada: Member, tenant: Tenant, unique: str
    ) -> None:
        bob = await joined(running, tenant, f"bob.{unique}@example.com", "analyst")
        pool = await asyncpg.create_pool(stack.postgres, min_size=1, max_size=1)
        await pool.close()
        rows = PostgresRows(pool, STORED, Progress(pool, STORED))
        away = replace(running.ports, rows=rows, journal=PostgresJournal(pool, prepared_codec()))
        async with served(away) as url, httpx.AsyncClient(base_url=url, timeout=120) as client:
            bearers = [(await sign_in(client, each.email)).json()["access_token"] for each in (ada, bob)]
            made = [
                await client.post("/v1/agents", json={"name": "Desk"}, headers={"Authorization": f"Bearer {bearer}"}) for bearer in bearers
            ]
            assert [each.status_code for each in made] == [201, 403]
            assert (await client.get("/v1/people/me", headers={"Authorization": f"Bearer {bearers[0]}"})).json()["email"] == ada.email


class TestListening:
    async def test_ends_with_the_session_it_began_in(self, running: Platform, me: httpx.AsyncClient, tenant: Tenant) -> None:
        async with asyncio.timeout(120), me.stream("GET", "/v1/events") as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("retry")
            assert (await me.delete("/v1/people/me/sessions/current")).status_code == 202
            # It is noticed at the next fact.
            await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
            assert [line async for line in lines if line.startswith("data")] == []


class TestLookUp:
    async def test_finds_people_invitations_and_programs_of_ones_own(self, tenant: Tenant, stranger: Tenant, ada: Member) -> None:
        invitation = await tenant.api.post("/v1/invitations", json={"email": "someone@example.com", "role": "analyst"})
        client = await tenant.api.post("/v1/oauth-clients", json={"label": "shop"})
        names = {ada.id.lower(): "membership", invitation.json()["id"].upper(): "invitation", client.json()["client_id"]: "oauth-client"}
        for name, kind in names.items():
            found = await tenant.api.get(f"/v1/lookup/{name}", params=seen(invitation, client))
            assert found.json()["kind"] == kind
            assert (await tenant.api.get(found.json()["href"])).status_code == 200
            assert refusal(await stranger.api.get(f"/v1/lookup/{name}")) == (404, "not-found")
