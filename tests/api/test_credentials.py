"""Programs that fetch tokens (OAuth 2 client credentials), and when keys were last used."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api.last_use import LastUse
from commands.dispatch import LogUnavailable
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def registered(tenant: Tenant, *scopes: str) -> tuple[str, str]:
    answer = await tenant.api.post("/v1/oauth-clients", json={"label": "shop", "scopes": scopes})
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"], answer.json()["client_secret"]


async def fetch(client: httpx.AsyncClient, auth: tuple[str, str] | None, **form: str) -> httpx.Response:
    proof = httpx.BasicAuth(*auth) if auth else None
    return await client.send(client.build_request("POST", "/oauth/token", data={"grant_type": "client_credentials", **form}), auth=proof)


def error(answer: httpx.Response) -> tuple[int, str]:
    """Status and error of an answer of RFC 6749."""
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json().keys() == {"error", "error_description"}
    return answer.status_code, answer.json()["error"]


class TestToken:
    async def test_is_taken_as_a_key_is_and_may_what_was_asked_for(
        self, running: Platform, tenant: Tenant, anonymous: httpx.AsyncClient
    ) -> None:
        client = await registered(tenant, "calls:write", "flags:read")
        answer = await fetch(anonymous, client, scope="calls:read")
        assert answer.status_code == 200
        token = answer.json()
        assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 900, "calls:read")
        async with running.client(token["access_token"]) as program:
            assert (await program.get("/v1/calls")).status_code == 200
            assert refusal(await program.get("/v1/flags")) == (403, "scope-missing")

    async def test_is_given_for_the_form_too(self, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        client_id, secret = await registered(tenant, "calls:read")
        answer = await fetch(anonymous, None, client_id=client_id, client_secret=secret)
        assert (answer.status_code, answer.json()["scope"]) == (200, "calls:read")

    async def test_is_refused_as_the_standard_says(self, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        client_id, secret = await registered(tenant, "calls:read")
        client = (client_id, secret)
        wrong = await fetch(anonymous, (client_id, secret[:-1] + ("0" if secret[-1] != "0" else "1")))
        assert error(wrong) == (401, "invalid_client")
        assert wrong.headers["WWW-Authenticate"].startswith("Basic")
        assert error(await fetch(anonymous, ("cli_" + "0" * 32, secret))) == (401, "invalid_client")
        assert error(await fetch(anonymous, None)) == (401, "invalid_client")
        assert error(await fetch(anonymous, client, scope="calls:write")) == (400, "invalid_scope")
        assert error(await fetch(anonymous, client, scope="nothing")) == (400, "invalid_scope")
        assert error(await fetch(anonymous, client, grant_type="password")) == (400, "unsupported_grant_type")
        assert error(await fetch(anonymous, client, client_secret=secret)) == (400, "invalid_request")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for body in ("", "grant_type", "scope=calls:read", "grant_type=client_credentials&grant_type=client_credentials"):
            assert error(await anonymous.post("/oauth/token", content=body, headers=form, auth=client)) == (400, "invalid_request")
        assert error(await anonymous.post("/oauth/token", json={"grant_type": "client_credentials"})) == (400, "invalid_request")
        for header in ("Basic !", "Basic " + base64.b64encode(b"\xff").decode(), "Bearer x"):
            bad = await anonymous.post("/oauth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": header})
            assert error(bad) == (401, "invalid_client")

    async def test_is_fetched_with_either_secret_until_the_overlap_is_over(self, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        client_id, old = await registered(tenant, "calls:read")
        rotated = await tenant.api.post(f"/v1/oauth-clients/{client_id}/rotate", json={"overlap_seconds": 60})
        new = rotated.json()["client_secret"]
        assert [(await fetch(anonymous, (client_id, each))).status_code for each in (old, new)] == [200, 200]
        last = (await tenant.api.post(f"/v1/oauth-clients/{client_id}/rotate", json={"overlap_seconds": 0})).json()["client_secret"]
        assert [(await fetch(anonymous, (client_id, each))).status_code for each in (old, new, last)] == [401, 401, 200]

    async def test_opens_nothing_once_its_client_is_removed(self, running: Platform, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        client = await registered(tenant, "calls:read")
        token = (await fetch(anonymous, client)).json()["access_token"]
        await tenant.api.delete(f"/v1/oauth-clients/{client[0]}")
        assert error(await fetch(anonymous, client)) == (401, "invalid_client")
        async with running.client(token) as program:
            assert refusal(await program.get("/v1/calls")) == (401, "unauthenticated")

    async def test_may_nothing_that_whoever_registered_the_client_may_not(self, running: Platform, tenant: Tenant) -> None:
        issued = await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "k", "scopes": ["oauth-clients:write"]})
        async with running.client(issued.json()["key"]) as client:
            answer = await client.post("/v1/oauth-clients", json={"label": "more", "scopes": ["calls:read"]})
            assert refusal(answer) == (403, "scope-too-wide")
            same = await client.post("/v1/oauth-clients", json={"label": "same"})
            assert same.json()["scopes"] == ["oauth-clients:write"]


class TestMetadata:
    async def test_leads_to_the_endpoint(self, running: Platform, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/.well-known/oauth-authorization-server")).json()
        assert document["issuer"] == running.url
        assert document["token_endpoint"] == f"{running.url}/oauth/token"
        assert document["grant_types_supported"] == ["client_credentials"]
        assert "calls:read" in document["scopes_supported"]


class TestLastUse:
    async def test_is_shown_on_keys_and_clients(self, running: Platform, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = await tenant.api.post(path, json={"label": "till"})
        client_id, secret = await registered(tenant, "calls:read")
        shown = (await tenant.api.get(f"{path}/{issued.json()['id']}", params=seen(issued))).json()
        assert shown["last_used_at"] is None
        before = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        token = (await fetch(anonymous, (client_id, secret))).json()["access_token"]
        for bearer in (issued.json()["key"], token):
            async with running.client(bearer) as program:
                await program.get("/v1/calls")
        # On this platform it is written while somebody looks: other tests count their facts.
        writing = asyncio.create_task(running.ports.last_use.run(running.owners))
        for address in (f"{path}/{issued.json()['id']}", f"/v1/oauth-clients/{client_id}"):
            async with asyncio.timeout(120):
                while (found := (await tenant.api.get(address)).json())["last_used_at"] is None:
                    await asyncio.sleep(0)
            assert datetime.fromisoformat(found["last_used_at"]) >= before
        writing.cancel()
        await asyncio.wait([writing])

    async def test_is_told_once_an_hour_and_again_where_the_log_was_away(self) -> None:
        told: list[datetime] = []
        seen_by_all = asyncio.Event()

        async def dispatch(_decider: object, _stream: object, command: object, _order: object, **_: object) -> None:
            told.append(command.hour)  # type: ignore[attr-defined]
            if len(told) == 1:
                raise LogUnavailable("the log is away")
            if len(told) == 3:
                seen_by_all.set()

        uses, noon = LastUse(), datetime(2026, 11, 21, 12, 5, tzinfo=UTC)
        writing = asyncio.create_task(uses.run(dispatch))  # type: ignore[arg-type]
        uses.note("AYB-1", "api-key:key_1", noon)
        async with asyncio.timeout(120):
            while not told:
                await asyncio.sleep(0)
            for later in (0, 1, 2, 70, 71):
                uses.note("AYB-1", "api-key:key_1", noon + timedelta(minutes=later))
                uses.note("AYB-1", "person:USR-1", noon)
                uses.note(None, "operator", noon)
            await seen_by_all.wait()
        writing.cancel()
        await asyncio.wait([writing])
        assert [each.hour for each in told] == [12, 12, 13]
