"""From a fact's acknowledgement to a thousand programs that listen to server-sent events of one process: `make bench NAME=listeners`."""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import aiohttp
import structlog
import uvloop

from tests.benchmarks.figures import Figure, show
from tests.benchmarks.served import Served, at, must, served, told

LISTENERS = int(os.environ.get("LISTENERS", "1000"))
EVENTS, WARM_UP = 40, 5
_SECONDS = 30.0


class Audience:
    """When each event was heard by each listener."""

    def __init__(self) -> None:
        self.listening = 0
        self.heard: dict[str, list[float]] = {}
        self.moved = asyncio.Event()
        # A key may have 64 requests begun at once.
        self.door = asyncio.Semaphore(32)

    def all_heard(self, variant: str) -> bool:
        return len(self.heard.get(variant, ())) >= LISTENERS

    def hear(self, message: bytes) -> None:
        line = next((each for each in message.splitlines() if each.startswith(b"data: ")), None)
        if line is None:
            return
        now = time.perf_counter()
        variant = json.loads(line[6:])["data"].get("variant")
        self.heard.setdefault(variant, []).append(now)
        self.moved.set()


async def listen(http: aiohttp.ClientSession, audience: Audience) -> None:
    """One program."""
    async with AsyncExitStack() as stack:
        async with audience.door:
            answer = await stack.enter_async_context(http.get("/v1/events", params={"types": "flag-set"}))
            if answer.status != 200:
                raise SystemExit(f"a listener was refused: {await answer.text()}")
            await answer.content.readuntil(b"\n\n")
        audience.listening += 1
        audience.moved.set()
        left = b""
        async for part in answer.content.iter_any():
            *whole, left = (left + part).split(b"\n\n")
            for message in whole:
                audience.hear(message)


@asynccontextmanager
async def listened(house: Served, audience: Audience) -> AsyncIterator[None]:
    """All of them, within."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(house.url, headers=house.http.headers, connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        )
        tasks = [asyncio.create_task(listen(http, audience)) for _ in range(LISTENERS)]
        try:
            await until(audience, lambda: audience.listening >= LISTENERS)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def until(audience: Audience, so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_SECONDS):
        while not so():
            audience.moved.clear()
            await audience.moved.wait()


async def measure() -> list[Figure]:
    slowest, everybody = [], []
    async with served("api", "projections") as house:
        audience = Audience()
        async with listened(house, audience):
            told("listeners", f"{audience.listening} listen")
            cpu = house.cpu_seconds()
            for number in range(WARM_UP + EVENTS):
                variant = f"v{number}"
                async with house.http.put("/v1/flags/bench", json={"enabled": True, "variant": variant, "description": ""}) as answer:
                    await must(answer)
                begun = time.perf_counter()
                await until(audience, partial(audience.all_heard, variant))
                if number >= WARM_UP:
                    taken = [(moment - begun) * 1000 for moment in audience.heard[variant]]
                    slowest.append(max(taken))
                    everybody += taken
            each = (house.cpu_seconds() - cpu) / (WARM_UP + EVENTS) / LISTENERS * 1e6
    everybody.sort()
    slowest.sort()
    return [
        Figure(figure="event_to_a_listener_p50", value=at(everybody, 50), unit="ms", better="lower"),
        Figure(figure="event_to_a_listener_p99", value=at(everybody, 99), unit="ms", better="lower", target=100),
        Figure(figure="event_to_the_last_listener_median", value=at(slowest, 50), unit="ms", better="lower", target=100),
        Figure(figure="event_to_the_last_listener_worst", value=round(slowest[-1], 2), unit="ms", better="lower", target=100),
        Figure(figure="cpu_per_event_and_listener", value=round(each, 1), unit="us", better="lower"),
    ]


async def main() -> None:
    show("listeners", f"{LISTENERS} listeners in one process; this one hears them all", await measure(), listeners=LISTENERS)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    uvloop.run(main())
