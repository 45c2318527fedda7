"""What a call used is recorded when it has ended, once, line by line."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from commands.rates import Price, RateTable
from commands.usage import RecordUsage
from events.calls.talking import Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId
from events.usage import Meter, UsageRecorded
from stream_processors.manager import Due, States
from stream_processors.usage import begun_seconds, record_usage
from tests.projections.facts import CALL, agent_turn, answered, ended, received, sealed
from tests.projections.told import AYB, told

TABLE = RateTable(
    name="2026-11", currency="USD", effective_from=date(2026, 11, 1),
    prices={("twilio", Meter.TELEPHONY_SECONDS): Price(unit_price=Decimal("0.0001"), rate="2026-11 inbound")},
)  # fmt: skip
USAGE = StreamId(AYB, "usage", CALL.id)
SPENT: dict[str, Any] = {"model": "m-small", "input_tokens": 300, "output_tokens": 12, "characters": 9}
HISTORY = (received(), answered(), agent_turn(0, characters=20), agent_turn(1, **SPENT), ended(duration_ms=54_001, recognition_ms=53_000))
RECORDED = UsageRecorded(call_id=CALL.id, lines=())


def due_after(*facts: Recorded[Fact], tables: Sequence[RateTable] = (TABLE,)) -> Sequence[Due]:
    states = States(record_usage(tables))
    for fact in facts:
        states.take(fact)
    return states.due(f"{AYB}/{CALL.id}")


def command(due: Sequence[Due]) -> RecordUsage:
    (only,) = due
    return cast(RecordUsage, only.command)


class TestRecordUsage:
    def test_is_due_when_the_call_has_ended_and_not_before(self) -> None:
        assert due_after(*told(CALL, *HISTORY[:-1])) == ()
        (due,) = due_after(*told(CALL, *HISTORY))
        assert (due.stream, due.kind) == (USAGE, "record-usage")

    def test_has_a_line_for_each_turn_meter_and_provider(self) -> None:
        lines = {(line.turn, line.meter, line.provider): line.quantity for line in command(due_after(*told(CALL, *HISTORY))).lines}
        assert lines == {
            (0, Meter.TELEPHONY_SECONDS, "twilio"): 55,
            (0, Meter.RECOGNITION_SECONDS, "deepgram/nova-3"): 53,
            (0, Meter.SYNTHESIS_CHARACTERS, "deepgram/aura-2"): 20,
            (1, Meter.MODEL_INPUT_TOKENS, "bedrock/m-small"): 300,
            (1, Meter.MODEL_OUTPUT_TOKENS, "bedrock/m-small"): 12,
            (1, Meter.SYNTHESIS_CHARACTERS, "deepgram/aura-2"): 9,
        }

    def test_charges_characters_to_the_voice_that_said_them(self) -> None:
        mixed = (*HISTORY[:3], agent_turn(1, **SPENT | {"elsewhere": {"polly/neural": 4}}), HISTORY[-1])
        lines = command(due_after(*told(CALL, *mixed))).lines
        assert {line.provider: line.quantity for line in lines if line.meter is Meter.SYNTHESIS_CHARACTERS and line.turn == 1} == {
            "deepgram/aura-2": 5, "polly/neural": 4,
        }  # fmt: skip

    def test_sums_what_one_turn_asked_of_one_model_twice(self) -> None:
        twice = (*HISTORY[:-1], agent_turn(1, **SPENT, estimated=True), HISTORY[-1])
        (line,) = [line for line in command(due_after(*told(CALL, *twice))).lines if line.meter is Meter.MODEL_OUTPUT_TOKENS]
        assert (line.quantity, line.estimated) == (Decimal(24), True)

    def test_has_lines_of_their_own_for_an_answer_that_was_thought_ahead_and_dropped(self) -> None:
        ahead = AnswerSpeculated(
            turn=1, attempt=1, outcome="went-on", words=sealed("when"), asked_ms=1, settled_ms=2,
            spent=Spent(model="m-small", input_tokens=200, output_tokens=7),
        )  # fmt: skip
        lines = command(due_after(*told(CALL, *HISTORY[:3], ahead, *HISTORY[3:]))).lines
        of_one = {(line.meter, line.purpose): line.quantity for line in lines if line.turn == 1}
        assert of_one == {
            (Meter.MODEL_INPUT_TOKENS, ""): 300, (Meter.MODEL_INPUT_TOKENS, "speculation"): 200, (Meter.MODEL_OUTPUT_TOKENS, ""): 12,
            (Meter.MODEL_OUTPUT_TOKENS, "speculation"): 7, (Meter.SYNTHESIS_CHARACTERS, ""): 9,
        }  # fmt: skip

    def test_takes_the_providers_count_instead_of_an_estimate(self) -> None:
        cut = agent_turn(1, **SPENT, estimated=True)
        counted = AnswerAccounted(turn=1, at_ms=9, estimate=cut.spent, spent=replace(cut.spent, output_tokens=40, estimated=False))
        recorded = command(due_after(*told(CALL, *HISTORY[:3], cut, counted, counted, HISTORY[-1])))
        (line,) = [line for line in recorded.lines if line.meter is Meter.MODEL_OUTPUT_TOKENS]
        assert (line.quantity, line.estimated) == (Decimal(40), False)

    def test_marks_engines_of_ours_but_never_the_carrier(self) -> None:
        marks = {line.meter: line.embedded for line in command(due_after(*told(CALL, *HISTORY))).lines}
        assert marks.pop(Meter.TELEPHONY_SECONDS) is False
        assert set(marks.values()) == {True}

    def test_takes_the_prices_of_the_day_the_call_ended(self) -> None:
        recorded = command(due_after(*told(CALL, *HISTORY)))
        assert (recorded.rate_table, recorded.currency, recorded.prices) == ("2026-11", "USD", TABLE.prices)

    def test_is_recorded_without_prices_on_a_day_without_a_table(self) -> None:
        recorded = command(due_after(*told(CALL, *HISTORY, at=datetime(2026, 10, 31, 12, tzinfo=UTC))))
        assert (recorded.rate_table, recorded.prices) == ("none", {})

    def test_owes_nothing_for_a_call_that_nobody_answered(self) -> None:
        assert due_after(*told(CALL, received(), ended(duration_ms=0, recognition_ms=0))) == ()

    def test_is_done_once_the_usage_is_on_the_log_whichever_topic_came_first(self) -> None:
        call, usage = told(CALL, *HISTORY), told(USAGE, RECORDED)
        assert due_after(*call, *usage) == ()
        assert due_after(*usage, *call) == ()

    @given(st.integers(0, len(HISTORY)))
    def test_forgets_the_call_then(self, place: int) -> None:
        call, (usage,) = told(CALL, *HISTORY), told(USAGE, RECORDED)
        states = States(record_usage([TABLE]))
        for fact in (*call[:place], usage, *call[place:]):
            states.take(fact)
        assert states.keys == []


class TestBegunSeconds:
    def test_count_a_second_that_has_begun(self) -> None:
        assert [begun_seconds(ms) for ms in (0, 1, 1000, 1001)] == [0, 1, 1, 2]
