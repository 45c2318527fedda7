"""What every request passes before a route sees it: it gets a trace, its caller is known, its body is whole and of a sane size."""

import asyncio
import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import ON_BEHALF, Caller, permit, recognise
from api.limiter import Limiter
from api.negotiating import HEAD, without_body
from api.origins import asked_beforehand, read_by_page
from api.ports import Ports
from api.problems import BODY_TOO_DEEP, BODY_TOO_LARGE, REQUEST_TIMEOUT, UNAUTHENTICATED, Problem, render
from api.trace import HEADER, begin, trace_of
from api.within import WITHIN, Asker
from projections.queries import EVERYBODY, asked_for

GUARDED = "/v1"
VIEWS = frozenset({"/graphql"})
"""Other ways to what lies below: each thing that a view fetches is permitted by itself."""
LARGEST_BODY_BYTES = 256 * 1024
DEEPEST_BODY = 32
_BEARER = "bearer."
_BODY_SECONDS = 15.0
# Possessive, and content with an open end: no body makes it look twice at a byte.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


class Disconnected(Exception):
    """The client went away in the middle of its body."""


class Gate:
    """An ASGI middleware. Everything below `/v1` needs a key; a stranger's body is not even read."""

    def __init__(self, app: ASGIApp, *, ports: Ports) -> None:
        self._app = app
        self._ports = ports
        self._limiter = Limiter(ports.limits, (ports.reads, ports.writes, ports.dear), time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        asker: Asker | None = scope.get(WITHIN)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif asker is not None:
            await self._within(asker, scope, receive, send)
        elif (beforehand := asked_beforehand(scope["method"], Headers(scope=scope), self._ports.browser_origins)) is not None:
            await beforehand(scope, receive, send)
        elif scope["method"] == HEAD:
            with suppress(ClientDisconnect):
                await self._request({**scope, "method": "GET"}, receive, without_body(send))
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        traceparent = headers.get("traceparent")
        trace = begin(traceparent.encode() if traceparent else None, self._ports.draw)
        scope.setdefault("state", {})["trace"] = trace

        standing: Mapping[str, str] = {}
        admitted: str | None = None

        async def traced(message: Message) -> None:
            nonlocal admitted
            if message["type"] == "http.response.start":
                answered = dict(message.get("headers", ()))
                if admitted is not None and answered.get(b"content-type", b"").startswith(b"text/event-stream"):
                    # Who listens for hours does not keep others of the key from asking.
                    self._limiter.leave(admitted)
                    admitted = None
                # No route gives these itself, so none is looked for among the others.
                ours = {**standing, HEADER: trace.trace_id.hex(), "X-Content-Type-Options": "nosniff"}
                ours |= read_by_page(headers.get("origin"), scope["state"].get("caller"), self._ports.browser_origins)
                if b"cache-control" not in answered:
                    ours["Cache-Control"] = "no-store"
                added = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in ours.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            views = scope["path"] in VIEWS
            if views or scope["path"] == GUARDED or scope["path"].startswith(GUARDED + "/"):
                who = scope["state"]["caller"] = self._caller(headers)
                if not views:
                    permit(who, scope["method"], scope["path"])
                asked_for.set(EVERYBODY if who.is_operator else who.organisation_id or "")
                standing = await self._limiter.admit(who.actor, scope["method"], scope["path"], scope["query_string"])
                admitted = who.actor
            body = await _whole_body(headers, receive)
        except Problem as problem:
            await _refusal(scope, problem)(scope, receive, traced)
        except Disconnected:
            return
        else:
            await self._app(scope, replayed(body, receive), traced)
        finally:
            if admitted is not None:
                self._limiter.leave(admitted)

    async def _within(self, asker: Asker, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of a request that was let in already: what it asks is permitted as if it came by itself."""
        scope["state"].update(trace=asker.trace, caller=asker.caller)
        try:
            permit(asker.caller, scope["method"], scope["path"])
        except Problem as problem:
            await _refusal(scope, problem)(scope, receive, send)
            return
        asked_for.set(EVERYBODY if asker.caller.is_operator else asker.caller.organisation_id or "")
        await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket's beginning is a request to read; while it is open it keeps no other of its key from being answered."""
        headers = Headers(scope=scope)
        traceparent = headers.get("traceparent")
        trace = begin(traceparent.encode() if traceparent else None, self._ports.draw)
        scope.setdefault("state", {})["trace"] = trace
        try:
            if scope["path"].startswith(GUARDED + "/"):
                who = scope["state"]["caller"] = self._caller(headers, scope.get("subprotocols", ()))
                permit(who, "GET", scope["path"])
                asked_for.set(EVERYBODY if who.is_operator else who.organisation_id or "")
                await self._limiter.admit(who.actor, "GET", scope["path"])
                self._limiter.leave(who.actor)
        except Problem as problem:
            await _refusal(scope, problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _caller(self, headers: Headers, subprotocols: Collection[str] = ()) -> Caller:
        authorization = headers.get("authorization")
        if authorization is None:
            # A browser can give a WebSocket no header but this one.
            offered = [each.removeprefix(_BEARER) for each in subprotocols if each.startswith(_BEARER)]
            authorization = f"Bearer {offered[0]}" if offered else None
        if authorization is None:
            raise Problem(UNAUTHENTICATED, UNAUTHENTICATED.meaning, headers={"WWW-Authenticate": 'Bearer realm="aybiza"'})
        who = recognise(authorization, headers.get(ON_BEHALF), self._ports)
        self._ports.last_use.note(who.organisation_id, who.actor, self._ports.clock())
        return who


def _refusal(scope: Scope, problem: Problem) -> Response:
    return render(scope["path"], trace_of(scope).trace_id.hex(), problem)


async def _whole_body(headers: Headers, receive: Receive) -> bytes:
    announced = headers.get("content-length", "0")
    if announced == "0" and "transfer-encoding" not in headers:
        # There is none, so nobody waits for it.
        return await _read(receive)
    if announced.isdigit() and int(announced) > LARGEST_BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await _read(receive)
    except TimeoutError as cause:
        raise Problem(REQUEST_TIMEOUT, REQUEST_TIMEOUT.meaning, headers={"Connection": "close"}) from cause
    must_be_shallow(body)
    return body


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _too_large() -> Problem:
    return Problem(BODY_TOO_LARGE, f"The body has more than {LARGEST_BODY_BYTES} bytes.", headers={"Connection": "close"})


def must_be_shallow(body: bytes) -> None:
    """Raises Problem where brackets lie too deep in each other, strings left out; whatever else the body is."""
    if body.count(b"{") + body.count(b"[") <= DEEPEST_BODY:
        return
    deepest = depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > DEEPEST_BODY:
        raise Problem(BODY_TOO_DEEP, f"The body is nested more than {DEEPEST_BODY} deep.")


def replayed(body: bytes, receive: Receive) -> Receive:
    """A request's body that was read whole already, to be read once more; then what comes next."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
