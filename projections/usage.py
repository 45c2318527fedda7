"""What each call used, and what that costs."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import assert_never

from events.recorded import Recorded
from events.usage import RatedLine, UsageEvent, UsageLine, UsageRated, UsageRecorded, UsageUnrated
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class CallUsage:
    """A call's usage, found by the call's id. `total` is None until every line has its price; `missing` names those that lack one."""

    tenant: str
    id: str
    version: int
    recorded_at: datetime
    lines: tuple[UsageLine, ...]
    currency: str | None = None
    rate_table: str | None = None
    rated: tuple[RatedLine, ...] = ()
    total: Decimal | None = None
    missing: tuple[str, ...] = ()


def evolve(row: CallUsage | None, recorded: Recorded[UsageEvent]) -> CallUsage:
    fact, stream = recorded.fact, recorded.stream
    if isinstance(fact, UsageRecorded):
        return CallUsage(
            tenant=stream.tenant, id=stream.id, version=recorded.version, recorded_at=recorded.occurred_at, lines=fact.lines
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{stream} is rated before it was recorded")
    match fact:
        case UsageRated(currency=currency, rate_table=rate_table, lines=lines, total=total):
            return replace(row, currency=currency, rate_table=rate_table, rated=lines, total=total, missing=())
        case UsageUnrated(rate_table=rate_table, missing=missing):
            return replace(row, rate_table=rate_table, missing=missing)
        case _:
            assert_never(fact)


CALL_USAGE = Table(name="call_usage", version=2, room="usage", category="usage", row=CallUsage, evolve=evolve)
