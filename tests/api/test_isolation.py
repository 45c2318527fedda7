"""Nobody gets at what is another's: every operation of the OpenAPI document, with every key that must not open it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis.core.result import Ok

from api.scopes import SCOPES, needed
from api.tokens import Claims, sign
from api.wire import bound, unbound
from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, ReceiveCall
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.rooms import prepared_codec
from events.streams import StreamId
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.progress import Progress
from infra.adapters.postgres.rows import PostgresRows
from infra.adapters.postgres.shapes import relation, relation_of, view_of
from infra.adapters.postgres.walls import Asked, behind_the_wall
from infra.local.stack import Addresses
from projections.journal import JOURNAL
from projections.partial import PartialAggregate, PartialRow
from projections.registry import STORED
from projections.series import EntryRow, Series
from projections.table import StreamRow, Table
from tests.api.people import invited, joined
from tests.api.platform import Platform, Tenant, fresh_call_id, served

pytestmark = pytest.mark.asyncio(loop_scope="package")
CALLER = "+14155550177"
CONFIGURATION: dict[str, Any] = {
    "name": "Zanzibar", "version": "1", "system_prompt": "You are Zanzibar.", "greeting": "Zanzibar dental, how can I help?",
}  # fmt: skip
Case = schemathesis.Case[Any]
Answer = Any
_ANY_STREAM = f"SELECT stream FROM {relation_of(JOURNAL)} WHERE stream LIKE $1 LIMIT 1"
R = TypeVar("R", bound=StreamRow)
E = TypeVar("E", bound=EntryRow)
A = TypeVar("A", bound=PartialRow)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """Things of one organisation, of every kind, by the names that paths give their ids. `marks`: what only they say."""

    ids: Mapping[str, str]
    marks: tuple[str, ...]
    cursor: str
    secrets: Mapping[str, tuple[str, str]]


@pytest_asyncio.fixture(loop_scope="package")
async def belongings(running: Platform, tenant: Tenant, unique: str) -> Belongings:
    """One thing of every kind, and two agents, so that there is a second page."""
    api, number = tenant.api, f"+1415555{int(unique[-6:], 16) % 9_000 + 1000:04d}"

    async def made(method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        answer = await api.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer

    agent_id = (await made("POST", "/v1/agents", {"name": "Zanzibar"})).json()["id"]
    await made("POST", "/v1/agents", {"name": "Zanzibar two"})
    version = await made("POST", f"/v1/agents/{agent_id}/versions", CONFIGURATION)
    await made("POST", f"/v1/agents/{agent_id}/branches", {"name": "zanzibar"})
    await made("PUT", "/v1/environments/zanzibar", {"description": "Zanzibar"})
    await made("POST", "/v1/numbers", {"number": number, "agent_id": agent_id, "environment": "zanzibar"})
    key = await made("POST", f"/v1/organisations/{tenant.id}/api-keys", {"label": "Zanzibar"})
    await made("PUT", "/v1/flags/zanzibar", {"enabled": True, "variant": "on", "description": "Zanzibar"})
    webhook = await made("POST", "/v1/webhooks", {"url": "https://zanzibar.example/", "description": "Zanzibar"})
    await made("POST", "/v1/consents", {"caller": CALLER, "purpose": "recording", "evidence": "Zanzibar"})
    export = await made("POST", "/v1/exports", {"types": ["flag-set"]})
    operation: dict[str, Any] = {"ended_at": None}
    async with asyncio.timeout(120):
        while operation["ended_at"] is None:
            query = {"min-position": export.headers["Aybiza-Position"]}
            operation = (await api.get(export.headers["Location"], params=query)).json()
    call_id, caller = fresh_call_id(), running.key_ring.seal(f"{tenant.id}/caller", CALLER)
    ring = ReceiveCall(
        call_sid=f"CA{unique}", caller=caller, caller_ref="ref", number=caller, number_ref="number", agent_id=agent_id, agent_version="1",
        agent_version_hash="0" * 64,
    )  # fmt: skip
    stream = StreamId(tenant.id, "calls", call_id)
    rung = await running.do(CALLS, stream, ring)
    answer = AnswerCall(stream_sid="MZ1", worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)
    last = await running.do(CALLS, stream, answer)
    page = await api.get("/v1/agents", params={"limit": "1", "min-position": [str(last.position), version.headers["Aybiza-Position"]]})
    ada = await joined(running, tenant, f"ada.{unique}@zanzibar.example", "owner")
    invitation = await invited(tenant, f"bob.{unique}@zanzibar.example", "analyst")
    await made("PUT", "/v1/roles/zanzibar", {"description": "Zanzibar", "grants": [{"scope": "calls:read"}]})
    client = await made("POST", "/v1/oauth-clients", {"label": "Zanzibar"})
    return Belongings(
        ids={
            "organisation_id": tenant.id, "agent_id": agent_id, "version": str(version.json()["version"]), "number": number,
            "webhook_id": webhook.json()["id"],
            "key_id": key.json()["id"], "name": "zanzibar", "caller": CALLER, "purpose": "recording", "call_id": call_id,
            "branch": "zanzibar", "operation_id": export.json()["id"],
            "person_id": ada.id, "session_id": ada.session["session_id"], "invitation_id": invitation["id"], "role": "zanzibar",
            "client_id": client.json()["client_id"], "event_id": str(rung.facts[0].event_id),
        },
        marks=("Zanzibar", "zanzibar.example", CALLER, number, call_id, agent_id, tenant.id, ada.id),
        secrets={"client": (client.json()["client_id"], client.json()["client_secret"])},
        cursor=page.json()["next_cursor"],
    )  # fmt: skip


_DRAWN: dict[str, list[Case]] = {}


def good_cases(running: Platform) -> list[Case]:
    """A proper request to every operation below /v1; a new operation is among them by itself. Drawn once a platform: that takes long."""
    if running.prefix not in _DRAWN:
        _DRAWN[running.prefix] = list(_drawn(running.url))
    return _DRAWN[running.prefix]


def _drawn(url: str) -> Iterator[Case]:
    for result in schemathesis.openapi.from_url(f"{url}/openapi.json", timeout=120).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if not operation.path.startswith("/v1"):
            continue
        case = _one_of(operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
        # Nothing that could end the request before somebody looks whose the thing is.
        case.query = {"wait_seconds": 0} if case.operation.path == "/v1/events" else {}
        case.headers.clear()
        case.cookies = {}
        yield case


def _one_of(cases: SearchStrategy[Case]) -> Case:
    drawn: list[Case] = []

    @given(case=cases)
    @settings(
        max_examples=1, derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )  # fmt: skip
    def draw(case: Case) -> None:
        drawn.append(case)

    draw()
    return drawn[0]


async def ask(running: Platform, key: str | None, examine: Callable[[Case, Callable[..., Answer]], None]) -> int:
    """Have each good request examined, by a function that can send it. Returns how many there were."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def go() -> int:
        count = 0
        for case in good_cases(running):
            count += 1

            def send(ids: Mapping[str, str], case: Case = case, **query: str) -> Answer:
                case.path_parameters = {name: ids[name] for name in case.path_parameters or {}}
                return case.call(base_url=running.url, headers=headers, params=query, timeout=120)

            examine(case, send)
        return count

    return await asyncio.to_thread(go)


