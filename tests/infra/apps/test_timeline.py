"""A call's story, as it is told in a terminal."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console

from commands.rates import Price, RateTable, Verified
from events.calls.ending import EndedBy, Stage
from events.calls.talking import Evidence, Latency, Spent
from events.sealing import Sealed
from events.usage import Meter, RatedLine
from infra.apps.story import CallStory, ConsentWord, FlagAtCall, Happening, story_data
from infra.apps.timeline import clock, render, stages_of, words_heard
from projections.calls import Call, CallStatus, TimelineEntry
from projections.usage import CallUsage

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
SEALED: Sealed[str] = Sealed("subject", b"")
KEY: dict[str, Any] = {"tenant": "AYB-1", "id": "call_1"}
POSITION = f"aybiza.consents.v1/3/17/7/{'0' * 32}"


def happening(kind: str, words: str | None = None, heard: str | None = None, filler: str | None = None, **details: Any) -> Happening:
    entry = TimelineEntry(**KEY, version=1, n=0, occurred_at=AT, kind=kind, actor="worker", position=POSITION, **details)
    return Happening(entry=entry, words=words, heard=heard, filler=filler)


def rated(turn: int, meter: Meter, provider: str, quantity: str, price: str, *, embedded: bool, rate: str = "r") -> RatedLine:
    return RatedLine(
        turn=turn, meter=meter, provider=provider, quantity=Decimal(quantity), unit_price=Decimal(price),
        amount=Decimal(quantity) * Decimal(price), rate=rate, embedded=embedded,
    )  # fmt: skip


PRICES = RateTable(
    name="2026-10", currency="USD", effective_from=AT.date(),
    prices={("twilio", Meter.TELEPHONY_SECONDS): Price(unit_price=Decimal("0.0001"), rate="r", verified=True)},
)  # fmt: skip
STORY = CallStory(
    call=Call(
        **KEY, version=9, status=CallStatus.ENDED, call_sid="CA1", caller=SEALED, caller_ref="r", number=SEALED, number_ref="n",
        agent_id="agt_1", agent_version="2.1.0", agent_version_hash="ab" * 32, flags={"greeting": "short"}, received_at=AT, answered_at=AT,
        ended_at=AT + timedelta(seconds=40), recogniser="deepgram/nova-3", model_provider="bedrock", voice="deepgram/aura-2", embedded=True,
        consent_version=1, end_reason="goodbye", ended_by=EndedBy.CALLER, stage=Stage.CONVERSATION, billable=True, duration_ms=40_120,
    ),
    caller="+14155550199",
    number="+14155550123",
    agent_name="Ann [bold]",
    happenings=[
        happening("disclosure-spoken", at_ms=100, ended_ms=2300, evidence=Evidence.PLAYED, attempt=1),
        happening("caller-turn", "is friday [free]", turn=1, at_ms=5200, ended_ms=6100, confidence=0.93, recognised_ms=6200),
        happening("model-chosen", turn=1, rule="short-question", logical="fast", model="haiku"),
        happening("tool-requested", '{"day":"friday"}', filler="One moment.", turn=1, at_ms=6500, tool="slots", idempotent=False),
        happening("tool-answered", '{"slot":9}', turn=1, at_ms=6900, tool="slots", failed=False),
        happening(
            "agent-turn", "We have nine. And ten.", "We have nine.", turn=1, at_ms=7000, ended_ms=9000, evidence=Evidence.FLUSH_BOUNDED,
            interrupted=True, latency=Latency(speech_ended_ms=6100, turn_decided_ms=6400, on_wire_ms=6610), spent=Spent(),
        ),
        happening("agent-interrupted", turn=1, at_ms=8800, ended_ms=9000),
        happening("recording-started", at_ms=9500, consent_version=1),
    ],
    consents=[
        ConsentWord(
            purpose="recording", granted=True, at=AT, evidence="call_1 turn 1", version=1, position=POSITION, expires_at=None,
            rests_on_it=True,
        )
    ],
    usage=CallUsage(
        **KEY, version=2, recorded_at=AT, lines=(), currency="USD", rate_table="2026-10", total=Decimal("0.0083"), missing=("odd thing",),
        rated=(
            rated(0, Meter.TELEPHONY_SECONDS, "twilio", "41", "0.0001", embedded=False),
            rated(1, Meter.MODEL_INPUT_TOKENS, "bedrock/haiku", "820", "0.000001", embedded=False, rate="hearsay"),
            rated(1, Meter.SYNTHESIS_CHARACTERS, "deepgram/aura-2", "50", "0.00003", embedded=True),
            rated(2, Meter.SYNTHESIS_CHARACTERS, "deepgram/aura-2", "30", "0.00003", embedded=True),
        ),
    ),
    flags=[FlagAtCall(name="greeting", variant="short", description="try it")],
    spoken={1: "Is Friday free?"},
    verified=Verified([PRICES]),
)  # fmt: skip


def printed(story: CallStory) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(render(story))
    return capture.get()


class TestRender:
    def test_tells_turn_by_turn_what_was_said_heard_chosen_and_paid(self) -> None:
        text = printed(STORY)
        for words in (
            "heard whole that an AI is speaking, by 00:02.3 (attempt 1, played)",
            "said        Is Friday free?",
            "recognised  is friday [free]  (93% sure)",
            "rule short-question chose fast: haiku",
            'slots asked  {"day":"friday"}  (runs once)  meanwhile: “One moment.”',
            "We have nine. [And ten.]",
            "cut: heard as far as shown (flush-bounded)",
            "end of speech 00:06.1, decided +300, on the wire +510 ms",
            "cost $0.002320 ?",
            "spoke over the agent, who stopped at 00:09.0 (200 ms)",
            "recording, on consent version 1",
        ):
            assert words in text

    def test_names_agent_version_and_flags_and_takes_no_name_for_markup(self) -> None:
        text = printed(STORY)
        assert "Ann [bold], version 2.1.0 (abababababab)" in text
        assert "greeting = short  (try it)" in text
        assert "goodbye by the caller, in conversation, after 00:40.1, billable" in text

    def test_says_where_the_log_has_each_word_about_consent(self) -> None:
        text = printed(STORY)
        assert "recording allowed: call_1 turn 1" in text
        assert "aybiza.consents.v1 3/17 (term 7); the recording rests on it" in text

    def test_sums_usage_and_marks_engines_that_stood_in(self) -> None:
        (line,) = [line for line in printed(STORY).splitlines() if "synthesis-characters" in line]
        assert "deepgram/aura-2 *" in line
        assert "* an embedded engine stood in, priced as its provider" in printed(STORY)
        assert line.split()[-3:] == ["80", "0.00003", "$0.002400"]
        assert "no price for odd thing" in printed(STORY)

    def test_marks_what_rests_on_a_price_that_nobody_read_at_its_source(self) -> None:
        text = printed(STORY)
        assert [line.split()[0] for line in text.splitlines() if line.rstrip().endswith(" ?")] == ["cost", "model-input-tokens", "total"]
        assert "? an estimate: a price that nobody read at its source" in text
        assert story_data(STORY)["usage"]["prices_verified"] is False


class TestWordsHeard:
    def test_brackets_what_was_not_heard(self) -> None:
        assert words_heard("One. Two.", "One.").plain == "One. [Two.]"

    def test_brackets_nothing_when_all_was_heard(self) -> None:
        assert words_heard("One.", "One.").plain == "One."

    def test_compares_by_words_when_spaces_differ(self) -> None:
        assert words_heard("One  two. Three.", "One two.").plain == "One two. [Three.]"

    def test_shows_both_when_they_do_not_fit(self) -> None:
        assert words_heard("One.", "Another.").plain == "Another.  generated: One."


class TestStages:
    def test_count_from_the_end_of_the_callers_speech(self) -> None:
        assert stages_of(Latency(speech_ended_ms=61_000, first_token_ms=61_250)) == "end of speech 01:01.0, first token +250 ms"

    def test_begin_with_the_first_one_where_nobody_spoke(self) -> None:
        assert stages_of(Latency(first_byte_ms=90, on_wire_ms=95)) == "first byte 00:00.0, on the wire +5 ms"

    def test_are_not_told_where_there_are_none(self) -> None:
        assert stages_of(Latency()) == ""


class TestStoryData:
    def test_has_the_words_in_clear_and_nothing_sealed(self) -> None:
        data = story_data(STORY)
        assert data["call"]["caller"] == "+14155550199"
        assert data["timeline"][1]["words"] == "is friday [free]"
        assert data["costs"] == {"1": "0.002320"}


def test_clock_shows_minutes_seconds_and_tenths() -> None:
    assert [clock(ms) for ms in (None, 0, 59_999, 61_250)] == ["", "00:00.0", "00:59.9", "01:01.2"]
