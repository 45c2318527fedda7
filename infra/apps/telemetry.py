"""Spans and figures of calls, where the environment names an OTLP collector; nothing at all where it names none."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from infra.apps.alongside import alongside
from infra.settings import Settings
from realtime.loop.figures import FACTS_WAITING, LOOP_LAG_SECONDS
from realtime.loop.measuring import Telemetry, measuring
from realtime.loop.observing import Observing
from realtime.worker import CallWorker

_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Seen:
    """`observing`: for the calls' engines. `workers` are those whose queues are looked at."""

    observing: tuple[Observing, ...] = ()
    workers: list[CallWorker] = field(default_factory=list)

    def facts_waiting(self) -> int:
        return sum(worker.health()["facts-waiting"] for worker in self.workers)


@asynccontextmanager
async def running_telemetry(settings: Settings) -> AsyncIterator[Seen]:
    """Runs while the calls do; what is left is sent at the end."""
    if settings.otlp_endpoint is None:
        yield Seen()
        return
    # The SDK costs memory and threads: only who asks for it has it.
    from infra.adapters.opentelemetry import opened_telemetry  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        telemetry = await stack.enter_async_context(opened_telemetry(settings.otlp_endpoint))
        seen = Seen(observing=(measuring(telemetry, time.time),))
        telemetry.watch(FACTS_WAITING, seen.facts_waiting)
        await stack.enter_async_context(alongside({"loop lag": lambda: _lag(telemetry)}))
        yield seen


async def _lag(telemetry: Telemetry) -> None:
    """How late the loop wakes who sleeps."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LOOK_SECONDS
        await asyncio.sleep(_LOOK_SECONDS)
        telemetry.record(LOOP_LAG_SECONDS, loop.time() - due, {})
