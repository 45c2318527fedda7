"""Spans and figures to an OTLP collector, by OpenTelemetry's SDK: batched, sent by its threads, dropped where nobody takes them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from realtime.loop import figures
from realtime.loop.measuring import Attributes, Span

_SCOPE = "aybiza.realtime"
_HISTOGRAMS = (figures.STAGE_SECONDS, figures.TURN_SECONDS, figures.CLEAR_SECONDS, figures.LOOP_LAG_SECONDS)
_COUNTERS = (figures.CALLS_ENDED, figures.ENGINE_FAILURES)
# Seconds: fine where a conversation is felt, coarse where it has failed.
_BOUNDARIES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)


class OpenTelemetry:
    """A Telemetry."""

    def __init__(self, endpoint: str, *, every_seconds: float = 10.0) -> None:
        base = endpoint.rstrip("/")
        self._resource = Resource.create({"service.name": "aybiza", "service.namespace": "aybiza"})
        self._spans = BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces"))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{base}/v1/metrics"), export_interval_millis=every_seconds * 1000
        )
        self._provider = MeterProvider([reader], resource=self._resource, shutdown_on_exit=False)
        meter = self._meter = self._provider.get_meter(_SCOPE)
        self._histograms = {
            name: meter.create_histogram(name, unit="s", explicit_bucket_boundaries_advisory=_BOUNDARIES) for name in _HISTOGRAMS
        }
        self._counters = {name: meter.create_counter(name) for name in _COUNTERS}
        self._live = meter.create_up_down_counter(figures.LIVE_CALLS)
        self._scope = InstrumentationScope(_SCOPE)

    def span(self, span: Span) -> None:
        context = _context(span.trace_id, span.span_id)
        self._spans.on_end(
            ReadableSpan(
                name=span.name, context=context, parent=_context(span.trace_id, span.parent) if span.parent else None,
                resource=self._resource, attributes=span.attributes, kind=SpanKind.SERVER if not span.parent else SpanKind.INTERNAL,
                status=Status(StatusCode.UNSET), start_time=int(span.began * 1e9), end_time=int(span.ended * 1e9),
                instrumentation_scope=self._scope,
            )
        )  # fmt: skip

    def record(self, name: str, value: float, attributes: Attributes) -> None:
        self._histograms[name].record(max(0.0, value), attributes)

    def add(self, name: str, amount: int, attributes: Attributes) -> None:
        if name == figures.LIVE_CALLS:
            self._live.add(amount, attributes)
        else:
            self._counters[name].add(amount, attributes)

    def watch(self, name: str, value: Callable[[], int]) -> None:
        """Ask for a figure whenever figures are sent; from a thread of the SDK's."""

        def observe(_: CallbackOptions) -> list[Observation]:
            return [Observation(value())]

        self._meter.create_observable_gauge(name, [observe])

    def shut(self) -> None:
        """Send what is left, within the exporter's time-out. Blocks."""
        self._spans.shutdown()  # type: ignore[no-untyped-call]
        self._provider.shutdown()


@asynccontextmanager
async def opened_telemetry(endpoint: str, *, every_seconds: float = 10.0) -> AsyncIterator[OpenTelemetry]:
    """What is left is sent at the end."""
    telemetry = OpenTelemetry(endpoint, every_seconds=every_seconds)
    try:
        yield telemetry
    finally:
        await asyncio.to_thread(telemetry.shut)


def _context(trace_id: bytes, span_id: bytes) -> SpanContext:
    return SpanContext(int.from_bytes(trace_id), int.from_bytes(span_id), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
