"""The scripted model answers what was said: sentences of no file, words misheard, questions cut short, whatever their order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.adapters.scripted_model.clock import time_in
from infra.adapters.scripted_model.dialogue import Conversation
from infra.adapters.scripted_model.model import ScriptedModel, general_script
from infra.adapters.scripted_model.phrasing import fill, spoken
from infra.adapters.scripted_model.script import BrokenScript, read_script
from infra.adapters.scripted_model.understanding import Understanding
from infra.adapters.scripted_model.words import Lexicon, spoken_time, stem, tokens
from infra.apps.demo_business.script import demo_script
from realtime.ports import Message, ModelRequest, ToolOutcome, ToolSpec, ToolUse
from realtime.thinking.tooling import END_CALL, WITHDRAW
from tests.contracts.minds import question, reply_of, scripted

FOUND = {"day": "tuesday", "times": ["09:15", "11:30"], "open": True}
USE = ToolUse(tool_use_id="t1", name="find_appointments", arguments={"day": "tuesday"})
OFFERED = (
    Message(role="user", text="Do you have anything on Tuesday?"),
    Message(role="assistant", text="I'll look that up for you...", tool_uses=(USE,)),
    Message(role="user", tool_outcomes=(ToolOutcome(tool_use_id="t1", content=FOUND),)),
)
OFFER = Message(role="assistant", text="On Tuesday I have nine fifteen or eleven thirty. Which one shall I book?")


async def said(*messages: Message | str) -> str:
    return (await reply_of(scripted(), question(*messages)))[0]


async def used(*messages: Message | str) -> list[tuple[str, dict[str, object]]]:
    return [(use.name, dict(use.arguments)) for use in (await reply_of(scripted(), question(*messages)))[1]]


def user(text: str) -> Message:
    return Message(role="user", text=text)


class TestUnderstanding:
    @pytest.mark.parametrize(
        ("words", "intent"),
        [
            ("could you tell me when you are open on fridays", "hours"),
            ("is the practice shut over the weekend", "hours"),
            ("what would i have to pay for a check up", "prices"),
            ("how expensive is getting my teeth whitened", "prices"),
            ("any chance to squeeze me in on monday afternoon", "book"),
            ("my wife needs her cavity filled can she come tuesday", "book"),
            ("something came up and i have to reschedule", "move"),
            ("i won't be able to make it to my appointment tomorrow", "cancel"),
            ("which street are you on", "address"),
            ("what's the best place to leave my car", "parking"),
            ("does my dental insurance cover this", "insurance"),
            ("i have got a horrible tooth ache", "emergency"),
            ("part of my tooth broke off", "emergency"),
            ("who would be treating me", "team"),
            ("do you also see kids", "children"),
            ("wait are you a real human being", "robot"),
            ("i'd like to talk with a real person", "human"),
            ("would you mind not recording this", "stop-recording"),
            ("please turn off that recording", "stop-recording"),
            ("cheers that was all i needed", "goodbye"),
            ("okay bye now", "goodbye"),
        ],
    )
    def test_knows_paraphrases(self, words: str, intent: str) -> None:
        assert Understanding(demo_script()).understand(words).intent == intent

    @pytest.mark.parametrize(
        ("words", "intent"),
        [
            ("what time do you clothes today", "hours"),
            ("what are your opening powers on friday", "hours"),
            ("please stop according", "stop-recording"),
            ("can you tell me about your theme", "team"),
            ("how much for a feeling", "prices"),
        ],
    )
    def test_forgives_a_recogniser(self, words: str, intent: str) -> None:
        assert Understanding(demo_script()).understand(words).intent == intent

    @pytest.mark.parametrize("words", ["", "uh", "what is the weather tomorrow", "i want to buy a bicycle", "who won the football match"])
    def test_knows_what_it_does_not_know(self, words: str) -> None:
        assert Understanding(demo_script()).understand(words).intent == ""

    def test_takes_the_day_that_was_named_last(self) -> None:
        assert Understanding(demo_script()).understand("on monday no sorry on thursday").slots["day"] == "thursday"

    @pytest.mark.parametrize(
        ("words", "time"),
        [
            ("ten thirty please", "10:30"), ("half past nine", "09:30"), ("a quarter to four in the afternoon", "15:45"),
            ("at three", "15:"), ("nine o'clock", "09:00"), ("10:30 works", "10:30"), ("eight oh five", "08:05"), ("noon", "12:00"),
            ("the first one", ""), ("eleven forty five am", "11:45"), ("two pm", "14:00"),
        ],
    )  # fmt: skip
    def test_reads_times_in_words(self, words: str, time: str) -> None:
        assert time_in(tokens(words))[0] == time

    def test_words_have_stems_and_neighbours(self) -> None:
        assert stem("closing") == stem("closed") == stem("close")
        lexicon = Lexicon(["close", "filling", "parking"])
        assert lexicon.nearest("clothes")[0] == stem("close")
        assert lexicon.nearest("feeling")[0] == stem("filling")
        assert lexicon.nearest("banana") == (stem("banana"), 0.0)


class TestDialogue:
    async def test_answers_the_same_question_alike_wherever_it_is_asked(self) -> None:
        answer = await said("Where can I park?")
        assert await said("When are you open?", "We are open.", "And where can I park?") == answer

    async def test_goes_on_with_the_matter_when_only_a_value_is_named(self) -> None:
        first = "What are your opening hours on Friday?"
        assert "nine until one" in await said(first, await said(first), "And on Saturday?")

    async def test_asks_for_what_it_needs_and_uses_the_answer(self) -> None:
        asked = "I would like to make an appointment for a cleaning."
        assert await said(asked) == "Which day would suit you?"
        assert await used(asked, "Which day would suit you?", "Wednesday would be great.") == [
            ("find_appointments", {"day": "wednesday", "service": "cleaning"})
        ]

    @pytest.mark.parametrize(
        ("words", "time"),
        [
            ("The first one, please.", "09:15"),
            ("the later one", "11:30"),
            ("half past eleven", "11:30"),
            ("nine fifteen sounds good", "09:15"),
        ],
    )
    async def test_books_the_time_that_was_chosen(self, words: str, time: str) -> None:
        assert await used(*OFFERED, OFFER, user(words)) == [("book_appointment", {"day": "tuesday", "time": time})]

    async def test_offers_again_what_was_not_chosen_clearly(self) -> None:
        text = await said(*OFFERED, OFFER, user("yes please"))
        assert text == "I have nine fifteen or eleven thirty on Tuesday. Which one shall I book?"

    async def test_takes_a_yes_for_the_question_that_was_heard(self) -> None:
        offer = Message(role="assistant", text="Sorry to hear that. Shall I look for the next free time?")
        assert await used(user("My tooth hurts"), offer, user("yes please")) == [("find_appointments", {"day": "soonest"})]

    async def test_takes_no_yes_for_a_question_that_was_cut_off(self) -> None:
        offer = Message(role="assistant", text="Sorry to hear that. We keep time")
        assert await used(user("My tooth hurts"), offer, user("yes please")) == []

    async def test_says_what_it_said_before_when_asked_to(self) -> None:
        answer = await said("Where can I park?")
        assert await said("Where can I park?", answer[:10], "Sorry, what did you say?") == answer

    async def test_asks_again_twice_in_different_words(self) -> None:
        first = await said("purple elephants")
        assert "other words" in first
        assert await said("purple elephants", first, "green ones") != first

    async def test_stops_the_recording_and_answers_what_stands_beside(self) -> None:
        words = user("Please stop recording and tell me your address.")
        assert await used(words) == [("withdraw_recording_consent", {})]
        use = ToolUse(tool_use_id="t1", name="withdraw_recording_consent", arguments={})
        told = ToolOutcome(tool_use_id="t1", content={"recording": "stopped", "consent": "withdrawn"})
        text = await said(words, Message(role="assistant", tool_uses=(use,)), Message(role="user", tool_outcomes=(told,)))
        assert text.startswith("I have stopped recording. We are at twelve Harbour Street")

    async def test_asks_a_tool_again_that_a_hum_cut_off(self) -> None:
        cut = Message(role="user", text="mm hmm", tool_outcomes=(ToolOutcome(tool_use_id="t1", content="It was cancelled.", failed=True),))
        assert await used(*OFFERED[:2], cut) == [("find_appointments", {"day": "tuesday"})]

    async def test_tells_an_answer_that_came_late(self) -> None:
        late = '(The late answer of book_appointment: {"day": "tuesday", "status": "booked", "time": "09:15"})'
        assert (await said(*OFFERED, OFFER, user(late))).startswith("Done. You are booked on Tuesday at nine fifteen.")
        beside = await said(*OFFERED, OFFER, user(f"{late}\nWhere can I park?"))
        assert "You are booked" in beside
        assert "park free of charge" in beside

    async def test_says_that_a_tool_failed(self) -> None:
        failed = Message(role="user", tool_outcomes=(ToolOutcome(tool_use_id="t1", content="no answer in time", failed=True),))
        assert "cannot see our calendar" in await said(*OFFERED[:2], failed)

    async def test_speaks_first_when_the_call_begins(self) -> None:
        assert await said("(The phone call begins. The caller has said nothing yet.)") == "How can I help you?"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["09:15", "tuesday", "booked"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["day", "times", "time", "status", "x"]), inner, max_size=4)
    ),
    max_leaves=6,
)
WORDS = st.sampled_from(
    [
        "yes",
        "the first one",
        "friday at ten",
        "book a cleaning",
        "stop recording",
        "bye",
        "(The late answer of book_appointment: {})",
        "",
        "?!",
    ]
) | st.text(max_size=20)
USES = st.builds(
    ToolUse, tool_use_id=st.sampled_from(["t1", "t2"]), name=st.sampled_from(["find_appointments", "book_appointment", "gone"]),
    arguments=st.dictionaries(st.text(max_size=4), JSON, max_size=2),
)  # fmt: skip
OUTCOMES = st.builds(ToolOutcome, tool_use_id=st.sampled_from(["t1", "t2", "t3"]), content=JSON, failed=st.booleans())
MESSAGES = st.builds(
    Message, role=st.sampled_from(["user", "assistant"]), text=WORDS, tool_uses=st.lists(USES, max_size=2).map(tuple),
    tool_outcomes=st.lists(OUTCOMES, max_size=2).map(tuple),
)  # fmt: skip
TALK = Conversation(demo_script())


class TestAnyConversation:
    @given(st.lists(MESSAGES, max_size=8))
    @settings(max_examples=100, deadline=None)
    def test_has_a_next_word_or_deed_and_always_the_same(self, messages: list[Message]) -> None:
        asked = question(*messages)
        plan = TALK.next(asked)
        assert plan == TALK.next(asked)
        assert plan.text or plan.uses or not messages or messages[-1].role == "assistant"
        assert all(name in {tool.name for tool in asked.tools} for name, _ in plan.uses)


class TestAnyAgent:
    """Without a script of its own an agent says what it can do, from its tools, and is honest about the rest."""

    async def ask(self, words: str) -> tuple[str, list[str]]:
        tool = ToolSpec(name="track_parcel", description="Find out where a parcel is.", input_schema={"type": "object"})
        request = ModelRequest(
            model="m", system="You work for a parcel service.", messages=(user(words),), tools=(WITHDRAW, END_CALL, tool), max_tokens=400,
            temperature=None,
        )  # fmt: skip
        text, uses, _ = await reply_of(ScriptedModel([demo_script()], first_word_ms=0, word_ms=0), request)
        return text, [use.name for use in uses]

    async def test_says_what_it_can_do(self) -> None:
        assert await self.ask("What can you do for me?") == ("I can find out where a parcel is. How can I help you?", [])

    async def test_repeats_what_it_has_no_answer_to(self) -> None:
        text, _ = await self.ask("When are you open on Friday?")
        assert text.startswith("I understood: When are you open on Friday.")

    async def test_ends_the_call_and_the_recording(self) -> None:
        assert await self.ask("Alright, goodbye!") == ("Thank you for calling. Goodbye.", ["end_call"])
        assert await self.ask("stop recording me") == ("", ["withdraw_recording_consent"])


class TestScript:
    @pytest.mark.parametrize(
        "broken",
        [
            {}, {"agent": "x", "not_understood": []}, {"agent": "x", "not_understood": [{"say": "?", "ask": "nothing"}]},
            {"agent": "x", "not_understood": ["?"], "questions": {"q": {"text": "?", "yes": "nothing"}}},
            {"agent": "x", "not_understood": ["?"], "intents": [{"phrases": ["a"]}]},
            {"agent": "x", "not_understood": ["?"], "intents": [{"name": "a", "matter": "b"}]},
        ],
    )  # fmt: skip
    def test_that_contradicts_itself_is_refused(self, broken: dict[str, object]) -> None:
        with pytest.raises(BrokenScript):
            read_script(broken, beneath=general_script())

    def test_names_only_tools_that_the_business_has(self) -> None:
        tools = {intent.tool for intent in demo_script().intents} - {""}
        assert tools == {"find_appointments", "book_appointment", "withdraw_recording_consent", "end_call"}


class TestPhrasing:
    def test_says_times_days_and_lists(self) -> None:
        assert fill("On {day} I have {times}.", {"day": "friday", "times": ["09:15", "12:00", "16:05"]}) == (
            "On Friday I have nine fifteen, noon or four oh five."
        )
        assert spoken_time("13:45") == "one forty five"
        assert spoken({"order": 7, "shipped": True}) == "Order: 7. Shipped: yes."
        assert spoken([]) == ""
