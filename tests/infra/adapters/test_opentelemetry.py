"""A call as it is seen from outside: by the SDK's own exporter, at a collector that decodes what it was sent."""

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from commands.calls.orders import Witness
from commands.decider import Decider
from commands.dispatch import Committed, Order
from events.calls.ending import FactsLost
from events.streams import StreamId
from infra.adapters.opentelemetry import opened_telemetry
from infra.apps.telemetry import running_telemetry
from infra.emulators.otlp_collector import Collected, otlp_collector
from infra.settings import Settings
from realtime.hearing import vad
from realtime.loop.facts_queue import FactsQueue, Sender
from realtime.loop.figures import CALLS_ENDED, FACTS_WAITING
from realtime.loop.measuring import measuring
from realtime.loop.observing import Observer, Watched
from realtime.loop.tracing import root_of, trace_of
from realtime.machine.signals import Engine, EngineBroke, ToolReturned
from realtime.ports import ToolUse
from tests.realtime.scene import BRIEFING, Scene
from tests.realtime.world import MemoryLog

RANG = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
BEGAN = RANG.timestamp() + 1.5
CALL = StreamId("AYB-1", "calls", BRIEFING.call_id)
FIND = ToolUse(tool_use_id="t1", name="find_slot", arguments={"day": "friday"})
PERSONAL = (b"550199", b"friday", b"slot", b"Smile", b"assistant", b"booked", BRIEFING.call_id.encode(), b"AYB-1", b"MZ1")


def told(observer: Observer) -> Scene:
    """A call with a tool, an interruption, an engine that breaks, and an end."""
    scene = Scene()
    scene.watchers.append(lambda _, effects: observer.did(effects))
    scene.agreed().says("do you have a slot on friday please").model_answers("", FIND).wait(700)
    scene.tell(ToolReturned, tool_use_id="t1", content={"free": ["nine"]}, failed=False)
    scene.model_answers("Friday at nine is free, and so is Friday at ten in the morning, and it can be booked.").wait(1500)
    scene.starts_speaking().wait(900).falls_silent("take the first one please")
    scene.tell(EngineBroke, engine=Engine.MODEL, name="bedrock", reason="a caller said friday", asked=scene.asked)
    return scene.hears_all().hangs_up()


async def seen() -> tuple[Collected, Scene]:
    watched = Watched(
        stream=CALL, run="MZ1", state=Scene().state, hearing=vad.Thresholds(), agent_version_hash="", flags={}, rang_at=RANG,
        witness=lambda _: None, counters=Counter(),
    )  # fmt: skip
    async with otlp_collector() as collected, opened_telemetry(collected.url, every_seconds=60) as telemetry:
        telemetry.watch(FACTS_WAITING, lambda: 7)
        scene: list[Scene] = []
        observer = measuring(telemetry, lambda: BEGAN + (scene[0].at_ms / 1000 if scene else 0))(watched)
        scene.append(told(observer))
        await observer.close()
    return collected, scene[0]


def values(metric: Metric) -> dict[str, float]:
    """Counts of a histogram, or values, by its one attribute."""
    kind = metric.WhichOneof("data")
    assert kind is not None
    points = getattr(metric, kind).data_points
    return {
        (point.attributes[0].value.string_value if point.attributes else ""): point.count if kind == "histogram" else point.as_int
        for point in points
    }


@dataclass(slots=True)
class NotedLog(MemoryLog):
    """Notes under which ids it was asked."""

    orders: list[Order] = field(default_factory=list)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        self.orders.append(order)
        return await MemoryLog.__call__(self, decider, stream, command, order, expected_version=expected_version)


class TestACallSeenFromOutside:
    async def test_is_one_trace_from_the_ring_to_each_stage_of_each_turn(self) -> None:
        collected, scene = await seen()
        spans, by_id = collected.spans, {span.span_id: span for span in collected.spans}
        assert {span.trace_id for span in spans} == {trace_of(CALL.id)}
        (root,) = [span for span in spans if not span.parent_span_id]
        assert (root.name, root.span_id, root.start_time_unix_nano) == ("call", root_of(CALL.id, "MZ1"), int(RANG.timestamp() * 1e9))
        assert root.end_time_unix_nano == int((BEGAN + scene.at_ms / 1000) * 1e9)
        assert all(within(span, by_id[span.parent_span_id]) for span in spans if span.parent_span_id)
        names = Counter(span.name for span in spans)
        assert names["call.ring"] == names["call.tool"] == 1
        assert names["call.turn"] >= 4
        stages = ("decided", "recognised", "first_token", "first_byte", "on_wire")
        assert all(names[f"call.turn.{stage}"] for stage in stages)

    async def test_has_its_figures(self) -> None:
        collected, _ = await seen()
        figures = {name: values(metric) for name, metric in collected.metrics.items()}
        stages = figures["aybiza.turn.stage.duration"]
        assert set(stages) == {"decided", "recognised", "first_token", "first_byte", "on_wire"}
        assert figures["aybiza.turn.latency"][""] == stages["decided"]
        assert figures["aybiza.barge_in.clear"] == {"": 1}
        assert figures["aybiza.engine.failures"] == {"bedrock": 1}
        assert figures["aybiza.calls.live"] == {"": 0}
        assert figures["aybiza.calls.ended"] == {"caller-hung-up": 1}
        assert figures["aybiza.facts.waiting"] == {"": 7}

    async def test_has_nothing_personal_in_it(self) -> None:
        collected, _ = await seen()
        assert len(collected.bodies) >= 2
        for body in collected.bodies:
            assert [word for word in PERSONAL if word.lower() in body.lower()] == []

    async def test_would_be_seen_to_have_it_if_it_had(self) -> None:
        """The control: what a careless attribute says is found by the same search."""
        async with otlp_collector() as collected, opened_telemetry(collected.url, every_seconds=60) as telemetry:
            telemetry.add(CALLS_ENDED, 1, {"reason": "a caller said friday"})
        assert {word for body in collected.bodies for word in PERSONAL if word.lower() in body.lower()} == {b"friday"}

    async def test_has_the_trace_that_the_log_knows(self) -> None:
        collected, _ = await seen()
        (root,) = [span for span in collected.spans if not span.parent_span_id]
        log = NotedLog()
        sender = Sender(call=CALL, consents=CALL, incarnation="MZ1", actor="w", now=lambda: RANG)
        facts = FactsQueue(log, sender, Counter())
        facts.note(Witness(fact=FactsLost(count=1)), essential=True)
        await facts.send_rest()
        assert [(order.trace_id, order.span_id) for order in log.orders] == [(root.trace_id, root.span_id)]
        assert collected.refused == 0


class TestWithoutACollector:
    async def test_nothing_looks_on(self, settings: Settings) -> None:
        async with running_telemetry(settings.model_copy(update={"otlp_endpoint": None})) as seen_by:
            assert seen_by.observing == ()

    def test_no_exporter_is_even_imported(self) -> None:
        # The SDK itself is: redis looks for it.
        asked = "import sys, infra.apps.voice; print(any(name.startswith('opentelemetry.exporter') for name in sys.modules))"
        answered = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
        assert answered.stdout == "False\n"


def within(inner: Span, outer: Span) -> bool:
    return bool(outer.start_time_unix_nano <= inner.start_time_unix_nano <= inner.end_time_unix_nano <= outer.end_time_unix_nano)
