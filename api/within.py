"""Asks the API itself for a caller who is known already: the same scopes, the same walls, the same answers, without a socket."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode

from starlette.types import ASGIApp, Message

from api.auth import Caller
from api.trace import Trace
from projections.queries import Seen

WITHIN = "aybiza.within"
"""In the scope of such a request: who asks, and in which trace. Nothing from outside can put it there."""


SEEN = "aybiza.seen"
"""In the scope of a request for a part of an answer: where it is noted up to where the whole is true (`projections.queries.Seen`)."""


class Asker(NamedTuple):
    """`seen`: where the answers note up to where they are true, instead of each telling it."""

    caller: Caller
    trace: Trace
    seen: Seen | None = None


class Answer(NamedTuple):
    """`document`: the answer's JSON; a problem document where it is one. `told`: its headers, named in small letters."""

    status: int
    document: dict[str, Any]
    told: Mapping[str, str]


class Within:
    """Reads what routes answer to GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, asker: Asker, path: str, query: Mapping[str, object] | None = None) -> Answer:
        """What the route at `path` (percent-encoded) answers. What is None in the query is left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": unquote(path),
            "raw_path": path.encode(), "query_string": urlencode(given, doseq=True).encode(), "root_path": "", "headers": [],
            "client": None, "server": None, "state": {}, WITHIN: asker, SEEN: asker.seen,
        }  # fmt: skip
        status, body = 0, bytearray()
        told: dict[str, str] = {}

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def take(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told.update((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message.get("headers", ()))
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, nothing, take)
        return Answer(status, json.loads(body), told)
