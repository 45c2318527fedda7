"""What can be measured of calls, fact by fact, to be charted over time: answers with their stages, ends, quantities, prices."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from events.calls.ending import CallEnded
from events.calls.every import CallEvent
from events.calls.talking import AgentTurn
from events.recorded import Recorded
from events.usage import UsageEvent, UsageRated, UsageRecorded
from projections.series import OverTime, Series

BANDS_MS = (50, 100, 150, 200, 300, 400, 500, 650, 800, 1_000, 1_250, 1_500, 2_000, 3_000, 5_000, 10_000)
"""Upper ends, in ms, by which response times are counted, so that counts of minutes add up to a distribution of days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMeasure:
    """An answer of an agent. `response_ms`: from the caller's last speech to our first frame; None where there was no such stage.

    `band_ms` is the upper end of the band that it falls into, -1 where it took longer than all, 0 where there is no response time.
    """

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    model: str
    band_ms: int
    response_ms: int | None
    endpointing_ms: int | None
    thinking_ms: int | None
    voice_ms: int | None
    interrupted: int
    input_tokens: int
    output_tokens: int
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMeasure:
    """A call that has ended."""

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    reason: str
    billable: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMeasure:
    """A quantity that was used, or (with its currency) the price of one that was rated: each counts where it happened."""

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    meter: str
    provider: str
    currency: str
    quantity: Decimal
    amount: Decimal


def turns(recorded: Recorded[CallEvent]) -> Sequence[TurnMeasure]:
    fact, stream = recorded.fact, recorded.stream
    if not isinstance(fact, AgentTurn):
        return ()
    stages, spent = fact.latency, fact.spent
    response_ms = _between(stages.speech_ended_ms, stages.on_wire_ms)
    return (
        TurnMeasure(
            tenant=stream.tenant, id=stream.id, version=recorded.version, n=0, occurred_at=recorded.occurred_at, model=spent.model,
            band_ms=_band(response_ms), response_ms=response_ms,
            endpointing_ms=_between(stages.speech_ended_ms, stages.turn_decided_ms),
            thinking_ms=_between(stages.turn_decided_ms, stages.first_token_ms),
            voice_ms=_between(stages.first_token_ms, stages.first_byte_ms), interrupted=int(fact.interrupted),
            input_tokens=spent.input_tokens, output_tokens=spent.output_tokens, characters=spent.characters,
        ),
    )  # fmt: skip


def _between(begin_ms: int | None, end_ms: int | None) -> int | None:
    return None if begin_ms is None or end_ms is None else end_ms - begin_ms


def _band(response_ms: int | None) -> int:
    if response_ms is None:
        return 0
    at = bisect_left(BANDS_MS, response_ms)
    return BANDS_MS[at] if at < len(BANDS_MS) else -1


def ends(recorded: Recorded[CallEvent]) -> Sequence[CallMeasure]:
    fact, stream = recorded.fact, recorded.stream
    if not isinstance(fact, CallEnded):
        return ()
    return (
        CallMeasure(
            tenant=stream.tenant, id=stream.id, version=recorded.version, n=0, occurred_at=recorded.occurred_at, reason=fact.reason,
            billable=int(bool(fact.billable)), duration_ms=fact.duration_ms or 0,
        ),
    )  # fmt: skip


def quantities(recorded: Recorded[UsageEvent]) -> Sequence[UsageMeasure]:
    fact, stream = recorded.fact, recorded.stream
    if isinstance(fact, UsageRecorded):
        told = [(line.meter.value, line.provider, "", line.quantity, Decimal(0)) for line in fact.lines]
    elif isinstance(fact, UsageRated):
        told = [(line.meter.value, line.provider, fact.currency, Decimal(0), line.amount) for line in fact.lines]
    else:
        told = []
    return [
        UsageMeasure(
            tenant=stream.tenant, id=stream.id, version=recorded.version, n=n, occurred_at=recorded.occurred_at, meter=meter,
            provider=provider, currency=currency, quantity=quantity, amount=amount,
        )
        for n, (meter, provider, currency, quantity, amount) in enumerate(told)
    ]  # fmt: skip


TURN_MEASURES = Series(
    name="turn_measures", version=1, room="calls", category="calls", row=TurnMeasure, entries=turns,
    over_time=OverTime(
        by=("model", "band_ms"),
        sums=("response_ms", "endpointing_ms", "thinking_ms", "voice_ms", "interrupted", "input_tokens", "output_tokens", "characters"),
        largest=("response_ms",),
    ),
)  # fmt: skip
CALL_MEASURES = Series(
    name="call_measures", version=1, room="calls", category="calls", row=CallMeasure, entries=ends,
    over_time=OverTime(by=("reason",), sums=("duration_ms", "billable"), largest=("duration_ms",)),
)  # fmt: skip
USAGE_MEASURES = Series(
    name="usage_measures", version=1, room="usage", category="usage", row=UsageMeasure, entries=quantities,
    over_time=OverTime(by=("meter", "provider", "currency"), sums=("quantity", "amount")),
)  # fmt: skip
