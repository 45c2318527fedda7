"""What the model is told: only what was heard, in a form that it accepts."""

from hypothesis import given
from hypothesis import strategies as st

from realtime.ports import Message, ToolOutcome, ToolUse
from realtime.thinking.conversation import Exchange, Talk, agent_said, caller_said, came_late, context
from tests.realtime.test_machine import acceptable

WIDE = 32_000


def exchange(n: int, text: str = "") -> Exchange:
    use = ToolUse(tool_use_id=f"t{n}", name="find", arguments={})
    return Exchange(text=text, uses=(use,), outcomes=(ToolOutcome(tool_use_id=f"t{n}", content=n),))


class TestContext:
    def test_begins_with_the_caller_though_the_agent_speaks_first(self) -> None:
        talk = caller_said(agent_said(Talk(), (), "Welcome."), "hello")
        roles = [(message.role, message.text) for message in context(talk, (), WIDE)]
        assert roles == [
            ("user", "(The phone call begins. The caller has said nothing yet.)"),
            ("assistant", "Welcome."),
            ("user", "hello"),
        ]

    def test_has_nothing_of_an_agent_who_was_not_heard(self) -> None:
        talk = caller_said(agent_said(caller_said(Talk(), "hello"), (), ""), "are you there")
        assert context(talk, (), WIDE) == (Message(role="user", text="hello\nare you there"),)

    def test_joins_what_the_agent_said_in_two_replies(self) -> None:
        talk = agent_said(agent_said(caller_said(Talk(), "hello"), (), "Hello."), (), "Are you there?")
        assert talk.messages[-1] == Message(role="assistant", text="Hello. Are you there?")

    def test_has_each_tool_use_answered_before_anything_else(self) -> None:
        talk = agent_said(caller_said(Talk(), "book"), (exchange(1, "One moment."),), "")
        talk = came_late(talk, "(late)")
        *_, use, answer = context(talk, (), WIDE)
        assert (use.text, len(use.tool_uses)) == ("One moment.", 1)
        assert (len(answer.tool_outcomes), answer.text) == (1, "(late)")

    def test_leaves_out_the_oldest_when_the_window_is_full(self) -> None:
        talk = Talk()
        for n in range(20):
            talk = agent_said(caller_said(talk, f"question {n} " + "x" * 400), (exchange(n),), "answer " + "y" * 400)
        talk = caller_said(talk, "the last question")
        messages = context(talk, (), 500)
        assert acceptable(messages)
        assert messages[-1].text == "the last question"
        assert sum(len(message.text) for message in messages) <= 2000

    @given(
        st.lists(st.tuples(st.sampled_from(["caller", "agent", "tools", "late"]), st.sampled_from(["", " ", "some words"])), max_size=25)
    )
    def test_is_acceptable_whatever_the_talk_did(self, happened: list[tuple[str, str]]) -> None:
        talk = Talk()
        for n, (what, words) in enumerate(happened):
            match what:
                case "caller":
                    talk = caller_said(talk, words)
                case "agent":
                    talk = agent_said(talk, (), words)
                case "tools":
                    talk = agent_said(talk, (exchange(n, words.strip()), exchange(1000 + n)), words)
                case _:
                    talk = came_late(talk, words)
        assert acceptable(context(talk, (), WIDE))
        assert acceptable(context(talk, (exchange(5000),), WIDE))
