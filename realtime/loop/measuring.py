"""What is seen of a call from outside: spans from the ring to each stage of each turn, and figures. Nothing in them is personal.

They are told from what the machine decided, so that they say what the log says.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol, TypeAlias

from commands.calls.orders import Witness
from events.calls.ending import EngineFailure
from events.calls.talking import AgentInterrupted, AgentTurn, Latency
from events.calls.thinking import ToolAnswered, ToolRequested
from events.identifiers import derived_id
from realtime.hearing import vad
from realtime.loop.figures import (
    CALL,
    CALLS_ENDED,
    CLEAR_SECONDS,
    ENGINE_FAILURES,
    LIVE_CALLS,
    RING,
    STAGE_SECONDS,
    TOOL,
    TURN,
    TURN_SECONDS,
)
from realtime.loop.observing import Observer, Observing, Watched
from realtime.loop.tracing import root_of, trace_of
from realtime.machine import effects as do
from realtime.machine.effects import Effect
from realtime.machine.signals import Signal

Attributes: TypeAlias = Mapping[str, str | int | bool]

_STAGES: Final = (("turn_decided_ms", "decided"), ("recognised_ms", "recognised"), ("first_token_ms", "first_token"),
                  ("first_byte_ms", "first_byte"), ("on_wire_ms", "on_wire"))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Raw ids, as the log's packed header carries them; times in seconds since 1970. `parent` is empty for the first of a trace."""

    trace_id: bytes
    span_id: bytes
    parent: bytes
    name: str
    began: float
    ended: float
    attributes: Attributes


class Telemetry(Protocol):
    """Where spans and figures go. Nothing blocks, and nothing is raised: what cannot be told is dropped."""

    def span(self, span: Span) -> None:
        """Something that is over."""

    def record(self, name: str, value: float, attributes: Attributes) -> None:
        """One value of a histogram."""

    def add(self, name: str, amount: int, attributes: Attributes) -> None:
        """Count on, or off."""


class Measuring:
    """An Observer of one call."""

    def __init__(self, watched: Watched, telemetry: Telemetry, now: Callable[[], float]) -> None:
        self._telemetry, self._began, self._now = telemetry, now(), now
        call_id = watched.stream.id
        self._trace, self._names = trace_of(call_id), (call_id, watched.run)
        self._root = self._id(0)
        self._count = 0
        self._tools: dict[str, int] = {}
        self._rang = watched.rang_at.timestamp() if watched.rang_at is not None else None
        self._attributes: dict[str, str | int | bool] = {"aybiza.end.reason": "", "aybiza.turns": 0, "aybiza.interruptions": 0}
        telemetry.add(LIVE_CALLS, 1, {})

    def given(self, signal: Signal) -> None:
        """What is told is what was decided."""

    def did(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case do.Note(command=Witness(fact=AgentTurn() as fact)):
                    self._turn(fact)
                case do.Note(command=Witness(fact=AgentInterrupted() as fact)):
                    self._attributes["aybiza.interruptions"] = int(self._attributes["aybiza.interruptions"]) + 1
                    self._telemetry.record(CLEAR_SECONDS, (fact.cleared_ms - fact.speech_started_ms) / 1000, {})
                case do.Note(command=Witness(fact=EngineFailure(engine=engine))):
                    self._telemetry.add(ENGINE_FAILURES, 1, {"engine": engine})
                case do.Note(command=Witness(fact=ToolRequested() as fact)) | do.Commit(command=Witness(fact=ToolRequested() as fact)):
                    self._tools[fact.tool_use_id] = fact.at_ms
                case do.Note(command=Witness(fact=ToolAnswered() as fact)):
                    began_ms = self._tools.pop(fact.tool_use_id, fact.at_ms)
                    self._span(TOOL, self._root, began_ms, fact.at_ms, {"aybiza.turn": fact.turn, "aybiza.failed": fact.failed})
                case do.Finish(reason=reason):
                    self._attributes["aybiza.end.reason"] = reason
                case _:
                    pass

    def windows(self, origin_ms: int, windows: Sequence[tuple[int, float]], changes: Sequence[vad.SpeechChange]) -> None:
        """The detector is seen by what follows from it."""

    def heard(self, end_ms: int, mulaw: bytes) -> None:
        """What the caller says is nobody's to measure."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        began = self._rang or self._began
        self._telemetry.add(LIVE_CALLS, -1, {})
        self._telemetry.add(CALLS_ENDED, 1, {"reason": str(self._attributes["aybiza.end.reason"])})
        if self._rang is not None:
            self._tell(RING, self._root, self._rang, self._began, {})
        self._telemetry.span(
            Span(
                trace_id=self._trace, span_id=self._root, parent=b"", name=CALL, began=began, ended=self._now(), attributes=self._attributes
            )
        )

    def _turn(self, fact: AgentTurn) -> None:
        reached = stages(fact.latency)
        self._attributes["aybiza.turns"] = int(self._attributes["aybiza.turns"]) + 1
        if not reached:
            return
        ended_ms = max(fact.ended_ms or 0, reached[-1][1])
        attributes: Attributes = {"aybiza.turn": fact.turn, "aybiza.interrupted": fact.interrupted}
        turn = self._span(TURN, self._root, reached[0][1], ended_ms, attributes)
        for (_, before_ms), (stage, at_ms) in pairwise(reached):
            self._telemetry.record(STAGE_SECONDS, (at_ms - before_ms) / 1000, {"stage": stage})
            self._span(f"{TURN}.{stage}", turn, before_ms, at_ms, {})
        if fact.latency.speech_ended_ms is not None and fact.latency.on_wire_ms is not None:
            self._telemetry.record(TURN_SECONDS, (fact.latency.on_wire_ms - fact.latency.speech_ended_ms) / 1000, {})

    def _span(self, name: str, parent: bytes, began_ms: int, ended_ms: int, attributes: Attributes) -> bytes:
        return self._tell(name, parent, self._began + began_ms / 1000, self._began + ended_ms / 1000, attributes)

    def _tell(self, name: str, parent: bytes, began: float, ended: float, attributes: Attributes) -> bytes:
        self._count += 1
        own = self._id(self._count)
        span = Span(trace_id=self._trace, span_id=own, parent=parent, name=name, began=began, ended=ended, attributes=attributes)
        self._telemetry.span(span)
        return own

    def _id(self, number: int) -> bytes:
        return root_of(*self._names) if not number else derived_id("span", *self._names, str(number))[:8]


def stages(latency: Latency) -> list[tuple[str, int]]:
    """The moments of an answer in the order in which they came, from the caller's last speech on; None of them twice."""
    first = [] if latency.speech_ended_ms is None else [("speech_ended", latency.speech_ended_ms)]
    reached = [(stage, at_ms) for name, stage in _STAGES if (at_ms := getattr(latency, name)) is not None]
    return first + sorted(reached, key=lambda each: each[1])


def measuring(telemetry: Telemetry, now: Callable[[], float]) -> Observing:
    """Has every call of a process measured. `now`: seconds since 1970."""

    def observe(watched: Watched) -> Observer:
        return Measuring(watched, telemetry, now)

    return observe
