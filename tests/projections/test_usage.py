"""What the facts of a call's usage make of its row."""

from decimal import Decimal

import pytest

from events.streams import StreamId
from events.usage import Meter, RatedLine, UsageLine, UsageRated, UsageRecorded, UsageUnrated
from projections.table import BrokenHistory
from projections.usage import CALL_USAGE
from tests.projections.told import AYB, told

STREAM = StreamId(AYB, "usage", "call_1")
LINE = UsageLine(turn=0, meter=Meter.TELEPHONY_SECONDS, provider="twilio", quantity=Decimal(55), embedded=False, estimated=False)
RATED_LINE = RatedLine(
    turn=0, meter=Meter.TELEPHONY_SECONDS, provider="twilio", quantity=Decimal(55), unit_price=Decimal("0.000141667"),
    amount=Decimal("0.007791685"), rate="2026-11 twilio", embedded=False,
)  # fmt: skip
RECORDED = UsageRecorded(call_id="call_1", lines=(LINE,))
RATED = UsageRated(call_id="call_1", currency="USD", rate_table="2026-11", lines=(RATED_LINE,), total=Decimal("0.007791685"))


class TestCallUsage:
    def test_costs_nothing_known_before_it_is_rated(self) -> None:
        row = CALL_USAGE.fold(told(STREAM, RECORDED))
        assert row is not None
        assert (row.lines, row.total, row.rated) == ((LINE,), None, ())

    def test_has_its_lines_with_prices_and_a_total(self) -> None:
        row = CALL_USAGE.fold(told(STREAM, RECORDED, RATED))
        assert row is not None
        assert (row.rated, row.total, row.currency, row.rate_table) == ((RATED_LINE,), Decimal("0.007791685"), "USD", "2026-11")

    def test_names_what_has_no_price_until_it_has_one(self) -> None:
        unrated = UsageUnrated(call_id="call_1", rate_table="2026-11", missing=("twilio telephony-seconds",))
        row = CALL_USAGE.fold(told(STREAM, RECORDED, unrated))
        assert row is not None
        assert (row.missing, row.total) == (("twilio telephony-seconds",), None)
        later = CALL_USAGE.fold(told(STREAM, RATED, after=2), row)
        assert later is not None
        assert (later.missing, later.total) == ((), Decimal("0.007791685"))

    def test_cannot_be_rated_before_it_is_recorded(self) -> None:
        with pytest.raises(BrokenHistory):
            CALL_USAGE.fold(told(STREAM, RATED))
