"""The OpenAPI document: what the framework derives from the routes, and what only we know."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.openapi.utils import get_openapi

from api.describing import describe
from api.ports import Ports
from api.problems import UNKNOWN_VERSION, At, Problem
from api.shapes import Shape
from api.versions import NoSuchVersion, Versions

DESCRIPTION = """
Voice agents that answer the phone, where everything that happens is an event on a log.

* **Keys.** `Authorization: Bearer aybiza_…`. A key acts for one organisation; ids of others are answered with 404.
  It has scopes (`calls:read`, `agents:write`, …) or, without any, may everything; who may write may read.
* **People** sign in at `/auth/sessions` and send the token they get as a key is sent. Their role in an organisation says what they may;
  who belongs to several names one in `Aybiza-Organisation`. **Programs** may fetch tokens at `/oauth/token` instead of holding a key.
* **Writes** answer with `Aybiza-Position`, the place of the change on the log, and `ETag`, the version of the thing.
  `If-Match` with an older version is answered with 412. Send an `Idempotency-Key`, and a repeat changes nothing more.
* **Reads** say in `Aybiza-Position` up to where they are true: how far the log was read for what they show, a list or one thing.
  They take `min-position`, of a write or of another read, and wait, bounded, until they can show at least that; a `Warning` says when
  they could not.
* **The past.** Reads take `as-of`, a time or any position, and answer as they would have then; `Aybiza-Position` says up to where.
* **Lists** stand in an order that stays when things come in. Calls stand newest first; so does what was made without `Idempotency-Key`.
  With one an id follows from the key, and the place from the id. A `cursor` is good for the list that gave it.
* **Known already.** `HEAD` is answered wherever `GET` is. `If-None-Match` with the `ETag` of one thing is answered with 304 while that is
  its version; what rests on other things as well, as with `expand`, is always sent.
* **Browsers.** Pages of the origins that the installation names may ask with tokens of people and programs. An answer to an API key is none
  that a page may read.
* **What of it.** `fields=id,status` answers with these alone; `expand=agent` adds what a thing refers to, under `expanded`, as far as
  the key may see it. `PATCH` takes a JSON merge patch (RFC 7396). Long work is answered with 202 and an operation that tells how it goes.
* **Versions.** A key is answered in the date version of its making, and its bodies are taken in it; `Aybiza-Version` names another. What
  is on its way out says so in `Deprecation` and `Sunset`. `/openapi.json?version=2026-11-20` describes an older one. GraphQL and gRPC
  have the newest form, events the one of their type.
* **Problems** are `application/problem+json` (RFC 9457); `code` is permanent, and `type` leads to its page.
* **Limits.** A key has a quota for reads, one for writes and one for what is dear (GraphQL, searches, explanations, analytics, exports,
  the past), and so many requests that are answered at once. `RateLimit` and `RateLimit-Policy` tell the tightest; 429 has a `Retry-After`.
* **Money** is in minor units, as a decimal string with its currency. **Times** are RFC 3339, UTC.
"""
TAGS = [
    {"name": "organisations", "description": "Businesses and the keys that act for them."},
    {"name": "sign-in", "description": "How people come in. It needs no key."},
    {"name": "people", "description": "What a person who is signed in does about themselves."},
    {"name": "memberships", "description": "Who belongs to an organisation, who is invited, and what roles give."},
    {"name": "oauth-clients", "description": "Programs that fetch short-lived tokens (OAuth 2 client credentials)."},
    {"name": "access", "description": "Why somebody can or cannot do a thing."},
    {"name": "agents", "description": "Who speaks for a business, in versions that never change."},
    {"name": "numbers", "description": "Which agent answers which phone number."},
    {"name": "consents", "description": "What callers allow, and the proof of it."},
    {"name": "calls", "description": "What was said and heard, second by second, and what can be done in a call."},
    {"name": "analytics", "description": "Answers, calls and what they used, by minute, hour and day."},
    {"name": "usage", "description": "What calls used, and what that costs."},
    {"name": "flags", "description": "Switches that calls read when they begin."},
    {"name": "environments", "description": "Where which version of which agent answers."},
    {"name": "operations", "description": "Long work: what was asked for, how far it is, and what came of it."},
    {"name": "exports", "description": "An organisation's facts as files."},
    {"name": "events", "description": "What happens, as it happens; and one event, by its id."},
    {"name": "webhooks", "description": "Addresses to which events are sent."},
    {"name": "lookup", "description": "Any name that a thing has leads to it."},
    {"name": "upkeep", "description": "What the platform's operator orders where a projection could not take a fact."},
    {"name": "health", "description": "How the process is."},
]
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "retryable", "trace_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "The page of this kind of problem."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened this time, and what to do."},
        "instance": {"type": "string", "format": "uri-reference"},
        "code": {"type": "string", "description": "Permanent; for programs."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "trace_id": {"type": "string", "description": "For questions to us."},
        "needed": {"type": "string", "description": "With 403: the scope that the key lacks."},
        "possible": {"type": "array", "items": {"type": "string"}, "description": "With 400: the names that there are."},
        "expected": {"type": "integer", "description": "With 412: the version that was asked for."},
        "found": {"type": "integer", "description": "With 412: the version that the thing has."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body, as a URI fragment."},
                    "parameter": {"type": "string"},
                    "header": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_POSITION = {"description": "The place of the change on the log.", "schema": {"type": "string"}}
_SEEN = {
    "description": "Up to where the answer is true; `min-position` and `as-of` take it, of one thing as of a list.",
    "schema": {"type": "string"},
}
_ETAG = {"description": "The version of the thing.", "schema": {"type": "string"}}
_IF_NONE_MATCH = {
    "name": "If-None-Match", "in": "header", "required": False, "description": "The `ETag` that the asker has; 304 while it is right.",
    "schema": {"type": "string", "maxLength": 200},
}  # fmt: skip
_LOCATION = {"description": "Where the new thing is found.", "schema": {"type": "string", "format": "uri-reference"}}
_LIMIT = {"description": "What remains of the quota, and in how many seconds it is whole again.", "schema": {"type": "string"}}
_POLICY = {"description": "The quota that counts here, and its window in seconds.", "schema": {"type": "string"}}
_TRACE = {"description": "The trace of this request.", "schema": {"type": "string"}}
_UNCHANGED = {
    "description": "The asker has this version already.",
    "headers": {"ETag": _ETAG, "Aybiza-Position": _SEEN, "Aybiza-Trace-Id": _TRACE, "RateLimit": _LIMIT, "RateLimit-Policy": _POLICY},
}


def install(app: FastAPI, always: Mapping[int | str, dict[str, Any]], shapes: Sequence[Shape], versions: Versions) -> None:
    """Have the app answer with the dressed document; made once, on first asking. `always`: what every route may answer."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            made = _document(app, always)
            describe(made, shapes, versions)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


