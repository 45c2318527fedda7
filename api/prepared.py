"""What a route does with each request, found out once beforehand; where something is wrong with a request, FastAPI says what."""

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import ResponseValidationError
from fastapi.params import Body
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from starlette.types import ASGIApp, Receive, Scope, Send

from api.gate import replayed

_JSON = b"application/json"
# A field as FastAPI made it of a parameter, which is a type that it does not name in public.
_Field: TypeAlias = Any
_Values: TypeAlias = dict[str, Any]
# Values that nobody can change, so that every request may have the same one.
_CONSTANT = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A function to call: a dependency, or in the end the route's own. `uses` names its arguments that earlier steps gave.

    `wanted` are the headers that it looks for; `absent` is what it is given for parameters that are not there, unless some are `required`.
    """

    call: Callable[..., Awaitable[Any]]
    path: tuple[tuple[str, str, _Field], ...]
    query: Sequence[_Field]
    header: Sequence[_Field]
    wanted: frozenset[bytes]
    absent: Mapping[str, Any]
    required: bool
    request: str | None
    response: str | None
    uses: tuple[tuple[str, int], ...]

    def taken(self, request: Request) -> _Values | None:
        """The arguments that come from path, query and headers; None where one is not as it should be."""
        values = dict(self.absent)
        for name, alias, field in self.path:
            values[name], wrong = field.validate(request.path_params[alias], {}, loc=())
            if wrong:
                return None
        scope = request.scope
        if self.query and (scope["query_string"] or self.required):
            given, wrong = request_params_to_args(self.query, request.query_params)
            if wrong:
                return None
            values |= given
        if self.wanted and (self.required or not self.wanted.isdisjoint([name for name, _ in scope["headers"]])):
            given, wrong = request_params_to_args(self.header, request.headers)
            if wrong:
                return None
            values |= given
        if self.request is not None:
            values[self.request] = request
        return values


class Prepared:
    """The app of a route. FastAPI's own (`route.app`) finds all this out anew for each request, and takes five times as long.

    Nothing is called before everything that the request brings was found to be as it should be.
    """

    def __init__(self, route: APIRoute, steps: Sequence[_Step], body: _Field | None) -> None:
        self._route = route
        self._steps = steps
        self._body = body
        self._answers = any(step.response is not None for step in steps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        content = b"" if self._body is None else await request.body()
        arguments = self._arguments(request, content)
        if arguments is None:
            await self._route.app(scope, replayed(content, receive) if self._body is not None else receive, send)
            return
        aside = None
        if self._answers:
            # What a step writes into: headers of the answer, and its status where it is another than usual.
            aside = Response(status_code=204)
            aside.status_code = None  # type: ignore[assignment]
        given: list[Any] = []
        for step, values in zip(self._steps, arguments, strict=True):
            if step.response is not None:
                values[step.response] = aside
            for name, number in step.uses:
                values[name] = given[number]
            given.append(await step.call(**values))
        await self._answer(given[-1], aside)(scope, receive, send)

    def _arguments(self, request: Request, content: bytes) -> list[_Values] | None:
        arguments: list[_Values] = []
        for step in self._steps:
            taken = step.taken(request)
            if taken is None:
                return None
            arguments.append(taken)
        if self._body is not None:
            if not content or next((value for name, value in request.scope["headers"] if name == b"content-type"), b"") != _JSON:
                return None
            try:
                body, wrong = self._body.validate(json.loads(content), {}, loc=())
            except ValueError:
                return None
            if wrong:
                return None
            arguments[-1][self._body.name] = body
        return arguments

    def _answer(self, made: Any, aside: Response | None) -> Response:
        if isinstance(made, Response):
            return made
        route = self._route
        checked, wrong = route.response_field.validate(made, {}, loc=("response",))  # type: ignore[union-attr]
        if wrong:
            raise ResponseValidationError(errors=wrong, body=made)
        status = (aside.status_code if aside is not None else None) or route.status_code or 200
        content = route.response_field.serialize_json(checked)  # type: ignore[union-attr]
        answer = Response(content if is_body_allowed_for_status_code(status) else b"", status, media_type="application/json")
        if aside is not None:
            answer.raw_headers.extend(aside.raw_headers)
        return answer


def prepared(route: APIRoute) -> ASGIApp:
    """The route's app: FastAPI's own where the route is of a kind that is not known here."""
    dependant, steps = route.dependant, list[_Step]()
    bodies = dependant.body_params
    if (
        route.response_field is None or not isinstance(route.response_class, DefaultPlaceholder) or route.stream_item_field is not None
        or len(bodies) > 1 or not all(type(each.field_info) is Body and not each.field_info.embed for each in bodies)
        or not _taken_in(dependant, steps, {})
    ):  # fmt: skip
        return route.app
    return Prepared(route, steps, bodies[0] if bodies else None)


def _taken_in(dependant: Dependant, steps: list[_Step], known: dict[Any, int]) -> bool:
    """Append the steps by which the function is called, what it depends on first. False where one is of another kind."""
    call = dependant.call
    if call is None or not (inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)):
        return False
    if (
        dependant.cookie_params or dependant.websocket_param_name or dependant.http_connection_param_name
        or dependant.background_tasks_param_name or dependant.security_scopes_param_name or dependant.own_oauth_scopes
        or dependant.concurrency is not None or not dependant.use_cache
    ):  # fmt: skip
        return False
    uses = []
    for each in dependant.dependencies:
        if each.body_params or (each.call not in known and not _taken_in(each, steps, known)):
            return False
        if each.name is not None:
            uses.append((each.name, known[each.call]))
    fields = [*dependant.query_params, *dependant.header_params]
    absent = {field.name: None if field.field_info.is_required() else field.get_default() for field in fields}
    if any(field.field_info.validate_default for field in fields) or not all(isinstance(each, _CONSTANT) for each in absent.values()):
        return False
    steps.append(_Step(
        call=call, path=tuple((field.name, field.alias, field) for field in dependant.path_params), query=dependant.query_params,
        header=dependant.header_params, wanted=frozenset(field.alias.lower().encode() for field in dependant.header_params),
        absent=absent, required=any(field.field_info.is_required() for field in fields), request=dependant.request_param_name,
        response=dependant.response_param_name, uses=tuple(uses),
    ))  # fmt: skip
    known[call] = len(steps) - 1
    return True
