"""Routes of usage: what calls used, line by line, and what each line costs."""

from collections import deque
from typing import Annotated

from fastapi import APIRouter, Path

from api.auth import Organisation
from api.positions import Read
from api.problems import NOT_FOUND, answers
from api.shapes import Refers
from api.wire import Cursor, Limit, Money, Page, Time, Wire, Wired, found, money, page_of, proper_id
from commands.rates import Verified
from events.streams import StreamId
from events.usage import Meter, RatedLine, UsageLine
from projections import usage as rows

router = APIRouter(tags=["usage"])


class Line(Wire):
    """One quantity and its price. `turn` 0 is the call itself; `embedded`: an engine of ours stood in, priced as `provider`.

    `purpose` is empty, or `speculation`: an answer thought ahead and dropped. `price_verified` is false for a price that we know at
    second hand: the amount is an estimate. It is null where there is no price.
    """

    turn: int
    meter: Meter
    provider: str
    quantity: str
    embedded: bool
    estimated: bool
    unit_price: Money | None
    amount: Money | None
    rate: str | None
    price_verified: bool | None
    purpose: str


class Usage(Wire):
    """What a call used. `total` is of the lines that have a price, null until it was rated; `missing` names what has none.

    `prices_verified` is false where any price in `total` is one that we know at second hand: the total is an estimate.
    """

    call_id: Annotated[str, Refers("call", "/v1/calls/{}")]
    recorded_at: Time
    rate_table: str | None
    total: Money | None
    prices_verified: bool | None
    missing: list[str]
    lines: list[Line]


@router.get("/usage")
async def list_usage(organisation: Organisation, ports: Wired, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Usage]:
    """What calls used, the newest call first."""
    found_rows, after = await read.page(rows.CALL_USAGE, organisation, limit=limit, cursor=cursor)
    return page_of([_view(row, ports.verified) for row in found_rows], after)


@router.get("/calls/{call_id}/usage", responses=answers(NOT_FOUND))
async def get_call_usage(
    call_id: Annotated[str, Path(description="`call_…`")], organisation: Organisation, ports: Wired, read: Read
) -> Usage:  # fmt: skip
    """What one call used; 404 until it has ended and was counted."""
    stream = StreamId(organisation, "usage", proper_id(call_id, "call_", "call"))
    return _view(found(await read.row(rows.CALL_USAGE, stream), "usage of a call"), ports.verified)


def _view(row: rows.CallUsage, verified: Verified) -> Usage:
    # Rated lines stand in the order of the recorded ones; those without a price are left out.
    rated, lines = deque(row.rated), []
    for line in row.lines:
        priced = rated and _which(rated[0]) == _which(line)
        lines.append(_line(line, rated.popleft() if priced else None, row.currency or "", verified))
    return Usage(
        call_id=row.id, recorded_at=row.recorded_at, rate_table=row.rate_table,
        total=None if row.total is None or row.currency is None else money(row.total, row.currency),
        prices_verified=None if row.total is None else all(verified.rate(line.rate) for line in row.rated),
        missing=list(row.missing), lines=lines,
    )  # fmt: skip


def _which(line: UsageLine | RatedLine) -> tuple[int, Meter, str, str]:
    return line.turn, line.meter, line.provider, line.purpose


def _line(line: UsageLine, price: RatedLine | None, currency: str, verified: Verified) -> Line:
    return Line(
        turn=line.turn, meter=line.meter, provider=line.provider, quantity=f"{line.quantity:f}", embedded=line.embedded,
        estimated=line.estimated, unit_price=price and money(price.unit_price, currency), amount=price and money(price.amount, currency),
        rate=price and price.rate, price_verified=None if price is None else verified.rate(price.rate), purpose=line.purpose,
    )  # fmt: skip
