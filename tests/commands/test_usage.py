"""What a call used and what that costs."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from commands.rates import NoRateTable, Price, RateTable, in_force, unit_price
from commands.usage import AMOUNT_STEP, USAGE, NegativeQuantity, RecordUsage, amount_of
from events.usage import Meter, RatedLine, UsageLine, UsageRated, UsageRecorded, UsageUnrated
from tests.given import given

SPEECH = UsageLine(
    turn=0, meter=Meter.RECOGNITION_SECONDS, provider="deepgram/nova-3", quantity=Decimal("48.25"), embedded=True, estimated=False
)
WORDS = UsageLine(
    turn=2, meter=Meter.SYNTHESIS_CHARACTERS, provider="deepgram/aura-2", quantity=Decimal(120), embedded=True, estimated=False
)
SPEECH_PRICE = Price(unit_price=Decimal("0.000128333333"), rate="2026-11 deepgram/nova-3")
WORDS_PRICE = Price(unit_price=Decimal("0.00003"), rate="2026-11 deepgram/aura-2")
PRICES = {("deepgram/nova-3", Meter.RECOGNITION_SECONDS): SPEECH_PRICE, ("deepgram/aura-2", Meter.SYNTHESIS_CHARACTERS): WORDS_PRICE}
RECORD = RecordUsage(call_id="call_1", lines=(SPEECH, WORDS), currency="USD", rate_table="2026-11", prices=PRICES)
RECORDED = UsageRecorded(call_id="call_1", lines=(SPEECH, WORDS))
RATED_SPEECH = RatedLine(
    turn=0, meter=Meter.RECOGNITION_SECONDS, provider="deepgram/nova-3", quantity=Decimal("48.25"),
    unit_price=SPEECH_PRICE.unit_price, amount=Decimal("0.006192083"), rate=SPEECH_PRICE.rate, embedded=True,
)  # fmt: skip
RATED_WORDS = RatedLine(
    turn=2, meter=Meter.SYNTHESIS_CHARACTERS, provider="deepgram/aura-2", quantity=Decimal(120),
    unit_price=WORDS_PRICE.unit_price, amount=Decimal("0.0036"), rate=WORDS_PRICE.rate, embedded=True,
)  # fmt: skip
RATED = UsageRated(call_id="call_1", currency="USD", rate_table="2026-11", lines=(RATED_SPEECH, RATED_WORDS), total=Decimal("0.009792083"))


class TestRecordUsage:
    def test_records_and_rates_every_line(self) -> None:
        given(USAGE).when(RECORD).then(RECORDED, RATED)

    def test_changes_nothing_the_second_time(self) -> None:
        given(USAGE, RECORDED, RATED).when(replace(RECORD, lines=(SPEECH,))).then()

    def test_keeps_no_line_of_quantity_zero(self) -> None:
        silent = replace(SPEECH, quantity=Decimal("0.00"))
        given(USAGE).when(replace(RECORD, lines=(silent, WORDS))).then(
            UsageRecorded(call_id="call_1", lines=(WORDS,)), replace(RATED, lines=(RATED_WORDS,), total=RATED_WORDS.amount)
        )

    def test_of_a_call_that_used_nothing_costs_nothing(self) -> None:
        given(USAGE).when(replace(RECORD, lines=())).then(
            UsageRecorded(call_id="call_1", lines=()), replace(RATED, lines=(), total=Decimal(0))
        )

    def test_rates_the_rest_and_names_what_has_no_price(self) -> None:
        priced = {key: price for key, price in PRICES.items() if price is WORDS_PRICE}
        given(USAGE).when(replace(RECORD, prices=priced)).then(
            RECORDED,
            replace(RATED, lines=(RATED_WORDS,), total=RATED_WORDS.amount),
            UsageUnrated(call_id="call_1", rate_table="2026-11", missing=("deepgram/nova-3 recognition-seconds",)),
        )

    def test_costs_nothing_yet_when_nothing_has_a_price(self) -> None:
        missing = ("deepgram/aura-2 synthesis-characters", "deepgram/nova-3 recognition-seconds")
        given(USAGE).when(replace(RECORD, prices={})).then(RECORDED, UsageUnrated(call_id="call_1", rate_table="2026-11", missing=missing))

    def test_is_refused_for_less_than_nothing(self) -> None:
        owed = replace(SPEECH, quantity=Decimal(-1))
        given(USAGE).when(replace(RECORD, lines=(owed,))).then_refused(NegativeQuantity)


class TestRating:
    @pytest.mark.parametrize(
        ("quantity", "price", "amount"),
        [
            ("1", "0.0000000005", "0.000000001"),
            ("1", "0.00000000049", "0"),
            ("3", "0.0000000005", "0.000000002"),
            ("1000000", "0.000001", "1"),
        ],
    )
    def test_rounds_half_up_to_a_billionth(self, quantity: str, price: str, amount: str) -> None:
        assert amount_of(Decimal(quantity), Decimal(price)) == Decimal(amount)

    @drawn(st.decimals(0, 10**9, places=3), st.decimals(0, 1, places=12))
    def test_is_never_off_by_more_than_half_a_step(self, quantity: Decimal, price: Decimal) -> None:
        assert abs(amount_of(quantity, price) - quantity * price) <= AMOUNT_STEP / 2

    def test_says_the_price_of_one_unit_to_twelve_places(self) -> None:
        assert unit_price(Decimal("0.0085"), Decimal(60)) == Decimal("0.000141666667")


class TestRateTable:
    OLD = RateTable(name="2026-10", currency="USD", effective_from=date(2026, 10, 1))
    NEW = RateTable(name="2026-11", currency="USD", effective_from=date(2026, 11, 1))

    @pytest.mark.parametrize(("day", "table"), [(date(2026, 10, 31), OLD), (date(2026, 11, 1), NEW), (date(2027, 5, 1), NEW)])
    def test_is_the_one_of_the_day_of_use(self, day: date, table: RateTable) -> None:
        assert in_force([self.NEW, self.OLD], day) is table

    def test_is_missing_before_the_first_one(self) -> None:
        with pytest.raises(NoRateTable, match="2026-09-30"):
            in_force([self.NEW, self.OLD], date(2026, 9, 30))