def told(answer: Answer, ids: Mapping[str, str]) -> str:
    """What an answer says, without the trace, its place on the log, and what the asker said first."""
    text: str = answer.text
    with suppress(ValueError):
        document = json.loads(text)
        if isinstance(document, dict):
            for own in ("instance", "trace_id", "position"):
                document.pop(own, None)
        text = json.dumps(document, ensure_ascii=False)
    for value in ids.values():
        text = re.sub(rf"\b{re.escape(value)}\b" if value.isalnum() else re.escape(value), "…", text)
    return _TIME.sub("…", text)


Examine = Callable[[Case, Callable[..., Answer]], None]
NOWHERE = {
    "organisation_id": "AYB-0000-0000-0000", "agent_id": "agt_" + "0" * 32, "version": "999", "number": "+14155550000",
    "key_id": "key_" + "0" * 16, "name": "nothing", "caller": "+14155550001", "purpose": "recording", "call_id": "call_" + "0" * 32,
    "branch": "nothing", "operation_id": "op_" + "0" * 32,
    "webhook_id": "webhook_" + "0" * 32,
    "person_id": "USR-0000000000", "session_id": "ses_" + "0" * 32, "invitation_id": "inv_" + "0" * 32, "role": "nothing",
    "client_id": "cli_" + "0" * 32, "event_id": "0" * 32 + "-0",
}  # fmt: skip


