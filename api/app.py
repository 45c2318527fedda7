"""The HTTP application: every room's routes, behind one gate, with one way to say no."""

import time

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api import (
    access,
    agents,
    analytics,
    call_stream,
    calls,
    consents,
    credentials,
    environments,
    event_stream,
    exports,
    flags,
    front,
    joining,
    lookup,
    memberships,
    numbers,
    oauth,
    openapi,
    operations,
    organisations,
    people,
    problems,
    signing_in,
    summaries,
    turns,
    upkeep,
    usage,
    webhooks,
)
from api.gate import GUARDED, Gate
from api.graph import route as graph
from api.negotiating import HEAD
from api.ports import Ports
from api.routing import Direct
from api.shapes import shapes_of
from api.shaping import Conventions
from api.throttle import Throttle
from api.within import Within

VERSION = "1"
_ROOMS = (organisations, agents, numbers, consents, calls, usage, flags, environments, operations, exports,
    event_stream, call_stream, turns, webhooks, lookup, upkeep, people, memberships, credentials, analytics, summaries, access)  # fmt: skip
_ALWAYS = problems.answers(
    problems.UNAUTHENTICATED, problems.SCOPE_MISSING, problems.ORGANISATION_NEEDED, problems.BAD_REQUEST, problems.BAD_CURSOR,
    problems.BAD_POSITION, problems.BAD_AS_OF, problems.BAD_PRECONDITION, problems.UNKNOWN_FIELD,
    problems.UNKNOWN_EXPANSION, problems.UNKNOWN_VERSION, problems.REQUEST_TIMEOUT, problems.BODY_TOO_LARGE,
    problems.BODY_TOO_DEEP, problems.INVALID_REQUEST, problems.TOO_MANY, problems.TOO_MANY_AT_ONCE, problems.KEY_REUSED,
    problems.TOO_LARGE, problems.INTERNAL, problems.LOG_UNAVAILABLE, problems.IN_DOUBT, problems.IN_FLIGHT, problems.READS_UNAVAILABLE,
    problems.NOT_ACCEPTABLE, problems.UNSUPPORTED_MEDIA_TYPE,
)  # fmt: skip


_WAYS_IN = (signing_in, joining, oauth)
_AT_THE_DOOR = problems.answers(
    problems.BAD_REQUEST, problems.REQUEST_TIMEOUT, problems.BODY_TOO_LARGE, problems.BODY_TOO_DEEP, problems.INVALID_REQUEST,
    problems.INTERNAL, problems.LOG_UNAVAILABLE, problems.IN_DOUBT,
)  # fmt: skip


def create_app(ports: Ports) -> FastAPI:
    """Wire the API. It starts and stops nothing: what the ports stand on is opened and closed by the root."""
    app = FastAPI(
        title="AYBIZA", version=VERSION, redirect_slashes=False, docs_url=None, redoc_url=None, openapi_url=None,
        generate_unique_id_function=_operation_id, openapi_tags=openapi.TAGS, telemetry={"tracing": False, "metrics": False, "logs": False},
    )  # fmt: skip
    app.state.ports = ports
    app.state.within = Within(app)
    app.state.under_way = {}
    app.state.pages = openapi.Pages()
    shapes = shapes_of(route for room in _ROOMS for route in room.router.routes if isinstance(route, APIRoute))
    app.add_middleware(Conventions, shapes=shapes, versions=ports.versions)
    app.add_middleware(Gate, ports=ports)
    problems.install(app, _methods_at)
    openapi.install(app, _ALWAYS, list(shapes.values()), ports.versions)
    app.router.routes.append(Direct([room.router for room in _ROOMS], GUARDED))
    app.include_router(front.pages)
    app.include_router(front.router)
    app.state.throttle = Throttle(ports.limits, time.monotonic)
    for way_in in _WAYS_IN:
        app.include_router(way_in.router, responses=_AT_THE_DOOR)
    app.include_router(graph.router)
    for room in _ROOMS:
        app.include_router(room.router, prefix=GUARDED, responses=_ALWAYS)
    return app


def _methods_at(path: str) -> set[str]:
    routers = [
        ("", front.pages),
        ("", front.router),
        ("", graph.router),
        *(("", way_in.router) for way_in in _WAYS_IN),
        *((GUARDED, room.router) for room in _ROOMS),
    ]
    there_are = {
        method
        for prefix, router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.path_regex.match(path.removeprefix(prefix))
        for method in route.methods or ()
    }
    return there_are | {HEAD} if "GET" in there_are else there_are


def _operation_id(route: APIRoute) -> str:
    return route.name
