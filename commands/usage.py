"""Decides what a call used and what that costs: recorded and rated once, in exact decimals."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from commands.decider import CommandRefused, Decider
from commands.rates import EXACT, Prices
from events.usage import RatedLine, UsageEvent, UsageLine, UsageRated, UsageRecorded, UsageUnrated

AMOUNT_STEP: Final = Decimal("0.000000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUsage:
    """All that the call used, and the prices of the day: `rate_table` is the table's name, `currency` its currency."""

    call_id: str
    lines: tuple[UsageLine, ...]
    currency: str
    rate_table: str
    prices: Prices


class NegativeQuantity(CommandRefused):
    """Nobody uses less than nothing; a credit is a matter of invoices."""

    code = "negative-quantity"


def decide(command: RecordUsage, recorded: bool) -> Sequence[UsageEvent]:
    """The first record of a call counts; lines of quantity zero are not kept."""
    if recorded:
        return ()
    for line in command.lines:
        if line.quantity < 0:
            raise NegativeQuantity(f"{line.meter.value} of turn {line.turn} is {line.quantity}; record what was used, from zero up")
    lines = tuple(line for line in command.lines if line.quantity)
    return (UsageRecorded(call_id=command.call_id, lines=lines), *rate(command, lines))


def rate(command: RecordUsage, lines: Sequence[UsageLine]) -> Sequence[UsageEvent]:
    """What the lines cost: one fact for those with a price, one that names what has none."""
    rated, missing = [], set()
    for line in lines:
        price = command.prices.get((line.provider, line.meter))
        if price is None:
            missing.add(f"{line.provider} {line.meter.value}")
            continue
        rated.append(
            RatedLine(
                turn=line.turn, meter=line.meter, provider=line.provider, quantity=line.quantity, unit_price=price.unit_price,
                amount=amount_of(line.quantity, price.unit_price), rate=price.rate, embedded=line.embedded,
                purpose=line.purpose,
            )
        )  # fmt: skip
    facts: list[UsageEvent] = []
    if rated or not missing:
        total = sum((line.amount for line in rated), Decimal(0))
        facts.append(
            UsageRated(call_id=command.call_id, currency=command.currency, rate_table=command.rate_table, lines=tuple(rated), total=total)
        )
    if missing:
        facts.append(UsageUnrated(call_id=command.call_id, rate_table=command.rate_table, missing=tuple(sorted(missing))))
    return facts


def amount_of(quantity: Decimal, price: Decimal) -> Decimal:
    """Quantity x unit price, rounded half up to 10^-9 of the currency."""
    return EXACT.quantize(EXACT.multiply(quantity, price), AMOUNT_STEP)


def evolve(recorded: bool, fact: UsageEvent) -> bool:
    return recorded or isinstance(fact, UsageRecorded)


USAGE = Decider(room="usage", category="usage", initial=False, decide=decide, evolve=evolve)
