"""GraphQL: the same things as the routes show, to the same keys, in pages that hold still, and within what a query may cost."""

import hashlib
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from graphql import get_introspection_query

from api import positions
from api.graph.costs import MOST_COSTLY
from api.wire import bound, unbound
from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, ReceiveCall
from events.streams import StreamId
from tests.api.asking import refusal, seen
from tests.api.platform import OPERATOR_KEY, Platform, Tenant, fresh_call_id, served

pytestmark = pytest.mark.asyncio(loop_scope="package")
CONNECTIONS = {
    "agents": "/v1/agents", "numbers": "/v1/numbers", "callers": "/v1/consents", "calls": "/v1/calls", "flags": "/v1/flags",
    "environments": "/v1/environments", "webhooks": "/v1/webhooks", "usages": "/v1/usage",
}  # fmt: skip


async def asked(api: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    answer = await api.post("/graphql", json={"query": query, "variables": variables})
    assert answer.headers["Content-Type"].startswith("application/graphql-response+json"), answer.text
    document: dict[str, Any] = answer.json()
    return document


async def data(api: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    document = await asked(api, query, **variables)
    assert "errors" not in document, document
    found: dict[str, Any] = document["data"]
    return found


def codes(document: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in document["errors"]]


async def fill(running: Platform, tenant: Tenant, unique: str) -> tuple[str, str]:
    """Three of each kind; a call's id and an agent's."""
    last = []
    call_id = agent_id = ""
    for at in range(3):
        agent = await tenant.api.post("/v1/agents", json={"name": f"Agent {at}"})
        agent_id = agent.json()["id"]
        number = {"number": f"+1415556{int(unique[-6:], 16) % 900 + 100:03d}{at}", "agent_id": agent_id}
        last += [
            agent, await tenant.api.post("/v1/numbers", json=number),
            await tenant.api.put(f"/v1/flags/f{at}", json={"enabled": True, "variant": "on"}),
            await tenant.api.post("/v1/webhooks", json={"url": "https://example.com/"}),
            await tenant.api.post("/v1/consents", json={"caller": f"+1415555017{at}", "purpose": "recording", "evidence": "said so"}),
        ]  # fmt: skip
        call_id, caller = fresh_call_id(), running.key_ring.seal(f"{tenant.id}/caller", "+14155550177")
        ring = ReceiveCall(
            call_sid=f"CA{unique}{at}", caller=caller, caller_ref="ref", number=caller, number_ref="number", agent_id=agent_id,
            agent_version="1", agent_version_hash="0" * 64,
        )  # fmt: skip
        await running.do(CALLS, StreamId(tenant.id, "calls", call_id), ring)
        answer = AnswerCall(stream_sid="MZ1", worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)
        committed = await running.do(CALLS, StreamId(tenant.id, "calls", call_id), answer)
        assert await running.ports.rows.wait_for([committed.position], 120)
    assert (await tenant.api.get("/v1/agents", params={"min-position": seen(*last)["min-position"][-8:]})).status_code == 200
    return call_id, agent_id


class TestAQueryThatIsRefused:
    @pytest.mark.parametrize(
        "query",
        [
            '{ flags(first: "+14155559753") { nodes { name } } }', '{ nothing(of: "+14155559753") }',
            'mutation { call(to: "+14155559753") }',
            '{ flags(after: "+14155559753") { nodes { name } } }', "query Some($of: Int!) { flags(first: $of) { nodes { name } } }",
        ],
    )  # fmt: skip
    async def test_leaves_nothing_of_its_words_in_the_log(self, tenant: Tenant, query: str, caplog: pytest.LogCaptureFixture) -> None:
        assert codes(await asked(tenant.api, query, of="+14155559753"))
        assert [record.getMessage() for record in caplog.records if "9753" in record.getMessage()] == []


class TestGraph:
    async def test_asks_strangers_for_a_key_and_the_operator_for_whom(self, running: Platform, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/graphql", json={"query": "{ flags { nodes { name } } }"})) == (401, "unauthenticated")
        async with running.client(OPERATOR_KEY) as operator:
            answer = await operator.post("/graphql", json={"query": "{ flags { nodes { name } } }"})
        assert refusal(answer) == (403, "organisation-needed")

    async def test_shows_what_the_routes_show_and_how_it_hangs_together(self, running: Platform, tenant: Tenant, unique: str) -> None:
        call_id, agent_id = await fill(running, tenant, unique)
        found = await data(
            tenant.api,
            """query ($id: String!) {
                call(id: $id) { id nodeId status agent { name } usage { callId }
                                events(first: 1) { nodes { type version } pageInfo { hasNextPage } }
                                timeline { nodes { kind } } }
            }""",
            id=call_id,
        )  # fmt: skip
        call = found["call"]
        assert (call["id"], call["status"], call["agent"], call["usage"]) == (call_id, "in-progress", {"name": "Agent 2"}, None)
        assert call["events"] == {"nodes": [{"type": "call-received.v1", "version": 1}], "pageInfo": {"hasNextPage": True}}
        again = await data(tenant.api, "query ($id: ID!) { node(id: $id) { nodeId ... on Call { id } } }", id=call["nodeId"])
        assert again["node"] == {"nodeId": f"calls/{call_id}", "id": call_id}
        rest = (await tenant.api.get(f"/v1/agents/{agent_id}")).json()
        assert (await data(tenant.api, "query ($id: String!) { agent(id: $id) { id name } }", id=agent_id))["agent"] == {
            name: rest[name] for name in ("id", "name")
        }

    async def test_goes_on_behind_any_edge_of_any_list(self, running: Platform, tenant: Tenant, unique: str) -> None:
        await fill(running, tenant, unique)
        for name, path in CONNECTIONS.items():
            shown = "edges { cursor node { __typename } } pageInfo { hasNextPage endCursor }"
            query = f"query ($after: String) {{ {name}(first: 2, after: $after) {{ {shown} }} }}"
            page = (await data(tenant.api, query))[name]
            rest = (await tenant.api.get(path, params={"limit": 2})).json()
            if not rest["has_more"]:
                assert name in ("environments", "usages")
                continue
            # Every edge's place is the one that the routes would name.
            assert page["edges"][-1]["cursor"] == page["pageInfo"]["endCursor"] == rest["next_cursor"], name
            behind_first = (await data(tenant.api, query, after=page["edges"][0]["cursor"]))[name]
            assert behind_first["edges"][0] == page["edges"][1], name

    async def test_takes_no_place_of_another_list(self, running: Platform, tenant: Tenant, unique: str) -> None:
        await fill(running, tenant, unique)
        mine = (await data(tenant.api, "{ flags(first: 1) { pageInfo { endCursor } } }"))["flags"]["pageInfo"]["endCursor"]
        query = "query ($after: String) { agents(first: 1, after: $after) { nodes { id } } }"
        assert codes(await asked(tenant.api, query, after=mine)) == ["bad-cursor"]

    async def test_may_what_its_key_may_field_by_field(self, running: Platform, tenant: Tenant) -> None:
        path = f"/v1/organisations/{tenant.id}/api-keys"
        issued = (await tenant.api.post(path, json={"label": "flags", "scopes": ["flags:read"]})).json()
        async with running.client(issued["key"]) as api:
            document = await asked(api, '{ flags { nodes { name } } call(id: "call_1") { id } }')
        assert document["data"] == {"flags": {"nodes": []}, "call": None}
        assert [(error["path"], error["extensions"]["code"], error["extensions"]["needed"]) for error in document["errors"]] == [
            (["call"], "scope-missing", "calls:read")
        ]

    @pytest.mark.parametrize("name", ["x/usage", "../flags", "..%2Fflags", "a?limit=1", ""])
    async def test_finds_nothing_at_an_address_that_is_smuggled_in(self, tenant: Tenant, name: str) -> None:
        found = await data(
            tenant.api,
            "query ($id: String!, $node: ID!) { call(id: $id) { id } node(id: $node) { nodeId } }",
            id=name,
            node=f"calls/{name}",
        )
        assert found == {"call": None, "node": None}

    async def test_refuses_what_is_too_deep_or_too_much_before_it_is_run(self, tenant: Tenant) -> None:
        costly = "{ calls(first: 100) { nodes { timeline(first: 100) { nodes { kind } } } } }"
        assert codes(await asked(tenant.api, costly)) == ["query-too-costly"]
        aliased = "{" + " ".join(f"a{at}: calls(first: 100) {{ nodes {{ id }} }}" for at in range(MOST_COSTLY // 100 + 1)) + "}"
        assert codes(await asked(tenant.api, aliased)) == ["query-too-costly"]
        doubling = "{ ...f0 }" + "".join(f" fragment f{at} on Query {{ ...f{at + 1} ...f{at + 1} }}" for at in range(40))
        assert codes(await asked(tenant.api, doubling + " fragment f40 on Query { calls { nodes { id } } }")) == ["query-too-costly"]
        circle = "{ ...f } fragment f on Query { ...f }"
        assert codes(await asked(tenant.api, circle)) == ["query-too-costly"]
        variable = "query ($many: Int!) { calls(first: $many) { nodes { timeline(first: $many) { nodes { kind } } } } }"
        assert codes(await asked(tenant.api, variable, many=100)) == ["query-too-costly"]
        levels = "{ __schema { types { " + "fields { type { " * 12 + "name" + " } }" * 12 + " } } }"
        assert codes(await asked(tenant.api, levels)) == ["query-too-costly"]

    async def test_shows_what_was_written_and_what_was_before(self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        query = {"query": "{ flags { nodes { variant } } }"}
        first, last = [await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": each}) for each in ("red", "blue")]
        now = await tenant.api.post("/graphql", params=seen(last), json=query)
        assert now.json() == {"data": {"flags": {"nodes": [{"variant": "blue"}]}}}
        then = await tenant.api.get("/graphql", params={**query, "as-of": first.headers["Aybiza-Position"]})
        assert then.json() == {"data": {"flags": {"nodes": [{"variant": "red"}]}}}
        assert then.headers["Aybiza-Position"] == first.headers["Aybiza-Position"]
        monkeypatch.setattr(positions, "_WAIT_SECONDS", 0.05)
        topic, partition, _, *fence = last.headers["Aybiza-Position"].split("/")
        beyond = "/".join([topic, partition, "99999999", *fence])
        assert "Warning" in (await tenant.api.post("/graphql", params={"min-position": beyond}, json=query)).headers
        assert refusal(await tenant.api.post("/graphql", params={"as-of": beyond}, json=query)) == (400, "bad-as-of")

    async def test_of_several_operations_runs_the_one_that_is_named(self, tenant: Tenant) -> None:
        both = "query A { flags { nodes { name } } } query B { agents { nodes { name } } }"
        assert codes(await asked(tenant.api, both)) == ["query-invalid"]
        named = await tenant.api.post("/graphql", json={"query": both, "operationName": "B"})
        assert named.json() == {"data": {"agents": {"nodes": []}}}

    @pytest.mark.parametrize(
        "query", ["{", "{ nothing }", "mutation { a }", "{ calls(first: 0) { nodes { id } } }", '{ flags(after: "x") { nodes { name } } }']
    )
    async def test_says_what_is_wrong_with_a_code(self, tenant: Tenant, query: str) -> None:
        assert set(codes(await asked(tenant.api, query))) <= {"query-unreadable", "query-invalid", "invalid-request", "bad-cursor"}

    async def test_tells_about_itself_to_those_with_a_key(self, tenant: Tenant) -> None:
        schema = await data(tenant.api, get_introspection_query())
        assert {"Call", "Agent", "Flag", "CallConnection"} <= {each["name"] for each in schema["__schema"]["types"]}
        assert schema["__schema"]["mutationType"] is None


class TestPersistedQueries:
    QUERY = "{ flags { nodes { name } } }"
    HASH = hashlib.sha256(QUERY.encode()).hexdigest()

    def extensions(self, sha256: str) -> dict[str, Any]:
        return {"persistedQuery": {"version": 1, "sha256Hash": sha256}}

    async def test_are_known_by_their_hash_once_brought(self, tenant: Tenant) -> None:
        query = f"{{ flags(first: 7) {{ nodes {{ name }} }} }} # {tenant.id}"
        sha256 = hashlib.sha256(query.encode()).hexdigest()
        answer = await tenant.api.post("/graphql", json={"extensions": self.extensions(sha256)})
        assert codes(answer.json()) == ["PERSISTED_QUERY_NOT_FOUND"]
        assert "errors" not in (await tenant.api.post("/graphql", json={"query": query, "extensions": self.extensions(sha256)})).json()
        params = {"extensions": f'{{"persistedQuery":{{"version":1,"sha256Hash":"{sha256}"}}}}'}
        assert (await tenant.api.get("/graphql", params=params)).json() == {"data": {"flags": {"nodes": []}}}
        wrong = await tenant.api.post("/graphql", json={"query": "{ flags { nodes { variant } } }", "extensions": self.extensions(sha256)})
        assert refusal(wrong) == (422, "invalid-request")

    async def test_are_the_only_ones_where_there_is_a_list(self, running: Platform, tenant: Tenant) -> None:
        ports = replace(running.ports, graph_queries={self.HASH: self.QUERY})
        async with served(ports) as url, replace(running, url=url).client(tenant.key) as api:
            assert (await api.post("/graphql", json={"extensions": self.extensions(self.HASH)})).json() == {
                "data": {"flags": {"nodes": []}}
            }
            assert (await api.post("/graphql", json={"query": self.QUERY})).status_code == 200
            other = await api.post("/graphql", json={"query": "{ flags { nodes { variant } } }"})
        assert (other.status_code, codes(other.json())) == (403, ["query-not-listed"])


class TestAnotherOrganisation:
    async def test_gets_nothing_by_ids_cursors_or_what_hangs_together(
        self, running: Platform, tenant: Tenant, stranger: Tenant, unique: str
    ) -> None:
        call_id, agent_id = await fill(running, tenant, unique)
        query = """query ($call: String!, $agent: String!, $org: String!, $node: ID!) {
            call(id: $call) { id agent { id } timeline { nodes { kind } } events { nodes { data } } usage { total { amount } } }
            agent(id: $agent) { id name } organisation(id: $org) { id name } node(id: $node) { nodeId ... on Call { caller } }
        }"""  # fmt: skip
        lists = " ".join(f"{name}(first: 50) {{ nodes {{ nodeId }} edges {{ cursor }} }}" for name in CONNECTIONS if name != "usages")
        mine = (await data(tenant.api, "{ calls(first: 1) { pageInfo { endCursor } } }"))["calls"]["pageInfo"]["endCursor"]
        place = unbound("/v1/calls", mine)
        cursors = " ".join(
            f'c{name}: {name}(first: 50, after: "{bound(f"/v1/{name}", place)}") {{ nodes {{ nodeId }} }}'
            for name in ("calls", "agents", "flags")
        )
        variables = {"call": call_id, "agent": agent_id, "org": tenant.id, "node": f"calls/{call_id}"}
        marks = re.compile(rf"{call_id}|{agent_id}|{tenant.id}|Agent \d|\+1415")
        whole = query[: query.rindex("}")]
        told = [await asked(api, f"{whole} {lists} {cursors} }}", **variables) for api in (stranger.api, tenant.api)]
        assert marks.findall(str(told[0])) == []
        assert "errors" not in told[0]
        # The owner is told a lot by the same query.
        assert len(marks.findall(str(told[1]))) > 10
