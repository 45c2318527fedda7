"""A fact as a CloudEvent (version 1.0, JSON): the one envelope in which programs are told what happened."""

import json
from typing import Any

from api.sealing import in_clear
from events.recorded import Recorded
from events.registry import Fact, type_of
from events.sealing import KeyRing

MEDIA_TYPE = "application/cloudevents+json"


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
