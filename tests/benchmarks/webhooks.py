"""Signed deliveries a second to one address, and from a fact's acknowledgement to the address: `make bench NAME=webhooks` (EVENTS=)."""

import asyncio
import logging
import os
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
import uvloop
from aiohttp import web

from commands.webhooks import AddWebhook
from events.admission import Fence
from events.flags import FlagSet
from events.streams import StreamId
from infra.adapters.keyfile import open_key_ring
from infra.apps.webhooks import Sending, running_webhooks
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.projection import progress
from tests.projections.log import TestLog, open_log
from tests.projections.told import AYB
from tests.stream_processors.receiving import receiver, takes

EVENTS = int(os.environ.get("EVENTS", "2000"))
PACED, WARM_UP = 100, 10
_SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"


async def nowhere() -> Mapping[tuple[str, int], tuple[int, Fence]]:
    return {}


def flagged(at: int) -> StreamId:
    return StreamId(AYB, "flags", f"flag{at % 200}")


async def measure(kafka: str, folder: Path) -> list[Figure]:
    ring, store = open_key_ring(folder / "wrapping.key")
    async with receiver() as receiving, open_log(kafka, f"bench{os.getpid()}") as log:
        came: dict[str, float] = {}

        async def notes(request: web.Request, event: dict[str, Any]) -> web.Response:
            came.setdefault(event["data"]["variant"], time.perf_counter())
            return await takes(request, event)

        receiving.behaves = notes
        secret = ring.seal_bytes(AYB, _SECRET.encode())
        command = AddWebhook(url=receiving.url, types=("flag-set",), description="", secret=secret)
        await log.do(StreamId(AYB, "webhooks", "webhook_1"), command)
        async with sending(log, Sending(keyring=ring, private=True)):
            taken = [await one(log, receiving.until, came, number) for number in range(WARM_UP + PACED)][WARM_UP:]
            rate = await backlog(log, receiving.until, came)
    store.close()
    return [
        Figure(figure="webhook_deliveries", value=round(rate), unit="deliveries/s", better="higher"),
        Figure(figure="webhook_latency_p50", value=round(statistics.median(taken), 1), unit="ms", better="lower"),
        Figure(figure="webhook_latency_p99", value=round(statistics.quantiles(taken, n=100)[98], 1), unit="ms", better="lower"),
    ]


@asynccontextmanager
async def sending(log: TestLog, how: Sending) -> AsyncIterator[None]:
    async with running_webhooks(log.reader, log.dispatch, nowhere, how, topic_of=log.topic_of):
        yield


async def one(log: TestLog, until: Any, came: dict[str, float], number: int) -> float:
    """Milliseconds from the acknowledgement of a fact to its arrival."""
    variant = f"paced{number}"
    await log.append(flagged(number), FlagSet(enabled=True, variant=variant))
    begun = time.perf_counter()
    await until(lambda: variant in came)
    return max(0.0, came[variant] - begun) * 1000


async def backlog(log: TestLog, until: Any, came: dict[str, float]) -> float:
    """Deliveries a second, from the first to the last of many that come at once."""
    names = [f"many{number}" for number in range(EVENTS)]
    async with asyncio.TaskGroup() as tasks:
        for number, variant in enumerate(names):
            tasks.create_task(log.append(flagged(number), FlagSet(enabled=True, variant=variant)))
    await until(lambda: all(each in came for each in names))
    times = [came[each] for each in names]
    return (len(names) - 1) / (max(times) - min(times))


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench-webhooks"
    services = await ensure_stack(state_dir, settings, progress)
    try:
        with TemporaryDirectory() as folder:
            figures = await measure(services.kafka, Path(folder))
        show("webhooks", "one address on the loopback, one sending process, every message signed", figures, events=EVENTS)
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    uvloop.run(main())
