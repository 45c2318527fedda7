"""A receiver of webhooks on the loopback: a real HTTP server that verifies signatures with the standard's own library."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

Behaviour = Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]]


async def takes(_request: web.Request, _event: dict[str, Any]) -> web.Response:
    return web.Response(status=204)


@dataclass(slots=True)
class Receiver:
    """What came, by message: id, event and headers, in its order. `behaves` answers; tests change it."""

    url: str = ""
    behaves: Behaviour = takes
    asked: list[dict[str, Any]] = field(default_factory=list)
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        event = json.loads(body)
        self.asked.append(event)
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        self.changed.set()
        answer = await self.behaves(request, event)
        if answer.status < 300:
            self.taken.append((request.headers["webhook-id"], event))
        self.changed.set()
        return answer

    def verifies(self, secret: str, at: int = -1) -> bool:
        """Whether a message was signed with a secret. Raises what the library raises otherwise."""
        Webhook(secret).verify(self.bodies[at], self.headers[at])
        return True

    @property
    def subjects(self) -> list[str]:
        return [event["subject"] for _, event in self.taken]

    async def until(self, true: Callable[[], bool]) -> None:
        """Returns when it is. Raises TimeoutError."""
        async with asyncio.timeout(120):
            while not true():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    receiving = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiving.receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        receiving.url = f"http://127.0.0.1:{port}/hook"
        yield receiving
    finally:
        await runner.cleanup()
