"""A fact as a CloudEvent (version 1.0, JSON): the one envelope in which programs are told what happened."""

import json
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from api.sealing import in_clear
from api.shapes import Refers
from api.wire import Time, Wire
from events.recorded import Recorded
from events.registry import Fact, type_of
from events.sealing import KeyRing

MEDIA_TYPE = "application/cloudevents+json"
_EXAMPLE: dict[str, Any] = {
    "specversion": "1.0", "id": "0192f3c87b6a4d10a2c5000000000017-0", "source": "aybiza/flags", "type": "flag-set.v1",
    "subject": "flags/night-shift", "time": "2026-11-22T09:30:00.250000Z", "datacontenttype": "application/json", "aybizaversion": 3,
    "aybizaposition": "aybiza.flags.v1/5/1042/7/0192f3c87b6a4d10a2c5f0e1d2c3b4a5", "aybizaappended": "2026-11-22T09:30:00.252000Z",
    "aybizacorrelation": "4bf92f3577b34da6a3ce929d0e0e4736", "aybizaactor": "key_0123456789ABCDEF",
    "data": {"enabled": True, "variant": "on", "description": ""},
}  # fmt: skip


class CloudEvent(Wire):
    """A fact, as it is told on every way by which events come. `data` has the shape of its `type`, as `/asyncapi.json` describes it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    specversion: str
    id: Annotated[str, Field(description="The event's name for ever; a webhook's `webhook-id`.")]
    source: str
    type: Annotated[str, Field(description="Permanent name and version.")]
    subject: Annotated[str, Field(description="The thing that it is about: kind and id.")]
    time: Annotated[Time, Field(description="When it happened.")]
    datacontenttype: str
    aybizaversion: Annotated[int, Field(description="Which fact about its subject it is, from 1.")]
    aybizaposition: Annotated[str, Field(description="Where it stands on the log; reads take it as `min-position` and as `as-of`.")]
    aybizaappended: Annotated[Time, Field(description="When it was written to the log.")]
    aybizacorrelation: Annotated[str, Field(description="The trace of the request that it goes back to.")]
    aybizaactor: str
    data: Annotated[dict[str, Any], Field(description="What is personal is null once the person was erased.")]
    aybizacause: Annotated[str | None, Refers("cause", "/v1/events/{}"), Field(description="The event that it follows from.")] = None


def cloud_event(keyring: KeyRing, recorded: Recorded[Fact]) -> dict[str, Any]:
    """The envelope, for whoever may see what is sealed. Extension attributes are ours: place, version, correlation, cause, actor."""
    kind, stream = type_of(recorded.fact), recorded.stream
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(recorded.event_id),
        "source": f"aybiza/{kind.room}",
        "type": kind.ce_type,
        "subject": f"{stream.category}/{stream.id}",
        "time": _written(recorded.occurred_at),
        "datacontenttype": "application/json",
        "aybizaversion": recorded.version,
        "aybizaposition": str(recorded.position),
        "aybizaappended": _written(recorded.appended_at),
        "aybizacorrelation": recorded.correlation_id.hex(),
        "aybizaactor": recorded.actor,
        "data": in_clear(keyring, recorded.fact),
    }
    if recorded.causation is not None:
        event["aybizacause"] = str(recorded.causation)
    return event


def as_json(event: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> str:
    if hasattr(value, "isoformat"):
        return _written(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _written(time: Any) -> str:
    text: str = time.isoformat()
    return text.replace("+00:00", "Z")
