"""Facts about what a call used and what that costs."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from events.registry import event


class Meter(StrEnum):
    """What is counted. The unit is part of the name."""

    TELEPHONY_SECONDS = "telephony-seconds"
    RECOGNITION_SECONDS = "recognition-seconds"
    MODEL_INPUT_TOKENS = "model-input-tokens"
    MODEL_OUTPUT_TOKENS = "model-output-tokens"
    MODEL_CACHE_READ_TOKENS = "model-cache-read-tokens"
    MODEL_CACHE_WRITE_TOKENS = "model-cache-write-tokens"
    SYNTHESIS_CHARACTERS = "synthesis-characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """One quantity. `turn` 0 is the call itself. `embedded`: an engine of ours stood in and is priced as `provider`.

    `purpose` names what did not become the turn itself: `speculation`, an answer thought ahead and dropped.
    """

    turn: int
    meter: Meter
    provider: str
    quantity: Decimal
    embedded: bool
    estimated: bool
    purpose: str = ""


@event("usage-recorded", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecorded:
    """All that a call used, line by line, once, after it ended."""

    call_id: str
    lines: tuple[UsageLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedLine:
    """A line's price: quantity x unit price, rounded half up to 10^-9 of the currency. `rate` names table and entry."""

    turn: int
    meter: Meter
    provider: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    rate: str
    embedded: bool
    purpose: str = ""


@event("usage-rated", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRated:
    """What the recorded usage costs by the price table of the day it was used."""

    call_id: str
    currency: str
    rate_table: str
    lines: tuple[RatedLine, ...]
    total: Decimal


@event("usage-unrated", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class UsageUnrated:
    """A line has no price in the table; it is shown and owed by nobody until it is rated."""

    call_id: str
    rate_table: str
    missing: tuple[str, ...]


UsageEvent = UsageRecorded | UsageRated | UsageUnrated
