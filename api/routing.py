"""The rooms' routes by the first words of their paths: a request finds its own without trying all of them."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor
from starlette.routing import BaseRoute, Match, NoMatchFound, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from api.prepared import prepared

_MATCHED = "aybiza.matched"


class Direct(BaseRoute):
    """Stands before the routers in which the same routes are, and takes the requests that it knows: path, method and all.

    Whatever it does not know the routers answer, with a 404, a 405, or a route whose first word may be anything.
    """

    def __init__(self, routers: Iterable[APIRouter], prefix: str) -> None:
        self._prefix = prefix + "/"
        self._known: defaultdict[tuple[str, str, int], list[tuple[Callable[[str], Any], APIRoute, ASGIApp]]] = defaultdict(list)
        for router in routers:
            for route in router.routes:
                if isinstance(route, APIRoute):
                    self._add(prefix + route.path, route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and not scope.get("root_path"):
            path: str = scope["path"]
            if path.startswith(self._prefix):
                for match, route, app in self._known.get((scope["method"], *_first_word(path, self._prefix)), ()):
                    found = match(path)
                    if found is not None:
                        given = {"path_params": found.groupdict(), "endpoint": route.endpoint, "route": route, _MATCHED: app}
                        return Match.FULL, given
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope[_MATCHED](scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)

    def _add(self, path: str, route: APIRoute) -> None:
        pattern, _, convertors = compile_path(path)
        word, depth = _first_word(path, self._prefix)
        # A parameter that is a number, or a path of its own, is for the router: it converts, and spans several words.
        if "{" in word or any(type(each) is not StringConvertor for each in convertors.values()):
            return
        app = prepared(route)
        for method in route.methods or ():
            self._known[method, word, depth].append((pattern.match, route, app))


def _first_word(path: str, prefix: str) -> tuple[str, int]:
    """Behind the prefix; and how many words there are."""
    return path[len(prefix) :].partition("/")[0], path.count("/")
