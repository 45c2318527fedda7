"""The voice is given what it has to say; the record and the model's context keep what was written."""

import pytest

from events.calls.talking import AgentTurn
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.briefing import Wording, pronunciation, said_ahead
from realtime.speaking.pronouncing import alternatives, spoken, written
from tests.realtime.scene import WORDING, Scene, briefing, opened


class TestSpoken:
    @pytest.mark.parametrize(
        ("text", "given"),
        [
            ("Ask SQL.", "Ask sequel."),
            ("sql and Sql", "sequel and sequel"),
            ("MySQL stays", "MySQL stays"),
            ("Dr. Nguyen is in", "Doctor win is in"),
            ("C++ (twice)", "see plus plus (twice)"),
            ("One <break time='500ms'/> moment", "One ... moment"),
        ],
    )
    def test_is_the_agents_own_way_to_say_whole_words(self, text: str, given: str) -> None:
        own = {"SQL": "sequel", "Nguyen": "nobody", "Dr. Nguyen": "Doctor win", "C++": "see plus plus"}
        assert spoken(text, own) == given

    def test_is_what_is_written_where_nothing_else_is_said(self) -> None:
        assert spoken("Ask SQL.", {}) == written("Ask SQL.") == "Ask SQL."

    def test_is_read_from_the_version(self) -> None:
        assert pronunciation({"pronunciation": {"SQL": "sequel", "": "x", "a": 1, "b": " "}}) == {"SQL": "sequel"}
        assert pronunciation({"pronunciation": ["SQL"]}) == {}


class TestRecord:
    def test_keeps_what_was_written_and_counts_what_was_given(self) -> None:
        scene = Scene(briefing=briefing(pronunciation={"SQL": "sequel"})).agreed().says("what do you use please").wait(1)
        scene.model_answers("We use <break time='1s'/> SQL here.").hears_all()
        turn = scene.fact(AgentTurn)[-1]
        assert scene.spoken[-1] == "We use ... sequel here."
        assert opened(turn.said) == opened(turn.heard) == "We use SQL here."
        assert turn.spent.characters == len(scene.spoken[-1])

    def test_says_nothing_of_a_pause_alone(self) -> None:
        scene = Scene().agreed().says("what do you use please").wait(1)
        scene.model_answers("<break/>")
        assert not any("break" in text or text == "..." for text in scene.spoken)


class TestFillers:
    def test_take_turns(self) -> None:
        words = Wording(disclosure=WORDING.disclosure, greeting=WORDING.greeting, thinking="One moment. | Let me think. | Well.")
        scene = Scene(briefing=briefing(wording=words)).agreed()
        heard = []
        for _ in range(4):
            scene.says("what do you use please").wait(2600)
            heard.append(scene.spoken[-1])
            scene.model_answers("This.").hears_all()
        assert heard == ["One moment.", "Let me think.", "Well.", "One moment."]

    def test_are_never_two_in_a_row(self) -> None:
        scene = Scene().agreed().says("what do you use please").wait(2600)
        before = len(scene.spoken)
        scene.wait(1500)
        scene.tell(signals.TimerFired, timer=signals.Timer.FILLER)
        assert len(scene.spoken) == before
        assert scene.all(do.AskModel)

    def test_are_spoken_ahead_one_by_one(self) -> None:
        words = Wording(disclosure="d", greeting="g", thinking="One moment. | Let me think.")
        assert {"One moment.", "Let me think."} <= set(said_ahead(words))
        assert alternatives(" | ") == ()
