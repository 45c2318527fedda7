"""Exports over HTTP: the same facts in every form, of the organisation and of nobody else, sealed unless opened for a reason."""

import asyncio
import hashlib
import io
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import fastavro
import httpx
import pytest
from pyarrow import parquet

from commands.operations import OPERATIONS, RequestOperation
from events.streams import StreamId
from infra.apps.alongside import alongside
from infra.apps.export_files import StoredExports, file_name
from infra.apps.operations import Operating
from projections.operations import OPERATIONS as OPERATION_ROWS
from projections.queries import EVERYBODY, asked_for
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, served

pytestmark = pytest.mark.asyncio(loop_scope="package")
CALLER = "+14155550188"
FORMATS = ("ndjson", "avro", "parquet")


async def some_facts(tenant: Tenant) -> None:
    """Facts of three kinds, one with a sealed field."""
    await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"})
    await tenant.api.put("/v1/flags/lamp", json={"enabled": False, "variant": "off"})
    await tenant.api.post("/v1/consents", json={"caller": CALLER, "purpose": "recording", "evidence": "form"})
    await tenant.api.post("/v1/agents", json={"name": "Ann"})


async def done(tenant: Tenant, **wanted: Any) -> dict[str, Any]:
    """An export, once it has ended."""
    asked = await tenant.api.post("/v1/exports", json=wanted)
    assert asked.status_code == 202, asked.text
    query = seen(asked)
    async with asyncio.timeout(120):
        while True:
            answer = (await tenant.api.get(asked.headers["Location"], params=query)).json()
            if answer["ended_at"] is not None:
                return dict(answer)


