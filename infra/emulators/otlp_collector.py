"""An OTLP collector over HTTP, as strict as the protocol: protobuf alone, at its two paths; it keeps what it was sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest, ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_PROTOBUF = "application/x-protobuf"


@dataclass(slots=True)
class Collected:
    """What came, in its order, and how many requests were refused. Metrics are cumulative: the last one of a name counts."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    metrics: dict[str, Metric] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    refused: int = 0

    async def traces(self, request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest()
        if not await self._read(request, told):
            return web.Response(status=400)
        self.spans += [span for resource in told.resource_spans for scope in resource.scope_spans for span in scope.spans]
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=_PROTOBUF)

    async def figures(self, request: web.Request) -> web.Response:
        told = ExportMetricsServiceRequest()
        if not await self._read(request, told):
            return web.Response(status=400)
        for resource in told.resource_metrics:
            self.metrics |= {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        return web.Response(body=ExportMetricsServiceResponse().SerializeToString(), content_type=_PROTOBUF)

    async def _read(self, request: web.Request, into: ExportTraceServiceRequest | ExportMetricsServiceRequest) -> bool:
        body = await request.read()
        try:
            into.ParseFromString(body)
        except DecodeError:
            self.refused += 1
            return False
        if request.content_type != _PROTOBUF:
            self.refused += 1
            return False
        self.bodies.append(body)
        return True


@asynccontextmanager
async def otlp_collector() -> AsyncIterator[Collected]:
    collected = Collected()
    app = web.Application()
    app.router.add_post("/v1/traces", collected.traces)
    app.router.add_post("/v1/metrics", collected.figures)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        collected.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collected
    finally:
        await runner.cleanup()
