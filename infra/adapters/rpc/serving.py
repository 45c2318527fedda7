"""The gRPC view: what the routes answer, asked of them within the process, and the events as they come; to the same keys."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import grpc
from fastapi import FastAPI
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from api.auth import ON_BEHALF, Caller, permit, recognise, still_opens
from api.cloudevents import as_json, cloud_event
from api.event_stream import resumed
from api.limiter import Limiter
from api.ports import Ports
from api.problems import INVALID_REQUEST, NOT_FOUND, ORGANISATION_NEEDED, READS_UNAVAILABLE, UNAUTHENTICATED, Problem
from api.trace import Trace, begin
from api.within import Asker, Within
from events.registry import type_of
from infra.adapters.rpc.certificate import ServerCertificate
from infra.adapters.rpc.messages import PACKAGE, SERVICES, filled, message, pool, service
from infra.adapters.rpc.refusals import of_document, of_problem
from projections.feed import chosen
from projections.feed_names import Resume

_LONGEST_SECONDS = 30.0
_BEAT_SECONDS = 2.0
_GRACE_SECONDS = 2.0
_LARGEST_REQUEST = 64 * 1024
_MOST_TYPES = 50
_PATHS: Mapping[str, str] = {
    "GetCall": "/v1/calls/{id}", "ListCalls": "/v1/calls", "ListTimeline": "/v1/calls/{id}/timeline", "GetAgent": "/v1/agents/{id}",
    "ListAgents": "/v1/agents", "GetNumber": "/v1/numbers/{id}", "ListNumbers": "/v1/numbers", "GetFlag": "/v1/flags/{id}",
    "ListFlags": "/v1/flags", "GetEvent": "/v1/events/{id}",
}  # fmt: skip
_EVENTS = "/v1/events"
_TOLD = ("aybiza-as-of", "aybiza-position", "etag", "warning")
"""Headers of the routes' answers that are told behind ours."""
Context: TypeAlias = Any
"""`grpc.aio.ServicerContext`, which has no types."""


class _Asked(NamedTuple):
    caller: Caller
    organisation: str
    trace: Trace


