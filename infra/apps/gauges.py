"""Figures that a process without calls has to show, where the environment names an OTLP collector."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from infra.settings import Settings


@asynccontextmanager
async def running_gauges(settings: Settings, gauges: Mapping[str, Callable[[], int]]) -> AsyncIterator[None]:
    """Figures that are asked for now and then, by a thread; nothing where nobody collects them."""
    if settings.otlp_endpoint is None:
        yield
        return
    # The SDK costs memory and threads: only who asks for it has it.
    from infra.adapters.opentelemetry import opened_telemetry  # noqa: PLC0415

    async with opened_telemetry(settings.otlp_endpoint) as telemetry:
        for name, value in gauges.items():
            telemetry.watch(name, value)
        yield
