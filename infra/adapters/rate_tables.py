"""Price tables as they lie under `schemas/rates/`: read once in a root, and refused whole where anything in them is doubtful."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from commands.rates import Price, RateTable, unit_price
from events.usage import Meter

RATES = Path(__file__).resolve().parents[2] / "schemas" / "rates"


class BrokenRateTable(ValueError):
    """A price table cannot be used; the text names the file and what is wrong in it."""


def read_rate_tables(folder: Path = RATES) -> tuple[RateTable, ...]:
    """All tables, the oldest first. Raises BrokenRateTable."""
    tables = []
    for path in sorted(folder.glob("*.json")):
        try:
            tables.append(_table(path.stem, json.loads(path.read_text("utf-8"))))
        except (KeyError, TypeError, ValueError, InvalidOperation) as cause:
            raise BrokenRateTable(f"{path}: {type(cause).__name__}: {cause}") from cause
    tables.sort(key=lambda table: table.effective_from)
    if len({table.effective_from for table in tables}) < len(tables):
        raise BrokenRateTable(f"{folder}: two tables begin on the same day")
    return tuple(tables)


def _table(stem: str, entry: Mapping[str, Any]) -> RateTable:
    if entry["name"] != stem:
        raise ValueError(f"the table is called {entry['name']!r}, unlike its file")
    prices: dict[tuple[str, Meter], Price] = {}
    for rate in entry["entries"]:
        for key, price in _prices(entry["name"], rate):
            if key in prices:
                raise ValueError(f"{key[0]} has two prices for {key[1].value}")
            prices[key] = price
    return RateTable(
        name=entry["name"], currency=entry["currency"], effective_from=date.fromisoformat(entry["effective_from"]), prices=prices
    )


def _prices(table: str, rate: Mapping[str, Any]) -> list[tuple[tuple[str, Meter], Price]]:
    date.fromisoformat(rate["as_of"])
    if not rate["source"].startswith("https://") or not isinstance(rate["verified"], bool):
        raise ValueError(f"{rate['id']} does not say where it is from, as of which day, and whether that was verified")
    return [
        (
            (provider, Meter(meter)),
            Price(unit_price=unit_price(_amount(amount), _amount(rate["per"])), rate=f"{table} {rate['id']}", verified=rate["verified"]),
        )
        for provider in rate["providers"]
        for meter, amount in rate["amounts"].items()
    ]


def _amount(text: object) -> Decimal:
    # A JSON number would have gone through a float.
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is to be written as text")
    amount = Decimal(text)
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"{text} is no amount above zero")
    return amount