# A number is one organisation's at a time: that it is taken is told to whoever wants it, and by whom is not.
EXCLUSIVE = "/v1/numbers/{number}/hold"


class CarelessRows(PostgresRows):
    """Rows without the conditions that keep organisations apart, as a careless statement would have it."""

    async def get(self, table: Table[R], tenant: str, row_id: str) -> R | None:
        found = await super().find(table, organisation=None, where={"id": row_id}, limit=1)
        return found[0] if found else None

    async def find(self, table: Table[R], *, organisation: str | None, **more: Any) -> Sequence[R]:
        return await super().find(table, organisation=None, **more)

    async def combined(self, aggregate: PartialAggregate[A, Any], tenant: str, **more: Any) -> Sequence[A]:
        whose = await self._asked.fetchval(f"SELECT tenant FROM {view_of(aggregate)} WHERE tenant <> $1 LIMIT 1", tenant)
        return await super().combined(aggregate, whose or tenant, **more)

    async def entries(
        self, series: Series[E], tenant: str, row_id: str, *, after_version: int = 0, limit: int | None = None
    ) -> Sequence[E]:
        whose = await self._asked.fetchval(f"{relation(series).select} WHERE id = $1 LIMIT 1", row_id)
        return await super().entries(series, whose or tenant, row_id, after_version=after_version, limit=limit)


class CarelessJournal(PostgresJournal):
    """The journal, asked by id alone."""

    async def stream_events(self, stream: StreamId, **more: Any) -> Sequence[Recorded[Fact]]:
        like = f"%/{stream.category}/{stream.id}"
        key = await self._asked.fetchval(_ANY_STREAM, like)
        return await super().stream_events(StreamId.parse(key.encode()) if key else stream, **more)

    async def event(self, tenant: str | None, event_id: EventId) -> Recorded[Fact] | None:
        del tenant
        return await super().event(None, event_id)

    async def streams(self, tenant: str | None, category: str, **more: Any) -> Sequence[StreamId]:
        return await super().streams(None, category, **more)


@asynccontextmanager
async def careless(running: Platform, stack: Addresses, *, wall: bool) -> AsyncIterator[Platform]:
    """The platform once more, over statements that look at nobody's organisation, with the database's own wall or without it."""
    dsn = urlsplit(stack.postgres)._replace(path=f"/{running.prefix}").geturl()
    async with behind_the_wall(dsn, most=2) as walled, connected(dsn, purpose="careless", most=2) as pool:
        asked: Asked = walled if wall else pool
        rows = CarelessRows(pool, STORED, Progress(pool, STORED), asked)
        ports = replace(running.ports, rows=rows, journal=CarelessJournal(asked, prepared_codec()))
        async with served(ports) as url:
            yield replace(running, url=url)


class TestTheSecondWall:
    @pytest.mark.parametrize("wall", [True, False])
    async def test_holds_where_no_statement_asks_whose_the_rows_are(
        self, running: Platform, stack: Addresses, tenant: Tenant, stranger: Tenant, belongings: Belongings, wall: bool
    ) -> None:
        found: list[str] = []

        def examine(case: Case, send: Callable[..., Answer]) -> None:
            if case.method.upper() == "GET":
                said = told(send(belongings.ids), belongings.ids if case.path_parameters else {})
                found.extend(f"{case.operation.path} says {mark}" for mark in belongings.marks if mark in said)

        async with careless(running, stack, wall=wall) as platform:
            await ask(platform, stranger.key, examine)
            leaked = list(found)
            await ask(platform, tenant.key, examine)
        assert not leaked if wall else len(leaked) > 5
        # The owner is answered through the same wall.
        assert len(found) - len(leaked) > 5


