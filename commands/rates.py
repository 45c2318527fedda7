"""What a unit of each meter costs: dated tables of list prices, chosen by the day of use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final, TypeAlias

from events.usage import Meter

# Wide enough that no product of a quantity and a price loses a digit; half up, as invoices are rounded.
EXACT: Final = Context(prec=60, rounding=ROUND_HALF_UP)
UNIT_PRICE_STEP: Final = Decimal("0.000000000001")


class NoRateTable(LookupError):
    """No table was in force on that day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of one unit (a second, a token, a character), and the table's entry that says so.

    `verified`: it was read at its source. Without that an amount by it is an estimate.
    """

    unit_price: Decimal
    rate: str
    verified: bool = False


Prices: TypeAlias = Mapping[tuple[str, Meter], Price]
"""By provider and meter, e.g. `("deepgram/nova-3", Meter.RECOGNITION_SECONDS)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTable:
    """The prices in force from a day on, until the next table's day."""

    name: str
    currency: str
    effective_from: date
    prices: Prices = field(default_factory=dict)


class Verified:
    """Which prices of the tables were verified: as we know by now, also of what was rated before that."""

    def __init__(self, tables: Sequence[RateTable] = ()) -> None:
        self._tables = tables
        self._rates = {price.rate for table in tables for price in table.prices.values() if price.verified}

    def rate(self, rate: str) -> bool:
        """Whether the price of an entry was, as rated lines name it."""
        return rate in self._rates

    def on(self, day: date, provider: str, meter: str) -> bool:
        """Whether the price was that counted on a day of use."""
        try:
            price = in_force(self._tables, day).prices.get((provider, Meter(meter)))
        except (NoRateTable, ValueError):
            return False
        return price is not None and price.verified


def unit_price(amount: Decimal, per: Decimal) -> Decimal:
    """The price of one unit where the list says `amount` per `per` units: rounded half up to 10^-12, as the log keeps it."""
    return EXACT.quantize(EXACT.divide(amount, per), UNIT_PRICE_STEP)


def in_force(tables: Sequence[RateTable], day: date) -> RateTable:
    """The table of a day of use. Raises NoRateTable before the first one."""
    begun = [table for table in tables if table.effective_from <= day]
    if not begun:
        raise NoRateTable(f"no price table was in force on {day.isoformat()}; add one that begins on that day or before")
    return max(begun, key=lambda table: table.effective_from)