async def document_of(app: FastAPI) -> dict[str, Any]:
    """The document of the newest version. Making it takes a second or more, in which nobody else may have to wait."""
    return await asyncio.to_thread(app.openapi) if app.openapi_schema is None else app.openapi_schema


class Pages:
    """What is the same for everybody who asks, keys or none: made once, beside the loop, for some of it takes long."""

    def __init__(self) -> None:
        self._made: dict[str, bytes] = {}
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, name: str, make: Callable[[], str]) -> bytes:
        if name not in self._made:
            async with self._one_at_a_time:
                if name not in self._made:
                    self._made[name] = await asyncio.to_thread(lambda: make().encode())
        return self._made[name]


async def read(request: Request, version: Annotated[str | None, Query(description="A date version; else the newest.")] = None) -> Response:
    """The document, of any version that is still answered. Raises Problem."""
    ports: Ports = request.app.state.ports
    try:
        chosen = ports.versions.chosen(version, ports.versions.newest)
    except NoSuchVersion as cause:
        at = [At(parameter="version", detail="is no version of ours")]
        raise Problem(UNKNOWN_VERSION, str(cause), errors=at, possible=list(ports.versions.known)) from cause

    def written() -> str:
        document = request.app.openapi()
        return json.dumps(document if chosen == ports.versions.newest else ports.versions.described(document, chosen), ensure_ascii=False)

    pages: Pages = request.app.state.pages
    return Response(await pages(f"openapi {chosen}", written), media_type="application/json")


def _document(app: FastAPI, always: Mapping[int | str, dict[str, Any]]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes, tags=TAGS,
        servers=[{"url": "/", "description": "Where this document was read."}],
    )  # fmt: skip
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    shared = {str(status): answer for status, answer in always.items()}
    document["components"]["responses"] = {f"Problem{status}": answer for status, answer in shared.items()}
    document["components"]["responses"]["Unchanged"] = _UNCHANGED
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _dress(method, operation, shared)
    return document


def _dress(method: str, operation: dict[str, Any], shared: dict[str, Any]) -> None:
    if method == "get" and operation.get("security"):
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
    for status, answer in operation["responses"].items():
        if answer == shared.get(status):
            operation["responses"][status] = {"$ref": f"#/components/responses/Problem{status}"}
            continue
        answer.setdefault("headers", {})["Aybiza-Trace-Id"] = _TRACE
        if operation.get("security"):
            answer["headers"].update({"RateLimit": _LIMIT, "RateLimit-Policy": _POLICY})
        if method in ("post", "put", "delete", "patch") and status.startswith("2"):
            answer["headers"].update({"Aybiza-Position": _POSITION, "ETag": _ETAG})
        if method == "get" and status.startswith("2") and operation.get("security"):
            answer["headers"]["Aybiza-Position"] = _SEEN
        if status == "200" and method == "get" and operation.get("security"):
            answer["headers"]["ETag"] = _ETAG
        if status == "201":
            answer["headers"]["Location"] = _LOCATION
    if method == "get" and operation.get("security"):
        operation["responses"]["304"] = {"$ref": "#/components/responses/Unchanged"}
