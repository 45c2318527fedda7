"""The AsyncAPI 3 document: every event, in which shape it comes, and the three ways by which it comes."""

from collections.abc import Mapping
from typing import Any

from api.call_stream import CLOSES
from api.cloudevents import MEDIA_TYPE
from events.registry import EventType, known_types
from events.rooms import ROOMS
from events.schema import Schema, schema_of

VERSION = "3.0.0"
_NULL = {"type": "null"}
_TEXT = {"type": "string"}
_PLAIN: Mapping[str, dict[str, Any]] = {
    "string": _TEXT, "boolean": {"type": "boolean"}, "long": {"type": "integer"}, "double": {"type": "number"},
    "bytes": {"type": "string", "pattern": "^([0-9a-f]{2})*$", "description": "Bytes in hex."},
}  # fmt: skip
_LOGICAL: Mapping[str, dict[str, Any]] = {
    "timestamp-micros": {"type": "string", "format": "date-time"},
    "decimal": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "A decimal number."},
}
_CLOSES = ", ".join(f"{each.code} {each.reason}" for each in CLOSES)
_OPENED = {"type": ["string", "null"], "description": "Personal; null once the person was erased."}
_ENVELOPE: Mapping[str, dict[str, Any]] = {
    "specversion": {"const": "1.0"},
    "id": {
        "type": "string",
        "description": "The event's name for ever, whichever way it comes, and however often; `GET /v1/events/{id}` shows it again.",
    },
    "source": _TEXT,
    "type": _TEXT,
    "subject": {"type": "string", "description": "The thing that it is about: kind and id."},
    "time": {"type": "string", "format": "date-time", "description": "When it happened."},
    "datacontenttype": {"const": "application/json"},
    "aybizaversion": {"type": "integer", "minimum": 1, "description": "Which fact about its subject it is, from 1."},
    "aybizaposition": {"type": "string", "description": "Where it stands on the log; reads take it as `min-position`."},
    "aybizaappended": {"type": "string", "format": "date-time", "description": "When it was written to the log."},
    "aybizacorrelation": {"type": "string", "description": "The trace of the request that it goes back to."},
    "aybizaactor": _TEXT,
}


def document(title: str, version: str) -> dict[str, Any]:
    """The whole document."""
    kinds = sorted((kind for kind in known_types() if kind.room in ROOMS), key=lambda kind: kind.ce_type)
    every = {kind.ce_type: {"$ref": f"#/components/messages/{kind.ce_type}"} for kind in kinds}
    calls = {kind.ce_type: every[kind.ce_type] for kind in kinds if kind.room == "calls"}
    return {
        "asyncapi": VERSION,
        "info": {"title": f"{title} events", "version": version, "description": _DESCRIPTION},
        "defaultContentType": MEDIA_TYPE,
        "servers": {
            "api": {"host": "localhost", "protocol": "https", "description": "Where this document was read."},
            "live": {"host": "localhost", "protocol": "wss", "description": "The same host."},
            "yours": {"host": "example.com", "protocol": "https", "description": "An address of yours, by `POST /v1/webhooks`."},
        },
        "channels": {
            "events": {
                "address": "/v1/events", "title": "Server-sent events", "servers": [{"$ref": "#/servers/api"}], "messages": every,
                "description": "All of the organisation's events; `Last-Event-ID` goes on from exactly there.",
            },
            "call": {
                "address": "/v1/calls/{callId}/live", "title": "One call over a WebSocket", "servers": [{"$ref": "#/servers/live"}],
                "parameters": {"callId": {"description": "`call_…`"}}, "messages": calls,
                "description": "A call from its beginning, or from behind `after`. Closes: " + _CLOSES,
            },
            "webhook": {
                "address": "/", "title": "Webhooks", "servers": [{"$ref": "#/servers/yours"}],
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in every},
                "description": "Posted as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`.",
            },
        },
        "operations": {
            "followEvents": _sends("events", "Hear what happens."),
            "followCall": _sends("call", "Hear what happens in one call."),
            "receiveWebhook": _sends("webhook", "Have what happens sent to an address."),
        },
        "components": {"messages": {kind.ce_type: _message(kind) for kind in kinds}},
    }  # fmt: skip


_DESCRIPTION = """Everything that happens to an organisation, as CloudEvents 1.0 in JSON: one envelope, whichever way it comes.
A new field may come to an event at any time, and new events; an event whose meaning changes is another version of it."""


def _sends(channel: str, summary: str) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(kind: EventType) -> dict[str, Any]:
    schema = schema_of(kind)
    properties = dict(_ENVELOPE) | {
        "source": {"const": f"aybiza/{kind.room}"}, "type": {"const": kind.ce_type}, "aybizacause": _TEXT, "data": _json(schema, {}),
    }  # fmt: skip
    payload = {"type": "object", "required": [*_ENVELOPE, "data"], "properties": properties}
    return {
        "name": kind.ce_type,
        "title": kind.cls.__name__,
        "summary": schema.get("doc", ""),
        "contentType": MEDIA_TYPE,
        "payload": payload,
    }


def _json(schema: Schema, named: dict[str, Schema]) -> dict[str, Any]:
    """The JSON Schema of what a value of an Avro schema is in an event. `named`: records that were met, which are named from then on."""
    if isinstance(schema, list):
        (kind,) = [each for each in schema if each != "null"]
        return {"anyOf": [_json(kind, named), _NULL]}
    if isinstance(schema, str):
        return dict(_PLAIN[schema]) if schema in _PLAIN else _json(named[schema], named)
    kind = schema["type"]
    if kind == "record":
        if schema["name"] == "Sealed":
            named["aybiza.Sealed"] = schema
            return dict(_OPENED)
        named[f"{schema.get('namespace', '')}.{schema['name']}"] = schema
        fields = {field["name"]: _json(field["type"], named) for field in schema["fields"]}
        return {"type": "object", "required": list(fields), "properties": fields}
    if kind == "array":
        return {"type": "array", "items": _json(schema["items"], named)}
    if kind == "map":
        return {"type": "object", "additionalProperties": _json(schema["values"], named)}
    return dict(_LOGICAL.get(schema.get("logicalType", ""), _PLAIN.get(kind, {})))
