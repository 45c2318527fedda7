"""Nobody gets at what is another's by another way in: GraphQL, gRPC and WebSockets, held to what the routes are held to."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import grpc
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.app import create_app
from api.wire import bound, unbound
from infra.adapters.rpc.messages import PACKAGE, SERVICES, message, service
from infra.adapters.rpc.serving import serving_grpc
from infra.local.stack import Addresses
from tests.api.platform import Platform, Tenant
from tests.api.test_call_stream import listening
from tests.api.test_isolation import NOWHERE, Belongings, belongings, careless

__all__ = ["belongings"]
pytestmark = pytest.mark.asyncio(loop_scope="package")
LISTS = ("agents", "numbers", "callers", "calls", "flags", "environments", "webhooks", "usages")
PATHS = {"callers": "/v1/consents", "usages": "/v1/usage", "ListTimeline": "/v1/calls/{call_id}/timeline"}
NODES = {
    "agents": "agent_id", "calls": "call_id", "consents": "caller", "environments": "name", "events": "event_id", "flags": "name",
    "numbers": "number", "organisations": "organisation_id", "webhooks": "webhook_id",
}  # fmt: skip


def query(ids: dict[str, str], cursor: str) -> str:
    """Everything that the schema leads to, by these ids, from the first page and from the cursor's."""
    nodes = " ".join(
        f"n{at}: node(id: {json.dumps(f'{kind}/{ids[name]}')}) {{ nodeId ... on Call {{ caller timeline {{ nodes {{ kind words }} }}"
        " events(first: 9) { nodes { data } } usage { lines { quantity } } agent { id name } }"
        " ... on Agent { name allVersions { nodes { configuration } } } ... on Flag { description } ... on Webhook { description url }"
        " ... on Number { number agent { name } } ... on Caller { number }"
        " ... on CloudEvent { subject data aybizaactor } ... on Organisation { name id } }"
        for at, (kind, name) in enumerate(NODES.items())
    )
    named = (
        f'call(id: "{ids["call_id"]}") {{ caller }} agent(id: "{ids["agent_id"]}") {{ name }} flag(id: "{ids["name"]}") {{ description }} '
        f'event(id: "{ids["event_id"]}") {{ data }}'
    )
    lists = " ".join(f"{name}(first: 9) {{ nodes {{ __typename {_marked(name)} }} edges {{ cursor }} }}" for name in LISTS)
    place = unbound("/v1/agents", cursor)
    behind = " ".join(
        f'b_{name}: {name}(first: 5, after: "{bound(PATHS.get(name, f"/v1/{name}"), place)}") {{ nodes {{ {_marked(name)} }} }}'
        for name in LISTS
    )
    return f"{{ {nodes} {named} {lists} {behind} }}"


def _marked(name: str) -> str:
    shown = {"agents": "id name", "numbers": "number", "callers": "number", "calls": "id caller", "flags": "description", "webhooks": "url"}
    return shown.get(name, "__typename")


async def by_graph(platform: Platform, key: str | None, ids: dict[str, str], cursor: str) -> tuple[int, str]:
    async with platform.client(key) as api:
        answer = await api.post("/graphql", json={"query": query(ids, cursor)})
    # A query that was refused whole would prove nothing.
    assert key is None or answer.status_code in (200, 401), answer.text
    return answer.status_code, answer.text


