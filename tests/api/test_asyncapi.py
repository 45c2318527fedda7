"""The AsyncAPI document is whole and true: every event that is told is as it says."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft7Validator

from events.registry import known_types
from events.rooms import ROOMS
from tests.api.platform import Platform, Tenant
from tests.api.test_call_stream import answer, end, listening, ringing, told
from tests.api.test_events import heard, live

pytestmark = pytest.mark.asyncio(loop_scope="package")
# What AsyncAPI 3.0 knows of each of its objects, as far as we have them: the names that it must have, and those that it may.
KNOWN: dict[str, tuple[set[str], set[str]]] = {
    "document": ({"asyncapi", "info"}, {"id", "servers", "defaultContentType", "channels", "operations", "components"}),
    "info": ({"title", "version"}, {"description", "termsOfService", "contact", "license", "tags", "externalDocs"}),
    "server": ({"host", "protocol"}, {"protocolVersion", "pathname", "description", "title", "summary", "variables", "security", "tags"}),
    "channel": (set(), {"address", "messages", "title", "summary", "description", "servers", "parameters", "tags", "bindings"}),
    "operation": ({"action", "channel"}, {"title", "summary", "description", "security", "tags", "bindings", "messages", "reply"}),
    "message": (set(), {"headers", "payload", "contentType", "name", "title", "summary", "description", "tags", "examples"}),
    "parameter": (set(), {"enum", "default", "description", "examples", "location"}),
}


def is_a(kind: str, thing: dict[str, Any]) -> None:
    must, may = KNOWN[kind]
    assert must <= thing.keys() <= must | may, (kind, thing.keys())


def references(thing: Any) -> Iterator[str]:
    if isinstance(thing, dict):
        if "$ref" in thing:
            assert len(thing) == 1
            yield thing["$ref"]
        for value in thing.values():
            yield from references(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from references(value)


def at(document: dict[str, Any], reference: str) -> Any:
    place: Any = document
    for part in filter(None, reference.removeprefix("#/").split("/")):
        place = place[part]
    return place


def faults(document: dict[str, Any]) -> None:
    """Whether it is a proper AsyncAPI 3.0 document. Raises AssertionError or KeyError."""
    is_a("document", document)
    assert document["asyncapi"] == "3.0.0"
    is_a("info", document["info"])
    for server in document["servers"].values():
        is_a("server", server)
    for channel in document["channels"].values():
        is_a("channel", channel)
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel.get("parameters", {}))
        for parameter in channel.get("parameters", {}).values():
            is_a("parameter", parameter)
        assert all(each["$ref"].startswith("#/servers/") for each in channel["servers"])
        assert all(each["$ref"] == f"#/components/messages/{name}" for name, each in channel["messages"].items())
    for operation in document["operations"].values():
        is_a("operation", operation)
        assert operation["action"] in ("send", "receive")
    for name, message in document["components"]["messages"].items():
        is_a("message", message)
        assert re.fullmatch(r"[\w\d.\-]+", name)
        Draft7Validator.check_schema(message["payload"])
    for reference in references(document):
        assert at(document, reference)


class TestDocument:
    async def test_is_open_to_everybody_and_whole(self, anonymous: httpx.AsyncClient) -> None:
        document = (await anonymous.get("/asyncapi.json")).json()
        faults(document)
        assert document["components"]["messages"].keys() == {kind.ce_type for kind in known_types() if kind.room in ROOMS}

    @pytest.mark.parametrize(
        "path", ["asyncapi", "channels/events/messages/call-ended.v1/$ref", "operations/followEvents/action", "info/title"]
    )
    async def test_is_examined_by_what_can_find_a_fault(self, anonymous: httpx.AsyncClient, path: str) -> None:
        document = (await anonymous.get("/asyncapi.json")).json()
        *where, last = path.split("/")
        at(document, "#/" + "/".join(where) if where else "#/")[last] = "broken" if last != "title" else document["info"].pop("version")
        with pytest.raises((AssertionError, KeyError)):
            faults(document)

    async def test_says_of_events_what_they_are(self, running: Platform, tenant: Tenant, anonymous: httpx.AsyncClient) -> None:
        messages = (await anonymous.get("/asyncapi.json")).json()["components"]["messages"]
        stream = await ringing(running, tenant)
        await answer(running, stream)
        await end(running, stream)
        async with listening(running, tenant.key, stream.id) as socket:
            events = [await told(socket) for _ in range(3)]
        events += await _heard(tenant)
        assert len({event["type"] for event in events}) > 5
        for event in events:
            schema = messages[event["type"]]["payload"]
            Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER).validate(event)
            # It tells them from others: no field is lost or made up.
            assert event["data"].keys() == schema["properties"]["data"]["properties"].keys()


async def _heard(tenant: Tenant) -> list[dict[str, Any]]:
    """Events of other rooms, by the journal's way to them: what was told of a webhook, a flag, an agent."""
    ((name, _),) = await live(tenant, "lamp")
    await tenant.api.post("/v1/agents", json={"name": "Ann"})
    await tenant.api.post("/v1/webhooks", json={"url": "https://example.com/"})
    await tenant.api.post("/v1/consents", json={"caller": "+14155550178", "purpose": "recording", "evidence": "said so"})
    return [event for _, event in await heard(tenant.api, 3, after=name)]