class View:
    """Answers calls. `within` asks the API's routes."""

    def __init__(self, ports: Ports, within: Within, now: Callable[[], float]) -> None:
        self._ports = ports
        self._within = within
        self._limiter = Limiter(ports.limits, (ports.reads, ports.writes, ports.dear), now)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """One for each service."""
        made = []
        for name in SERVICES:
            methods = {method.name: self._handler(method) for method in service(name).methods}
            made.append(grpc.method_handlers_generic_handler(name, methods))
        return made

    def _handler(self, method: Any) -> Any:
        takes, gives = (message(each.full_name) for each in (method.input_type, method.output_type))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._follow, takes.FromString, gives.SerializeToString)

        async def answer(request: Any, context: Context) -> Any:
            return await self._answer(_PATHS[method.name], gives.DESCRIPTOR.full_name, request, context)

        return grpc.unary_unary_rpc_method_handler(answer, takes.FromString, gives.SerializeToString)

    async def _answer(self, path: str, kind: str, request: Any, context: Context) -> Any:
        trace = self._trace(context)
        try:
            asked, query = self._asked(context, trace), _query(request)
            remaining = context.time_remaining()
            async with asyncio.timeout(_LONGEST_SECONDS if remaining is None else min(remaining, _LONGEST_SECONDS)):
                await self._limiter.admit(asked.caller.actor, "GET", path, urlencode(query).encode())
                try:
                    found = await self._within(Asker(asked.caller, trace), _path(path, request), query)
                finally:
                    self._limiter.leave(asked.caller.actor)
        except Problem as problem:
            await _abort(context, of_problem(problem, trace.trace_id.hex()))
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The answer was not there in time.")
        else:
            told = tuple((name, found.told[name]) for name in _TOLD if name in found.told)
            if found.status == 200:
                context.set_trailing_metadata(told)
                return filled(kind, found.document)
            await _abort(context, of_document(found.document, trace.trace_id.hex(), found.told.get("retry-after")), told)

    async def _follow(self, request: Any, context: Context) -> AsyncIterator[Any]:
        trace, ports = self._trace(context), self._ports
        try:
            asked, at = await self._begun(request, context, trace)
        except Problem as problem:
            await _abort(context, of_problem(problem, trace.trace_id.hex()))
            return
        wanted = chosen(request.types)
        # The client knows that it is heard before anything happens.
        await context.send_initial_metadata((("aybiza-trace-id", trace.trace_id.hex()),))
        async with aclosing(ports.feed.follow(asked.organisation, at, beat_seconds=_BEAT_SECONDS)) as facts:
            async for fact in facts:
                if not still_opens(ports, asked.caller):
                    break
                if fact is not None and wanted(type_of(fact.recorded.fact).ce_type):
                    event = cloud_event(ports.keyring, fact.recorded)
                    yield _event(event, fact.name)
        if still_opens(ports, asked.caller):
            stopped = Problem(READS_UNAVAILABLE, "This process stops; go on at another one.")
            await _abort(context, of_problem(stopped, trace.trace_id.hex()))
        closed = Problem(UNAUTHENTICATED, "The key opens nothing any more.")
        await _abort(context, of_problem(closed, trace.trace_id.hex()))

    async def _begun(self, request: Any, context: Context, trace: Trace) -> tuple[_Asked, Resume | None]:
        """Raises Problem."""
        asked, feed = self._asked(context, trace), self._ports.feed
        permit(asked.caller, "GET", _EVENTS)
        await self._limiter.admit(asked.caller.actor, "GET", _EVENTS)
        self._limiter.leave(asked.caller.actor)
        if len(request.types) > _MOST_TYPES:
            raise Problem(INVALID_REQUEST, f"At most {_MOST_TYPES} types are told apart.")
        if feed.full(asked.organisation):
            raise Problem(READS_UNAVAILABLE, "Nobody more can listen here now.", headers={"Retry-After": "5"})
        return asked, await resumed(feed.vectors, request.after[:20_000])

    def _trace(self, context: Context) -> Trace:
        return begin(_metadata(context).get("traceparent", "").encode() or None, self._ports.draw)

    def _asked(self, context: Context, trace: Trace) -> _Asked:
        """Who asks, and for whom. Raises Problem."""
        metadata = _metadata(context)
        authorization = metadata.get("authorization")
        if authorization is None:
            raise Problem(UNAUTHENTICATED, UNAUTHENTICATED.meaning)
        who = recognise(authorization, metadata.get(ON_BEHALF.lower()), self._ports)
        self._ports.last_use.note(who.organisation_id, who.actor, self._ports.clock())
        if who.organisation_id is None:
            raise Problem(ORGANISATION_NEEDED, ORGANISATION_NEEDED.meaning)
        return _Asked(who, who.organisation_id, trace)


async def _abort(context: Context, status: Any, told: tuple[tuple[str, str], ...] = ()) -> None:
    await context.abort(status.code, status.details, (*status.trailing_metadata, *told))


def _metadata(context: Context) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value.decode("latin-1") for name, value in context.invocation_metadata() or ()}


def _path(path: str, request: Any) -> str:
    if "{id}" not in path:
        return path
    if not request.id or "/" in request.id or len(request.id) > 200:
        raise Problem(NOT_FOUND, "There is no such thing.")
    return path.format(id=quote(request.id, safe=""))


def _query(request: Any) -> dict[str, Any]:
    named = {field.name: value for field, value in request.ListFields() if field.name != "id"}
    return {name.replace("_", "-"): list(value) if name == "min_position" else value for name, value in named.items()}


def _event(event: dict[str, Any], name: str) -> Any:
    return filled(f"{PACKAGE}.Event", json.loads(as_json(event)) | {"resume_token": name})


@asynccontextmanager
async def serving_grpc(
    app: FastAPI, address: str, now: Callable[[], float], certificate: ServerCertificate | None = None
) -> AsyncIterator[int]:
    """Serve until the block ends, by TLS with a certificate; the value is the port. Whoever follows goes on elsewhere. Raises OSError."""
    ports: Ports = app.state.ports
    credentials = None if certificate is None else certificate.credentials()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _LARGEST_REQUEST), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(tuple(View(ports, app.state.within, now).handlers()))
    how = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(how, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server, pool=pool())
    try:
        port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    except RuntimeError as cause:
        raise OSError(f"gRPC cannot listen at {address}: choose another AYBIZA_GRPC_PORT") from cause
    await server.start()
    try:
        for name in ("", *SERVICES):
            await how.set(name, health_pb2.HealthCheckResponse.SERVING)
        yield port
    finally:
        await how.enter_graceful_shutdown()
        await server.stop(_GRACE_SECONDS)