class TestKeys:
    async def test_that_are_missing_or_expired_open_nothing(self, running: Platform, tenant: Tenant, belongings: Belongings) -> None:
        yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        issued = await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "old", "expires_at": yesterday})
        for key in (None, tenant.key[:-1] + ("0" if tenant.key[-1] != "0" else "1"), issued.json()["key"]):

            def examine(case: Case, send: Callable[..., Answer]) -> None:
                answer = send(belongings.ids)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), case.operation.path

            assert await ask(running, key, examine) > 30

    async def test_of_too_small_a_scope_open_nothing(self, running: Platform, tenant: Tenant, belongings: Belongings) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        keys: dict[str, str] = {}
        for scope in sorted(SCOPES):
            resource, verb = scope.split(":")
            # Everything but this: reading is not enough to write, and writing would be enough to read.
            others = SCOPES - {scope} - ({f"{resource}:write"} if verb == "read" else set())
            keys[scope] = (await tenant.api.post(path, json={"label": scope, "scopes": sorted(others)})).json()["key"]

        def examine(case: Case, send: Callable[..., Answer]) -> None:
            del send
            scope = needed(case.method.upper(), case.operation.path)
            case.path_parameters = {name: belongings.ids[name] for name in case.path_parameters or {}}
            answer = case.call(base_url=running.url, headers={"Authorization": f"Bearer {keys[scope]}"}, timeout=120)
            assert (answer.status_code, answer.json().get("needed")) == (403, scope), case.operation.path

        await ask(running, None, examine)

    async def test_of_another_organisation_cannot_tell_that_anything_is_there(
        self, running: Platform, tenant: Tenant, stranger: Tenant, belongings: Belongings
    ) -> None:
        def leaks(found: list[str]) -> Examine:
            def examine(case: Case, send: Callable[..., Answer]) -> None:
                there, absent = send(belongings.ids), send(NOWHERE)
                path = case.operation.path
                if (
                    case.path_parameters
                    and path != EXCLUSIVE
                    and (there.status_code, told(there, belongings.ids)) != (absent.status_code, told(absent, NOWHERE))
                ):
                    found.append(f"{case.method} {path} answers otherwise than for what is nowhere")
                said = told(there, belongings.ids if case.path_parameters else {})
                found.extend(f"{case.method} {path} says {mark}" for mark in belongings.marks if mark in said)

            return examine

        found: list[str] = []
        await ask(running, stranger.key, leaks(found))
        assert found == []
        # The examination can fail: to the owner itself the same answers tell a lot.
        await ask(running, tenant.key, leaks(found))
        assert len(found) > 10

    async def test_of_another_organisation_change_nothing(
        self, running: Platform, tenant: Tenant, stranger: Tenant, belongings: Belongings
    ) -> None:
        before: dict[str, str] = {}
        after: dict[str, str] = {}

        def looked(seen: dict[str, str]) -> Callable[[Case, Callable[..., Answer]], None]:
            def examine(case: Case, send: Callable[..., Answer]) -> None:
                if case.method.upper() == "GET":
                    answer = send(belongings.ids)
                    seen[case.operation.path] = f"{answer.status_code} {told(answer, {})}"

            return examine

        await ask(running, tenant.key, looked(before))
        await ask(running, stranger.key, lambda case, send: send(belongings.ids) if case.method.upper() != "GET" else None)
        await ask(running, tenant.key, looked(after))
        assert after == before
        # The owner sees what the others must not: else the marks would prove nothing.
        shown = " ".join(before.values())
        assert [mark for mark in belongings.marks if mark not in shown] == []

    async def test_get_nowhere_with_the_cursor_of_another_organisation(
        self, running: Platform, stranger: Tenant, belongings: Belongings
    ) -> None:
        answered: list[int] = []

        def examine(case: Case, send: Callable[..., Answer]) -> None:
            if case.method.upper() == "GET":
                # A place of another's, in a list that takes it.
                path = case.operation.path.format(**{name: belongings.ids[name] for name in case.path_parameters or {}})
                cursor = bound(path, unbound("/v1/agents", belongings.cursor))
                answer = send(belongings.ids, cursor=cursor)
                answered.append(answer.status_code)
                said = told(answer, belongings.ids if case.path_parameters else {})
                assert not [mark for mark in belongings.marks if mark in said], case.operation.path

        await ask(running, stranger.key, examine)
        # Lists of one's own do begin there.
        assert answered.count(200) > 8


