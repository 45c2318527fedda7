"""The context stays within its window; what is old is folded seldom and in big steps, and between folds it only grows at its end."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from events.calls.thinking import ContextFolded
from realtime.ports import Message, ToolOutcome, ToolUse
from realtime.thinking import conversation, folding
from realtime.thinking.conversation import Talk
from tests.realtime.scene import BRIEFING, Scene, briefing
from tests.realtime.test_machine import acceptable

USE = ToolUse(tool_use_id="t1", name="find_slot", arguments={"day": "friday"})


def talkative(window: int = 3000) -> Scene:
    return Scene(briefing(thresholds=replace(BRIEFING.thresholds, context_window=window), ask_to_record=False)).begin().hears_all()


def talk_of(turns: int, *, length: int = 200) -> Talk:
    talk = Talk()
    for turn in range(turns):
        talk = conversation.caller_said(talk, f"question {turn} " + "x" * length)
        exchange = conversation.Exchange(text="", uses=(USE,), outcomes=(ToolOutcome(tool_use_id="t1", content={"free": turn}),))
        talk = conversation.agent_said(talk, [exchange] if turn % 3 == 0 else [], f"answer {turn} " + "y" * length)
    return conversation.caller_said(talk, "and then?")


class TestFold:
    def test_is_seldom_and_leaves_the_beginning_of_the_context_alone_in_between(self) -> None:
        scene = talkative()
        contexts: list[tuple[Message, ...]] = []
        for turn in range(60):
            scene.says(f"question {turn}: what do you have in stock of the things that I asked for, and when please").wait(1)
            contexts.append(scene.request.messages[: scene.request.settled])
            scene.model_answers(f"Answer {turn}: " + "we have plenty of everything, " * 6).hears_all()
        folds = scene.fact(ContextFolded)
        grown = sum(after[: len(before)] == before for before, after in pairwise(contexts))
        assert 2 <= len(folds) <= 6
        assert grown == len(contexts) - 1 - len(folds)

    def test_is_a_fact_with_its_numbers(self) -> None:
        scene = talkative()
        for turn in range(45):
            scene.says(f"question {turn} please").wait(1).model_answers("word " * 60).hears_all()
        fold = scene.fact(ContextFolded)[0]
        assert fold.tokens_after <= fold.tokens_before * 7 // 10
        assert fold.entries >= 4

    def test_keeps_the_request_within_the_window(self) -> None:
        scene = talkative()
        for turn in range(45):
            scene.says(f"question {turn} please").wait(1)
            assert conversation.size(scene.request.messages) + len(scene.request.system) <= 3000 * 4
            scene.model_answers("word " * 80).hears_all()

    def test_tells_in_few_words_what_was_folded(self) -> None:
        scene = talkative()
        for turn in range(45):
            scene.says(f"question {turn} please").wait(1).model_answers("word " * 60).hears_all()
        scene.says("and now please").wait(1)
        first = scene.request.messages[0].text
        assert first.startswith("(Earlier in this call, in short:\n")
        assert "Caller: question" in first

    def test_leaves_a_talk_alone_that_fits(self) -> None:
        scene = talkative(32_000).says("hello there please").wait(1)
        assert scene.fact(ContextFolded) == []

    @given(st.integers(1, 30), st.integers(0, 600), st.integers(100, 20_000))
    def test_never_parts_a_tool_from_its_answer(self, turns: int, length: int, room: int) -> None:
        talk = folding.folded(talk_of(turns, length=length), room)
        messages = conversation.context(talk, (), 1_000_000)
        assert acceptable(messages)
        assert messages[-1].text.endswith("and then?")

    @given(st.integers(2, 30), st.integers(50, 600))
    def test_makes_room_for_many_turns(self, turns: int, length: int) -> None:
        talk = talk_of(turns, length=length)
        room = conversation.size(talk.messages)
        after = folding.folded(talk, room)
        last = conversation.size(after.messages)
        assert last + sum(map(len, after.gist)) <= room * 3 // 4 or len(after.messages) <= 4
