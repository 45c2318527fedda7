"""The demo business is opened on a platform that is not ready yet: what could not be answered is asked again under its key."""

from collections import Counter

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from infra.apps.demo_business import opening
from infra.apps.demo_business.opening import OpeningFailed, open_business


class Busy:
    """Answers a step once it has refused it as often as it is told to."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        self.asked[key] += 1
        if self.asked[key] <= self.refusals:
            return web.json_response({"detail": "not yet"}, status=503, headers={"Retry-After": "0"})
        return web.json_response({"id": "one"}, status=201, headers={"Aybiza-Position": "p"})

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        return TestServer(app)


class TestOpening:
    async def test_asks_again_under_the_same_key_what_could_not_be_answered(self) -> None:
        busy = Busy(refusals=2)
        async with busy.server() as server:
            business = await open_business(str(server.make_url("/")), "key")
        assert len(business.positions) == 5
        assert list(busy.asked.values()) == [3] * 5

    async def test_gives_up_at_last_with_the_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "_TRIES", 3)
        busy = Busy(refusals=100)
        async with busy.server() as server:
            with pytest.raises(OpeningFailed, match="not yet"):
                await open_business(str(server.make_url("/")), "key")
        assert list(busy.asked.values()) == [3]
