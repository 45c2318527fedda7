"""What became of the calls to each number and each agent, in all: counted over many streams, and combined when it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from events.calls.control import CallTransferred
from events.calls.ending import CallEnded, EngineFailure
from events.calls.every import CallEvent
from events.calls.ringing import CallAnswered, CallReceived
from events.calls.talking import AgentInterrupted, AgentTurn
from events.recorded import Recorded
from projections.partial import Combine, PartialAggregate
from projections.replacing import replaced

SHORT_MS = 6_000
"""Answered calls that are over sooner are short: by their share carriers judge a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """Calls to a number that an agent was to answer. `answers` have a response time each, from the caller's last speech to our first
    frame, `response_ms` in all; `callbacks` were promised because no engine was left.
    """

    tenant: str
    agent_id: str
    number_ref: str
    calls: int = 0
    answered: int = 0
    ended: int = 0
    short: int = 0
    billable: int = 0
    transferred: int = 0
    callbacks: int = 0
    interruptions: int = 0
    failures: int = 0
    duration_ms: int = 0
    longest_ms: int | None = None
    answers: int = 0
    response_ms: int = 0
    slowest_ms: int | None = None
    first_call_at: datetime | None = None
    last_call_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallUnderWay:
    """Whose a call is, while it lasts: of its facts only the first one says so."""

    tenant: str
    id: str
    version: int
    agent_id: str
    number_ref: str
    answered: bool = False


Counted: TypeAlias = tuple[CallUnderWay | None, Sequence[CallSummary]]


def evolve(call: CallUnderWay | None, recorded: Recorded[CallEvent]) -> Counted:
    """What is told of a call when it is over already adds nothing."""
    fact, at, stream = recorded.fact, recorded.occurred_at, recorded.stream
    if isinstance(fact, CallReceived):
        call = CallUnderWay(
            tenant=stream.tenant, id=stream.id, version=recorded.version, agent_id=fact.agent_id, number_ref=fact.number_ref
        )  # fmt: skip
        return call, [replaced(_of(call), calls=1, first_call_at=at, last_call_at=at)]
    if call is None:
        return None, ()
    match fact:
        case CallAnswered():
            return (call, ()) if call.answered else (replaced(call, answered=True), [replaced(_of(call), answered=1)])
        case AgentTurn(latency=latency) if latency.speech_ended_ms is not None and latency.on_wire_ms is not None:
            took_ms = latency.on_wire_ms - latency.speech_ended_ms
            return call, [replaced(_of(call), answers=1, response_ms=took_ms, slowest_ms=took_ms)]
        case AgentInterrupted():
            return call, [replaced(_of(call), interruptions=1)]
        case EngineFailure():
            return call, [replaced(_of(call), failures=1)]
        case CallTransferred():
            return call, [replaced(_of(call), transferred=1)]
        case CallEnded():
            return None, [_ended(call, fact)]
        case _:
            return call, ()


def _of(call: CallUnderWay) -> CallSummary:
    return CallSummary(tenant=call.tenant, agent_id=call.agent_id, number_ref=call.number_ref)


def _ended(call: CallUnderWay, fact: CallEnded) -> CallSummary:
    duration_ms = fact.duration_ms or 0
    return replaced(
        _of(call), ended=1, short=int(call.answered and duration_ms < SHORT_MS), billable=int(bool(fact.billable)),
        callbacks=int(fact.callback_promised), duration_ms=duration_ms, longest_ms=duration_ms if call.answered else None,
    )  # fmt: skip


_SUM, _MAX, _MIN = Combine.SUM, Combine.MAX, Combine.MIN
CALL_SUMMARIES = PartialAggregate(
    name="call_summaries", version=1, room="calls", category="calls", row=CallSummary, memory=CallUnderWay, evolve=evolve,
    combined={
        "calls": _SUM, "answered": _SUM, "ended": _SUM, "short": _SUM, "billable": _SUM, "transferred": _SUM, "callbacks": _SUM,
        "interruptions": _SUM, "failures": _SUM, "duration_ms": _SUM, "longest_ms": _MAX, "answers": _SUM, "response_ms": _SUM,
        "slowest_ms": _MAX, "first_call_at": _MIN, "last_call_at": _MAX,
    },
    moved_by=(CallReceived, CallAnswered, AgentTurn, AgentInterrupted, EngineFailure, CallTransferred, CallEnded),
)  # fmt: skip
