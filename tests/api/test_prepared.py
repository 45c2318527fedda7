"""A prepared route answers as FastAPI's own does, whatever it is asked."""

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.prepared import Prepared, prepared
from api.routing import Direct

router = APIRouter(prefix="/things")


class Thing(BaseModel, extra="forbid"):
    name: str
    size: int = 1


class Seen(BaseModel):
    name: str
    size: int
    key: str | None
    tags: list[str] | None
    limit: int
    asked: list[str]


Key = Annotated[str | None, Header(alias="The-Key", max_length=5)]
Tags = Annotated[list[str] | None, Query()]
Most = Annotated[int, Query(ge=1)]


async def asking(request: Request) -> list[str]:
    asked = [*getattr(request.state, "asked", []), f"{request.method} of {len(await request.body())}"]
    request.state.asked = asked
    return asked


async def keyed(asked: Annotated[list[str], Depends(asking)], response: Response, key: Key = None) -> str | None:
    response.headers["Asked"] = str(len(asked))
    if key == "stop":
        raise RuntimeError("a dependency said no")
    return key


Keyed = Annotated[str | None, Depends(keyed)]
Asked = Annotated[list[str], Depends(asking)]


@router.put("/{name}")
async def put(name: str, body: Thing, key: Keyed, asked: Asked, response: Response, tags: Tags = None, limit: Most = 3) -> Seen:
    if body.size > 100:
        response.status_code = 202
    return Seen(name=name + body.name, size=body.size, key=key, tags=tags, limit=limit, asked=asked)


@router.post("/{name}", status_code=201)
async def post(name: str, body: Annotated[Thing | None, Body()] = None) -> Thing:
    return body or Thing(name=name)


@router.get("/{size}/of")
async def get(size: int, at: Annotated[str, Query()], mark: Annotated[str, Header()]) -> Thing:
    return Thing(name=at + mark, size=size)


@router.delete("/{name}")
async def delete(name: str) -> Thing:
    return Response(name, 410)  # type: ignore[return-value]


@router.get("/file", response_class=Response)
async def file() -> Response:
    return Response(b"abc", media_type="text/plain")


@router.patch("/wrong")
async def wrong() -> Thing:
    return "nothing of the kind"  # type: ignore[return-value]


def asked_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api")


def both() -> tuple[FastAPI, FastAPI]:
    """One that has prepared the routes, and one that leaves them to FastAPI."""
    apps = FastAPI(), FastAPI()
    apps[0].router.routes.append(Direct([router], "/v1"))
    for app in apps:
        app.include_router(router, prefix="/v1")

        async def said(_: Request, error: Exception) -> Response:
            return Response(str(error), 418)

        app.add_exception_handler(RuntimeError, said)
    return apps


JSON = {"Content-Type": "application/json"}


class TestAPreparedRoute:
    def test_is_every_route_that_shows_a_model(self) -> None:
        made = {route.name: isinstance(prepared(route), Prepared) for route in router.routes if isinstance(route, APIRoute)}
        assert made == {"put": True, "post": True, "get": True, "delete": True, "file": False, "wrong": True}

    @pytest.mark.parametrize(
        ("method", "path", "headers", "content"),
        [
            ("PUT", "a", JSON, '{"name": "b"}'),
            ("PUT", "a%20b?limit=2&tags=x&tags=y", {**JSON, "The-Key": "k"}, '{"name": "b", "size": 101}'),
            ("PUT", "a?limit=0", JSON, '{"name": "b"}'),
            ("PUT", "a?limit=x&tags=1", {**JSON, "The-Key": "too long"}, '{"name": 1}'),
            ("PUT", "a", {**JSON, "The-Key": "stop"}, '{"name": "b"}'),
            ("PUT", "a", {**JSON, "The-Key": "stop"}, '{"name": 7}'),
            ("PUT", "a", {"Content-Type": "application/json; charset=utf-8"}, '{"name": "b"}'),
            ("PUT", "a", {"Content-Type": "text/plain"}, '{"name": "b"}'),
            ("PUT", "a", {}, '{"name": "b"}'),
            ("PUT", "a", JSON, '{"name": "b"'),
            ("PUT", "a", JSON, b"\xff"),
            ("PUT", "a", JSON, "null"),
            ("PUT", "a", JSON, ""),
            ("POST", "a", JSON, '{"name": "b", "size": 2}'),
            ("POST", "a", JSON, "null"),
            ("POST", "a", {}, ""),
            ("POST", "a", JSON, '{"name": "b", "other": 2}'),
            ("GET", "7/of?at=x", {"Mark": "y"}, ""),
            ("GET", "7/of", {"Mark": "y"}, ""),
            ("GET", "7/of?at=x", {}, ""),
            ("GET", "x/of?at=x", {"Mark": "y"}, ""),
            ("DELETE", "a", {}, ""),
            ("GET", "file", {}, ""),
            ("PATCH", "wrong", {}, ""),
        ],
    )
    async def test_answers_as_fastapi_does(self, method: str, path: str, headers: dict[str, str], content: str | bytes) -> None:
        answers = []
        for app in both():
            async with asked_of(app) as client:
                answer = await client.request(method, f"/v1/things/{path}", headers=headers, content=content)
                answers.append((answer.status_code, answer.headers.multi_items(), answer.content))
        assert answers[0] == answers[1]
