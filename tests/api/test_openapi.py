"""The OpenAPI document is true: what it promises is what the API does, whatever is thrown at it."""

import asyncio
import os
import random
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.versions import CHANGES, HEADER, Versions
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A few by default, the same each time; `API_EXAMPLES=200 API_SEED=7` for as long as somebody has time.
EXAMPLES = int(os.environ.get("API_EXAMPLES", "2"))
SEED = int(os.environ.get("API_SEED", "0"))
# What the web server takes before the first byte of a body; it ends the connection of whoever sends more.
LONGEST_HEAD = 60_000


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


class TestDocument:
    async def test_says_of_every_operation_what_it_is_and_how_it_may_fail(self, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        names = [operation["operationId"] for _, _, operation in operations(document)]
        assert len(names) == len(set(names))
        for method, path, operation in operations(document):
            assert operation["tags"], path
            assert operation["summary"], path
            assert operation["description"], path
            if path.startswith("/v1"):
                assert operation["security"] == [{"ApiKey": []}], (method, path)
                assert {"401", "422", "500", "503"} <= operation["responses"].keys(), (method, path)

    async def test_gives_no_default_to_what_a_change_leaves_as_it_is(self, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/openapi.json")).json()
        changes = [
            document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            for method, _, operation in operations(document)
            if method == "patch"
            for content in operation["requestBody"]["content"].values()
        ]
        assert len(changes) > 8
        assert not [(each["title"], name) for each in changes for name, field in each["properties"].items() if "default" in field]

    async def test_lists_no_route_that_a_stranger_may_use(self, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/openapi.json")).json()
        for method, path, _ in operations(document):
            if path.startswith("/v1"):
                answer = await anonymous.request(method, path.replace("{", "").replace("}", ""))
                assert refusal(answer) == (401, "unauthenticated"), (method, path)


class TestReference:
    async def test_has_every_operation_and_needs_nothing_from_elsewhere(self, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/openapi.json")).json()
        page = (await anonymous.get("/docs")).text
        for _, path, operation in operations(document):
            assert f'id="{operation["operationId"]}"' in page
            assert f"<code>{path}</code>" in page
        assert "<script" not in page
        assert not re.findall(r'(?:src|href)="(?!/|#)', page)


class TestPromise:
    async def test_holds_whatever_is_sent(self, running: Platform, tenant: Tenant) -> None:
        await asyncio.to_thread(throw_at, running.url, {"Authorization": f"Bearer {tenant.key}"})

    async def test_holds_in_each_older_version_where_it_is_another(self, running: Platform, tenant: Tenant) -> None:
        agent = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        number = {"number": f"+1808555{random.randint(1000, 9999)}", "agent_id": agent}
        made = await tenant.api.post("/v1/numbers", json=number)
        assert (await tenant.api.get("/v1/numbers", params=seen(made))).json()["data"][0]["environment"] is None
        for version in Versions().known[:-1]:
            changed = {name for change in CHANGES if change.since > version for name in (*change.operations, *change.bodies)}
            headers = {"Authorization": f"Bearer {tenant.key}", HEADER: version}
            await asyncio.to_thread(throw_at, running.url, headers, f"?version={version}", changed)


def throw_at(url: str, headers: dict[str, str], query: str = "", only: Collection[str] | None = None) -> None:
    """Some requests to every operation, good ones and bad ones. Raises what was wrong with all of them together."""
    wrong: list[BaseException] = []
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json{query}", timeout=120)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        if only is not None and result.ok().definition.raw["operationId"] not in only:
            continue
        for mode in schemathesis.GenerationMode:

            @seed(SEED)
            @given(case=result.ok().as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES, derandomize=False, database=None, deadline=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def each(case: schemathesis.Case[Any]) -> None:
                if case.operation.path == "/v1/events":
                    # A stream that goes on is no answer that could be looked at.
                    case.query = {**(case.query or {}), "wait_seconds": 0}
                if len(urlencode(case.query or {}, doseq=True)) + len(quote(str(case.headers))) > LONGEST_HEAD:
                    return
                case.validate_response(case.call(headers=headers, timeout=120), checks=CHECKS)

            try:
                # Where nothing can be given, nothing can be given wrongly.
                with suppress(Unsatisfiable):
                    each()
            except (AssertionError, FailureGroup) as found:
                wrong.append(found)
    if wrong:
        raise BaseExceptionGroup("what is promised does not hold", wrong)
