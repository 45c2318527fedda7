"""Spoken calls over the embedded engines: what is said decides what happens, and what is told is what sounded."""

import json
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from commands.calls.deciding import CALLS
from events.admission import UNCLAIMED
from events.headers import Kind
from events.numbers import UnassignedNumberCalled
from events.records import RawRecord, recorded
from events.streams import topic_of
from infra.apps.demo_business.opening import configuration
from infra.apps.demo_checks import findings
from infra.apps.demo_play import LINES
from infra.apps.ringing import Line, ring
from infra.local.stack import Addresses
from infra.settings import Settings
from projections.calls import Recording
from tests.spoken.conversations import House, Told, opened_house, sides, stretches

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARAPHRASES = (
    "No, I do not want that.",
    "Until what time are you open on Saturday?",
    "And how much would it cost me to get my teeth cleaned?",
    "Okay thanks, bye bye.",
)
OTHER_ORDER = (
    "Yes, you may.",
    "Please tell me something about your dentists.",
    "What time do you close on Fridays?",
    "Thanks a lot, goodbye.",
)
TOLERANCE_MS = 40
# A voice's last sound fades into the silence that is kept between two sentences.
FADING_MS = 240
# The caller is another process on a busy machine: what is on the wire is heard a little later.
AWAY_MS = 300


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(settings: Settings, stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with opened_house(settings, stack, tmp_path_factory.mktemp("ears")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(house: House) -> Mapping[str, Told]:
    """All calls of this module, some at the same time."""
    first = await house.talk_all({"demo": LINES}, {"other order": OTHER_ORDER})
    impatient = (Line(text="What is the price of a check up?", barge_in_after_ms=1000), "Goodbye.")
    nonsense = ("No.", "Purple elephants juggle seven violins.", "Goodbye.")
    return first | await house.talk_all({"paraphrases": PARAPHRASES}, {"impatient": impatient}, {"nonsense": nonsense})


class TestACall:
    async def test_keeps_every_promise_of_the_demo(self, house: House, told: Mapping[str, Told]) -> None:
        story = told["demo"].story
        wav = await house.platform.recordings.wav(story.call.tenant, story.call.id)
        assert [each for each in findings(story, wav) if not each.kept] == []

    async def test_answers_what_was_said_in_whatever_order(self, told: Mapping[str, Told]) -> None:
        one, other = told["demo"].answers(), told["other order"].answers()
        assert other.index("team of five") < other.index("four in the afternoon")
        assert one.index("four in the afternoon") < one.index("team of five")

    async def test_understands_sentences_that_stand_in_no_file(self, told: Mapping[str, Told]) -> None:
        known = json.dumps(configuration()).lower()
        assert not [each for each in PARAPHRASES if each.lower().rstrip(".?") in known]
        answers = told["paraphrases"].answers()
        assert "saturday" in answers
        assert "cleaning" in answers
        assert told["paraphrases"].story.call.end_reason == "goodbye"

    async def test_is_not_recorded_when_the_caller_says_no(self, told: Mapping[str, Told]) -> None:
        story = told["paraphrases"].story
        assert story.call.recording is Recording.NEVER
        assert not [word for word in story.consents if word.granted]

    async def test_asks_again_what_it_did_not_understand(self, told: Mapping[str, Told]) -> None:
        first_answer = told["nonsense"].all("agent-turn")[2]
        assert "?" in (first_answer.heard or "")

    async def test_greets_from_memory_and_pays_for_the_greeting_once(self, told: Mapping[str, Told]) -> None:
        # The first two may ring before everything is ready.
        later = [told[name].all("agent-turn")[0].entry.spent for name in ("paraphrases", "impatient", "nonsense")]
        paid = [spent.characters for spent in later if spent is not None]
        assert (len(paid), paid.count(0) >= 2) == (3, True)

    async def test_discloses_again_after_an_interruption(self, told: Mapping[str, Told]) -> None:
        disclosed = told["impatient"].all("disclosure-spoken")
        assert [each.entry.attempt for each in disclosed] == [2]
        greeting = told["impatient"].all("agent-turn")[0]
        assert greeting.entry.interrupted
        assert len(greeting.heard or "") < len(greeting.words or "")


class TestTheTimeline:
    @pytest.mark.parametrize("name", ["demo", "other order", "paraphrases"])
    async def test_says_when_the_caller_spoke(self, told: Mapping[str, Told], name: str) -> None:
        turns = [(each.entry.at_ms, each.entry.ended_ms) for each in told[name].all("caller-turn")]
        assert len(turns) == len(told[name].said)
        for (began, ended), (sounded, faded) in zip(turns, told[name].said, strict=True):
            assert abs((began or 0) - sounded) <= TOLERANCE_MS
            assert abs((ended or 0) - faded) <= TOLERANCE_MS

    async def test_is_what_the_recording_holds(self, house: House, told: Mapping[str, Told]) -> None:
        story = told["demo"].story
        wav = await house.platform.recordings.wav(story.call.tenant, story.call.id)
        assert wav is not None
        from_ms, to_ms = (
            told["demo"].all("recording-started")[0].entry.at_ms or 0,
            told["demo"].all("recording-stopped")[0].entry.at_ms or 0,
        )
        for kind, side in zip(("caller-turn", "agent-turn"), sides(wav), strict=True):
            turns = [(each.entry.at_ms or 0, each.entry.ended_ms or 0) for each in told["demo"].all(kind)]
            recorded_turns = [(began, ended) for began, ended in turns if from_ms <= began and ended <= to_ms]
            sounds = stretches(side)
            assert len(recorded_turns) >= 3
            for began, ended in recorded_turns:
                inside = [(start, end) for start, end in sounds if began - TOLERANCE_MS <= start and end <= ended + TOLERANCE_MS]
                assert abs(inside[0][0] - began) <= TOLERANCE_MS
                assert ended - inside[-1][1] <= (TOLERANCE_MS if kind == "caller-turn" else FADING_MS)
            for start, end in sounds:
                assert any(began - TOLERANCE_MS <= start and end <= ended + TOLERANCE_MS for began, ended in turns), (kind, start, end)

    @pytest.mark.parametrize("name", ["demo", "other order", "paraphrases"])
    async def test_says_what_the_caller_heard(self, told: Mapping[str, Told], name: str) -> None:
        turns = [(each.entry.at_ms or 0, each.entry.ended_ms or 0) for each in told[name].all("agent-turn")]
        for start, end in told[name].heard:
            assert any(began <= start and end <= ended + AWAY_MS for began, ended in turns), (start, end, turns)

    async def test_is_what_lies_on_the_log(self, house: House, told: Mapping[str, Told]) -> None:
        story = told["demo"].story
        on_the_log = [
            str(recorded(raw, house.platform.reader.codec).position)
            for raw in await records(house, "calls")
            if raw.key.decode() == f"{story.call.tenant}/{CALLS.category}/{story.call.id}"
        ]
        assert [each.entry.position for each in story.happenings] == on_the_log


class TestTheLog:
    async def test_holds_no_personal_byte_in_clear(self, house: House, told: Mapping[str, Told]) -> None:
        secrets = [each.encode() for each in ("12025550178", "2025550143", "2025552000", "close on friday", "team of five", "elephants")]
        seen = 0
        for room in ("calls", "consents", "numbers", "usage"):
            for raw in await records(house, room):
                seen += 1
                whole = (raw.key + raw.value).lower()
                assert not [secret for secret in secrets if secret in whole], raw
        assert seen > 100
        # The same search finds what is in clear on purpose, so that it is known to find anything.
        assert any(b"harbour dental" in raw.value.lower() for raw in await records(house, "organisations"))


class TestANumberThatNobodyOwns:
    async def test_is_refused_in_words_and_is_a_fact(self, house: House) -> None:
        record = await ring(
            house.platform.installation, house.platform.url, number="+12025550199", caller="+12025552999", lines=[Line(text="Hello?")]
        )
        assert [note["event"] for note in record.notes] == ["document", "say", "hangup", "completed"]
        facts = [recorded(raw, house.platform.reader.codec).fact for raw in await records(house, "numbers")]
        assert UnassignedNumberCalled(call_sid=record.call_sid) in facts


async def records(house: House, room: str) -> list[RawRecord]:
    """Every admitted event of a room, as it lies on the log."""
    found: list[RawRecord] = []
    reader = house.platform.reader
    places = dict.fromkeys(await reader.end_offsets([topic_of(room)]), (0, UNCLAIMED))
    async for batch in reader.batches([topic_of(room)], places, stop_at_end=True):
        found += [raw for raw in batch.records if raw.header is not None and raw.header.kind is Kind.EVENT]
    return found
