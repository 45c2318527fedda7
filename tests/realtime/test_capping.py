"""A call ends when its agent's version allows no more of it, in time or in money, and the caller hears why."""

from datetime import date
from decimal import Decimal

from commands.rates import Price, RateTable
from events.calls.ending import EndedBy
from events.usage import Meter
from realtime.control import capping
from realtime.machine.briefing import Thresholds
from tests.realtime.scene import Scene, briefing

TABLE = RateTable(
    name="t", currency="USD", effective_from=date(2026, 1, 1),
    prices={
        ("twilio", Meter.TELEPHONY_SECONDS): Price(unit_price=Decimal("0.0001"), rate="a"),
        ("ears", Meter.RECOGNITION_SECONDS): Price(unit_price=Decimal("0.0001"), rate="b"),
        ("mind/m-default", Meter.MODEL_OUTPUT_TOKENS): Price(unit_price=Decimal("0.001"), rate="c"),
        ("mind/m-fast", Meter.MODEL_OUTPUT_TOKENS): Price(unit_price=Decimal("0.001"), rate="c"),
        ("voice", Meter.SYNTHESIS_CHARACTERS): Price(unit_price=Decimal("0.00003"), rate="d"),
    },
)  # fmt: skip
LISTED = capping.prices(TABLE, recogniser="ears", provider="mind", voice="voice", models=["m-default", "m-fast"])


def talk(cents: int, *, turns: int = 12) -> Scene:
    """Each answer has 20 tokens, which cost 2 cents."""
    scene = Scene(briefing(thresholds=Thresholds(max_cost_cents=cents), prices=LISTED, ask_to_record=False)).greeted()
    for _ in range(turns):
        if scene.over or scene.state.reply is not None:
            break
        scene.says("when are you open please?").wait(10).model_answers("From nine to five.").hears_all()
    return scene.hears_all()


class TestMoney:
    def test_ends_the_call_when_it_has_cost_as_much_as_allowed(self) -> None:
        scene = talk(5)
        assert (scene.end.reason, scene.end.ended_by, scene.end.billable) == ("cost-limit", EndedBy.PLATFORM, True)
        assert scene.spoken[-1] == scene.briefing.wording.cost_is_up
        assert 2 <= scene.spoken.count("From nine to five.") <= 3

    def test_allows_more_for_more(self) -> None:
        assert talk(15).spoken.count("From nine to five.") > talk(5).spoken.count("From nine to five.")

    def test_is_not_looked_at_without_a_cap(self) -> None:
        assert not talk(0).over

    def test_is_what_the_list_says(self) -> None:
        assert (LISTED["second"], LISTED["character"], LISTED["m-fast/output_tokens"]) == (200_000, 30_000, 1_000_000)
        assert capping.prices(None, recogniser="ears", provider="mind", voice="voice", models=[]) == {}


class TestTime:
    def scene(self, max_call_ms: int) -> Scene:
        thresholds = Thresholds(max_call_ms=max_call_ms, silence_ms=300_000)
        return Scene(briefing(thresholds=thresholds, ask_to_record=False)).greeted()

    def test_is_almost_over_half_a_minute_before(self) -> None:
        scene = self.scene(120_000)
        scene.wait(89_900 - scene.at_ms)
        assert scene.briefing.wording.time_almost_up not in scene.spoken
        scene.wait(200)
        assert scene.spoken[-1] == scene.briefing.wording.time_almost_up
        scene.wait(60_000)
        assert scene.spoken[-1] == scene.briefing.wording.time_is_up
        assert scene.end.reason == "time-limit"

    def test_of_a_short_call_is_over_without_a_warning(self) -> None:
        scene = self.scene(50_000).wait(80_000)
        assert scene.briefing.wording.time_almost_up not in scene.spoken
        assert scene.end.reason == "time-limit"