async def fetched(tenant: Tenant, operation: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Its files, each as the operation says that it is."""
    files = []
    for file in operation["files"]:
        answer = await tenant.api.get(file["href"], params={"reason": "a test"})
        assert answer.status_code == 200, answer.text
        assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (file["bytes"], file["sha256"])
        files.append((file["name"], answer.content))
    return files


def told(name: str, content: bytes) -> list[dict[str, Any]]:
    """The facts in a file, alike whatever its form; the fields of those in Avro are not looked at."""
    if name.endswith(".ndjson"):
        return [json.loads(line) for line in content.splitlines()]
    if name.endswith(".parquet"):
        return [{**row, "data": json.loads(row["data"])} for row in parquet.read_table(io.BytesIO(content)).to_pylist()]
    kind = name.split("-", 2)[2].removesuffix(".avro")
    return [{**row, "type": kind} for row in fastavro.reader(io.BytesIO(content))]  # type: ignore[dict-item]


def places(facts: list[dict[str, Any]]) -> list[tuple[str, str, str, int]]:
    return sorted((each["event_id"], each["position"], each["type"], each["version"]) for each in facts)


class TestRequestExport:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.post("/v1/exports", json={})) == (401, "unauthenticated")

    @pytest.mark.parametrize(
        ("wanted", "pointer"),
        [
            ({"since": "yesterday"}, "#/since"),
            ({"until": "2026-11-21T10:00:00"}, "#/until"),
            ({"types": ["weather-changed"]}, "#/types/0"),
            ({"format": "xls"}, "#/format"),
            ({"format": "avro", "reason": "curious"}, "#"),
        ],
    )
    async def test_is_refused_with_a_pointer(self, tenant: Tenant, wanted: dict[str, Any], pointer: str) -> None:
        answer = await tenant.api.post("/v1/exports", json=wanted)
        assert refusal(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == pointer


class TestExport:
    async def test_holds_the_same_facts_in_every_form_and_nobody_elses(self, tenant: Tenant, stranger: Tenant) -> None:
        await some_facts(tenant)
        await some_facts(stranger)
        facts = {}
        for form in FORMATS:
            # Without those of the exports themselves, of which there are more each time.
            types = ["flag-set", "consent-granted", "agent-created"]
            operation = await done(tenant, format=form, types=types)
            assert (operation["status"], operation["done"]) == ("done", 4)
            facts[form] = [fact for name, content in await fetched(tenant, operation) for fact in told(name, content)]
        assert places(facts["ndjson"]) == places(facts["avro"]) == places(facts["parquet"])
        by_id = {each["event_id"]: each for each in facts["parquet"]}
        assert all(by_id[each["event_id"]]["data"] == each["data"] for each in facts["ndjson"])
        sealed = next(each["fact"]["subject"] for each in facts["avro"] if each["type"] == "consent-granted.v1")
        assert sealed["box"].hex() == next(each["data"]["subject"]["box"] for each in facts["ndjson"] if "consent" in each["type"])
        assert all(each["stream"].startswith(tenant.id) for each in facts["ndjson"])

    async def test_goes_on_where_another_one_ended(self, tenant: Tenant) -> None:
        await some_facts(tenant)
        first = await done(tenant, types=["flag-set"])
        await tenant.api.put("/v1/flags/lamp", json={"enabled": True, "variant": "dim"})
        second = await done(tenant, types=["flag-set"], since=first["position"])
        ((name, content),) = await fetched(tenant, second)
        assert [fact["data"]["variant"] for fact in told(name, content)] == ["dim"]
        between = await done(tenant, types=["flag-set"], until=first["position"])
        assert between["done"] == 2

    async def test_keeps_what_is_sealed_unless_there_is_a_reason_which_stands_on_record(self, running: Platform, tenant: Tenant) -> None:
        await some_facts(tenant)
        ((_, sealed),) = await fetched(tenant, await done(tenant, types=["consent-granted"]))
        assert CALLER.encode() not in sealed
        opened = await done(tenant, types=["consent-granted"], reason="an auditor asked")
        ((_, clear),) = await fetched(tenant, opened)
        assert CALLER.encode() in clear
        facts = await fetched(tenant, await done(tenant, types=["operation-requested", "operation-file-fetched"]))
        record = [each for each in told(*facts[0]) if opened["id"] in each["stream"]]
        assert [(each["type"], each["data"].get("because"), each["data"].get("reason")) for each in record] == [
            ("operation-requested.v1", "an auditor asked", None), ("operation-file-fetched.v1", None, "a test"),
        ]  # fmt: skip
        assert record[1]["actor"].startswith("api-key:")
        # What lies on the disk is sealed either way.
        kept = list((running.recordings._folder.parent / "exports").rglob("*.recording"))  # noqa: SLF001
        assert kept
        assert not [file for file in kept if CALLER.encode() in file.read_bytes()]

    async def test_is_found_by_no_other_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        operation = await done(tenant, types=["flag-set"])
        assert refusal(await stranger.api.get(f"/v1/operations/{operation['id']}")) == (404, "not-found")
        assert refusal(await stranger.api.post(f"/v1/operations/{operation['id']}/cancel")) == (404, "not-found")
        await some_facts(tenant)
        full = await done(tenant, types=["flag-set"])
        assert refusal(await stranger.api.get(full["files"][0]["href"])) == (404, "not-found")
        assert refusal(await tenant.api.get(f"/v1/exports/{full['id']}/files/nothing")) == (404, "not-found")

    async def test_is_gone_when_its_time_is_over(self, running: Platform, tenant: Tenant) -> None:
        await some_facts(tenant)
        operation = await done(tenant, types=["flag-set"])
        ended, until = [datetime.fromisoformat(operation[each]) for each in ("ended_at", "files_expire_at")]
        assert until - ended == timedelta(days=7)
        (file,) = operation["files"]
        now = [until]
        async with (
            served(replace(running.ports, clock=lambda: now[0])) as url,
            httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {tenant.key}"}, timeout=30) as client,
        ):
            assert refusal(await client.get(file["href"])) == (410, "files-expired")
            now[0] -= timedelta(seconds=1)
            assert (await client.get(file["href"])).status_code == 200
        # Who does operations removes them, also what an attempt wrote that nobody noted, and says so.
        exports = running.ports.exports
        assert isinstance(exports, StoredExports)
        asked_for.set(EVERYBODY)
        row = await running.ports.rows.get(OPERATION_ROWS, tenant.id, operation["id"])
        assert row is not None
        await exports.keep(tenant.id, row.id, file_name(2, 1), b"half")
        folder = running.recordings._folder.parent / "exports" / row.id  # noqa: SLF001
        assert len(list(folder.iterdir())) == 2
        operating = Operating(
            reader=running.reader, dispatch=running.owners, works={}, remove=exports.remove, worker="late",
            topic_of=lambda room: f"{running.prefix}.{room}.v1", now=lambda: until + timedelta(days=1),
        )  # fmt: skip
        async with alongside({"operations": operating.run}), asyncio.timeout(60):
            while (await tenant.api.get(file["href"])).status_code != 410:
                await asyncio.sleep(0.05)
        assert list(folder.iterdir()) == []

    async def test_that_has_ended_is_not_cancelled(self, tenant: Tenant) -> None:
        operation = await done(tenant, types=["flag-set"])
        assert refusal(await tenant.api.post(f"/v1/operations/{operation['id']}/cancel")) == (409, "operation-over")
        listed = (await tenant.api.get("/v1/operations", params={"status": "done"})).json()["data"]
        assert [each["id"] for each in listed] == [operation["id"]]


class TestOperation:
    async def test_of_which_nobody_knows_how_to_do_it_fails_and_says_so(self, running: Platform, tenant: Tenant) -> None:
        stream = StreamId(tenant.id, "operations", "op_" + "0" * 32)
        await running.do(OPERATIONS, stream, RequestOperation(kind="weather", wanted="{}"))
        async with asyncio.timeout(120):
            while True:
                answer = await tenant.api.get(f"/v1/operations/{stream.id}")
                if answer.is_success and answer.json()["ended_at"] is not None:
                    break
        assert (answer.json()["status"], answer.json()["reason"]) == ("failed", "nobody here knows how to do 'weather'")