OWN = "/v1/people/me"


async def token_of(running: Platform, client_id: str, client_secret: str) -> str:
    async with running.client() as client:
        answer = await client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(client_id, client_secret))
    return str(answer.json()["access_token"])


class TestTokens:
    async def test_that_are_old_or_taken_back_open_nothing(
        self, running: Platform, tenant: Tenant, belongings: Belongings, anonymous: httpx.AsyncClient, unique: str
    ) -> None:
        eve = await joined(running, tenant, f"eve.{unique}@example.com", "owner")
        gone = await tenant.api.post("/v1/oauth-clients", json={"label": "gone"})
        client_id, client_secret = gone.json()["client_id"], gone.json()["client_secret"]
        removed = await token_of(running, client_id, client_secret)
        past = datetime.now(UTC) - timedelta(seconds=1)
        old = [sign(running.key_ring, Claims(subject=each, expires_at=past)) for each in (belongings.ids["session_id"], client_id)]
        for key in (removed, eve.session["access_token"]):
            async with running.client(key) as client:
                assert (await client.get("/v1/flags")).status_code == 200
        await tenant.api.delete(f"/v1/oauth-clients/{client_id}")
        async with eve.client(running) as client:
            await client.delete("/v1/people/me/sessions/current")

        def examine(case: Case, send: Callable[..., Answer]) -> None:
            answer = send(belongings.ids)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), case.operation.path

        for key in (*old, removed, eve.session["access_token"]):
            assert await ask(running, key, examine) > 50

    async def test_of_another_organisation_cannot_tell_that_anything_is_there(
        self, running: Platform, tenant: Tenant, stranger: Tenant, belongings: Belongings, unique: str
    ) -> None:
        found: list[str] = []

        def examine(case: Case, send: Callable[..., Answer]) -> None:
            path = case.operation.path
            if path.startswith(OWN):
                return
            there, absent = send(belongings.ids), send(NOWHERE)
            if case.path_parameters and path != EXCLUSIVE:
                said, nothing = (there.status_code, told(there, belongings.ids)), (absent.status_code, told(absent, NOWHERE))
                if said != nothing:
                    found.append(f"{case.method} {path} answers otherwise than for what is nowhere")
            said_of = told(there, belongings.ids if case.path_parameters else {})
            found.extend(f"{case.method} {path} says {mark}" for mark in belongings.marks if mark in said_of)

        mallory = await joined(running, stranger, f"mallory.{unique}@example.com", "owner")
        theirs = (await stranger.api.post("/v1/oauth-clients", json={"label": "theirs"})).json()
        await ask(running, await token_of(running, theirs["client_id"], theirs["client_secret"]), examine)
        await ask(running, mallory.session["access_token"], examine)
        assert found == []
        # The examination can fail: a program of the organisation itself is told a lot.
        await ask(running, await token_of(running, *belongings.secrets["client"]), examine)
        assert len(found) > 10

    async def test_of_too_small_a_role_open_nothing(self, running: Platform, tenant: Tenant, belongings: Belongings, unique: str) -> None:
        path = "/v1/roles/flags-only"
        defined = await tenant.api.put(path, json={"description": "Flags", "grants": [{"scope": "flags:read"}]})
        assert defined.status_code == 200
        bob = await joined(running, tenant, f"bobby.{unique}@example.com", "flags-only")
        allowed: list[str] = []

        def examine(case: Case, send: Callable[..., Answer]) -> None:
            scope = needed(case.method.upper(), case.operation.path)
            if case.operation.path.startswith(OWN):
                return
            answer = send(belongings.ids)
            if scope == "flags:read":
                allowed.append(case.operation.path)
                assert answer.status_code == 200
            else:
                assert (answer.status_code, answer.json().get("needed")) == (403, scope), case.operation.path

        await ask(running, bob.session["access_token"], examine)
        assert len(allowed) > 1