async def by_grpc(platform: Platform, key: str | None, ids: dict[str, str], cursor: str) -> tuple[set[str], str]:
    """The codes that there were, and all that was said: of every unary method that there is."""
    codes, said = set(), []
    ids_of = {"GetCall": "call_id", "ListTimeline": "call_id", "GetAgent": "agent_id", "GetNumber": "number", "GetFlag": "name",
              "GetEvent": "event_id"}  # fmt: skip
    async with (
        serving_grpc(create_app(platform.ports), "127.0.0.1:0", monotonic) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        methods = [(name, method) for name in SERVICES for method in service(name).methods if not method.server_streaming]
        assert len(methods) > 8
        for name, method in methods:
            takes, gives = message(method.input_type.full_name), message(method.output_type.full_name)
            stub = channel.unary_unary(
                f"/{name}/{method.name}", request_serializer=takes.SerializeToString, response_deserializer=gives.FromString
            )  # fmt: skip
            path = PATHS.get(method.name, "/v1/" + method.name.removeprefix("List").lower()).format(**ids)
            for more in (
                [{}, {"cursor": bound(path, unbound("/v1/agents", cursor))}] if "cursor" in takes.DESCRIPTOR.fields_by_name else [{}]
            ):
                given = {"id": ids[ids_of[method.name]]} if method.name in ids_of else {}
                metadata = [] if key is None else [("authorization", f"Bearer {key}")]
                try:
                    said.append(str(await stub(takes(**given, **more), metadata=metadata, timeout=120)))
                except grpc.aio.AioRpcError as refused:
                    codes.add(refused.code().name)
                    said.append(str(refused.details()))
    assert PACKAGE in SERVICES[0]
    return codes, " ".join(said)


async def by_socket(platform: Platform, key: str | None, ids: dict[str, str]) -> tuple[int, str]:
    said: list[str] = []
    try:
        async with listening(platform, key or "nothing", ids["call_id"]) as socket:
            with suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(2):
                    while len(said) < 2:
                        said.append(str(await socket.recv()))
    except InvalidStatus as refused:
        document = json.loads(refused.response.body or b"{}")
        return refused.response.status_code, document["detail"]
    return 101, " ".join(said)


class TestViews:
    async def test_tell_another_organisation_nothing(
        self, running: Platform, tenant: Tenant, stranger: Tenant, belongings: Belongings
    ) -> None:
        ids, cursor = dict(belongings.ids), belongings.cursor
        _, graph = await by_graph(running, stranger.key, ids, cursor)
        codes, rpc = await by_grpc(running, stranger.key, ids, cursor)
        status, socket = await by_socket(running, stranger.key, ids)
        assert [mark for mark in belongings.marks if mark in graph + rpc + socket] == []
        assert (codes, status) == ({"NOT_FOUND"}, 404)
        # What is there and what is nowhere are one answer.
        assert graph == (await by_graph(running, stranger.key, dict(NOWHERE), cursor))[1]
        nowhere = dict(NOWHERE)
        assert rpc == (await by_grpc(running, stranger.key, nowhere, cursor))[1]
        assert socket == (await by_socket(running, stranger.key, nowhere))[1]
        # The owner is told a lot, in the same way.
        for told in ((await by_graph(running, tenant.key, ids, cursor))[1], (await by_grpc(running, tenant.key, ids, cursor))[1]):
            assert len([mark for mark in belongings.marks if mark in told]) > 3
        status, told = await by_socket(running, tenant.key, ids)
        assert status == 101
        assert belongings.ids["call_id"] in told

    async def test_are_closed_to_keys_that_are_missing_or_expired(self, running: Platform, tenant: Tenant, belongings: Belongings) -> None:
        yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        issued = await tenant.api.post(f"/v1/organisations/{tenant.id}/api-keys", json={"label": "old", "expires_at": yesterday})
        ids = dict(belongings.ids)
        for key in (None, issued.json()["key"]):
            assert (await by_graph(running, key, ids, belongings.cursor))[0] == 401
            assert (await by_grpc(running, key, ids, belongings.cursor))[0] == {"UNAUTHENTICATED"}
            assert (await by_socket(running, key, ids))[0] == 401

    @pytest.mark.parametrize("wall", [True, False])
    async def test_stand_behind_the_second_wall(
        self, running: Platform, stack: Addresses, tenant: Tenant, stranger: Tenant, belongings: Belongings, wall: bool
    ) -> None:
        ids: dict[str, Any] = dict(belongings.ids)
        async with careless(running, stack, wall=wall) as platform:
            told = (await by_graph(platform, stranger.key, ids, belongings.cursor))[1]
            told += (await by_grpc(platform, stranger.key, ids, belongings.cursor))[1]
        leaked = [mark for mark in belongings.marks if mark in told and mark != tenant.id]
        assert not leaked if wall else len(leaked) > 2
