"""The conventions that every answer keeps, for all rooms at once: its version, its age, the fields asked for, what it refers to.

An expansion is what the caller would have had by asking for it: the same key, the same scopes, the same walls, the same moment.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import Caller, permit
from api.negotiating import is_known, must_be_acceptable, must_be_json
from api.ports import Ports
from api.problems import READS_UNAVAILABLE, UNKNOWN_EXPANSION, UNKNOWN_FIELD, UNKNOWN_VERSION, At, Problem, render
from api.shapes import EXPANDED, PARTIAL, Mask, Shape, mask_of, masked, must_be_references, names_in
from api.trace import trace_of
from api.versions import HEADER, SENT, NoSuchVersion, Versions
from api.wire import POSITION, write_seen
from api.within import SEEN, WITHIN
from projections.queries import Seen, seen

_GUARDED = "/v1/"
_READS = frozenset({"GET", "HEAD"})
_AT_ONCE = 8
_JSON = "application/json"
# What belongs to the asking request alone.
_OWN = frozenset({b"content-length", b"content-type", b"if-match", b"idempotency-key", b"range"})
_PASSED_ON = ("as-of", "min-position")
_SCOPE = ("type", "asgi", "http_version", "scheme", "server", "client", "root_path", "app", "state", "extensions")


class Asked(NamedTuple):
    """What a request wants of its answer."""

    version: str
    fields: Sequence[str]
    expand: Sequence[str]


class Fetched(NamedTuple):
    """What a reference led to."""

    status: int
    document: Any


class Conventions:
    """An ASGI middleware between the gate and the routes. An answer that is as the route made it is not looked into."""

    def __init__(self, app: ASGIApp, *, shapes: Mapping[Any, Shape], versions: Versions) -> None:
        self._app = app
        self._shapes = shapes
        self._versions = versions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        try:
            asked = self._asked(scope)
            given = Headers(scope=scope)
            must_be_json(scope["method"], given)
            if scope["method"] not in _READS:
                # What changes something is answered in nothing else, and would have changed it when that is seen.
                must_be_acceptable(given, _JSON)
        except Problem as problem:
            await _refuse(scope, problem, receive, send)
            return
        ageing = self._versions.ageing(asked.version)
        # Of a part of an answer it is told with the whole.
        whole: Seen | None = scope.get(SEEN)
        noted = whole or (Seen() if scope["method"] in _READS else None)
        seen.set(noted)
        kept: Message | None = None
        body = bytearray()
        over = False

        async def shaped(message: Message) -> None:
            nonlocal kept, over
            if over:
                return
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # No route gives it itself, so it is not looked for among the others.
                headers.append(HEADER, asked.version)
                shape = self._shapes.get(scope.get("endpoint"))
                # What ends for everybody is told before what ends for this version.
                for told in ([] if shape is None else [each.headers() for each in shape.deprecated]) or [ageing]:
                    headers.update(told)
                # What is put on record before it is answered names its own fact, of which the rows had not heard yet.
                if noted is not None and whole is None and message["status"] < 500 and POSITION not in headers:
                    _tell(headers, noted, scope)
                if noted is not None and whole is None and message["status"] == 200:
                    other = _instead(scope, given, asked, noted, headers)
                    if other is not None:
                        over = True
                        await other(scope, receive, send)
                        return
                if shape is not None and self._wants(asked, shape) and _is_whole(message, headers):
                    kept = message
                    return
            elif kept is not None:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await self._answer(scope, asked, kept, bytes(body), receive, send)
                return
            await send(message)

        await self._app(scope, self._brought_forward(scope, asked, receive) if ageing else receive, shaped)

    def _brought_forward(self, scope: Scope, asked: Asked, receive: Receive) -> Receive:
        """The body in its newest form. The gate gives it in one piece, and by the time that a route reads it the route is known."""

        async def newest() -> Message:
            message = await receive()
            shape = self._shapes.get(scope.get("endpoint"))
            changes = () if shape is None else self._versions.taking(asked.version, shape.operation)
            sent: bytes = message.get("body", b"") if changes else b""
            given = _object_in(sent)
            if given is None:
                return message
            meant = given
            for change in changes:
                meant = change.forth(meant)
            if meant == given:
                return message
            scope["state"][SENT] = sent
            return {**message, "body": json.dumps(meant).encode()}

        return newest

    def _asked(self, scope: Scope) -> Asked:
        who: Caller = scope["state"]["caller"]
        # The views have forms of their own, made of the newest.
        newest = who.is_operator or who.person_id or WITHIN in scope
        pinned = self._versions.newest if newest else who.api_version
        try:
            version = self._versions.chosen(Headers(scope=scope).get(HEADER), pinned)
        except NoSuchVersion as cause:
            at = [At(header=HEADER, detail="is no version of ours")]
            raise Problem(UNKNOWN_VERSION, str(cause), errors=at, possible=list(self._versions.known)) from cause
        query = scope["query_string"]
        if scope["method"] != "GET" or not (b"fields" in query or b"expand" in query):
            return Asked(version=version, fields=(), expand=())
        given = parse_qs(query.decode("latin-1"), max_num_fields=None)
        return Asked(
            version=version, fields=names_in(given.get("fields", ()), UNKNOWN_FIELD, "fields"),
            expand=names_in(given.get("expand", ()), UNKNOWN_EXPANSION, "expand"),
        )  # fmt: skip

    def _wants(self, asked: Asked, shape: Shape) -> bool:
        return bool(asked.fields or asked.expand or self._versions.since(asked.version, shape.operation))

    async def _answer(self, scope: Scope, asked: Asked, start: Message, body: bytes, receive: Receive, send: Send) -> None:
        try:
            document = await self._shaped(scope, asked, self._shapes[scope["endpoint"]], json.loads(body))
        except Problem as problem:
            await _refuse(scope, problem, receive, send)
            return
        content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        headers = MutableHeaders(scope=start)
        headers["Content-Length"] = str(len(content))
        if (noted := seen.get()) is not None and SEEN not in scope:
            # What was added has its own.
            _tell(headers, noted, scope)
        if asked.fields:
            headers["Content-Type"] = PARTIAL
        await send(start)
        await send({"type": "http.response.body", "body": content})

    async def _shaped(self, scope: Scope, asked: Asked, shape: Shape, document: Any) -> Any:
        must_be_references(asked.expand, shape)
        things = shape.things(document)
        expanded = await self._expansions(scope, asked, shape, things)
        for change in self._versions.since(asked.version, shape.operation):
            things = [change.back(each) for each in things]
        if expanded:
            things = [{**each, EXPANDED: more} for each, more in zip(things, expanded, strict=True)]
        # An older form may have names of its own.
        older: Mask = {name: {} for each in things for name in each}
        mask = mask_of(asked.fields, older | dict(shape.fields))
        return shape.of(document, [masked(each, mask) for each in things])

    async def _expansions(self, scope: Scope, asked: Asked, shape: Shape, things: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What each thing refers to, by name; null where it leads to nothing, or to nothing that the caller may see."""
        if not asked.expand:
            return []
        leads = [{name: _href(each, *shape.references[name]) for name in asked.expand} for each in things]
        wanted = sorted({href for each in leads for href in each.values() if href is not None})
        for href in wanted:
            permit(scope["state"]["caller"], "GET", href)
        places = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            under_way = {href: tasks.create_task(self._fetch(scope, href, places), name=f"expand {href}") for href in wanted}
        found = {href: task.result() for href, task in under_way.items()}
        if any(each.status == 503 for each in found.values()):
            raise Problem(READS_UNAVAILABLE, READS_UNAVAILABLE.meaning, headers={"Retry-After": "1"})
        return [
            {name: None if href is None or found[href].status != 200 else found[href].document for name, href in each.items()}
            for each in leads
        ]

    async def _fetch(self, scope: Scope, href: str, places: asyncio.Semaphore) -> Fetched:
        given = parse_qs(scope["query_string"].decode("latin-1"))
        query = urlencode({name: given[name] for name in _PASSED_ON if name in given}, doseq=True)
        asking: dict[str, Any] = {name: scope[name] for name in _SCOPE if name in scope} | {
            "method": "GET", "path": href, "raw_path": quote(href).encode(), "query_string": query.encode("latin-1"),
            "headers": [(name, value) for name, value in scope["headers"] if name not in _OWN], SEEN: seen.get(),
        }  # fmt: skip
        status, body = 0, bytearray()

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def take(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                body.extend(message.get("body", b""))

        async with places:
            await self(asking, nothing, take)
        return Fetched(status, json.loads(body) if status == 200 else None)


def _instead(scope: Scope, given: Headers, asked: Asked, noted: Seen, headers: MutableHeaders) -> Response | None:
    """Another answer to a read that found what it was asked for: that it is known, or that nobody would take it.

    The tag is the version of one stream: of an answer that others had a part in it does not tell whether it is the same.
    """
    tag, has = headers.get("etag"), given.get("if-none-match")
    if has is not None and tag is not None and noted.reads == 1 and not asked.expand and is_known(has, tag):
        kept = {name: value for name, value in headers.items() if not name.startswith("content-")}
        return Response(status_code=304, headers=kept)
    if headers.get("content-type", "").startswith(_JSON):
        try:
            must_be_acceptable(given, *([_JSON, PARTIAL] if asked.fields else [_JSON]))
        except Problem as problem:
            return render(scope["path"], trace_of(scope).trace_id.hex(), problem)
    return None


def _tell(headers: MutableHeaders, noted: Seen, scope: Scope) -> None:
    """Up to where it is true, of an answer of the present; what is of the past says so itself, and nothing is noted for it."""
    if reach := str(noted):
        ports: Ports = scope["app"].state.ports
        headers[POSITION] = write_seen(reach, ports.clock())


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _href(thing: Mapping[str, Any], field: str, address: str) -> str | None:
    value = thing[field]
    return None if value is None or value == "" else address.format(value)


def _is_whole(message: Message, headers: MutableHeaders) -> bool:
    return 200 <= message["status"] < 300 and headers.get("Content-Type", "").startswith(_JSON)


async def _refuse(scope: Scope, problem: Problem, receive: Receive, send: Send) -> None:
    await render(scope["path"], trace_of(scope).trace_id.hex(), problem)(scope, receive, send)
