"""The caller speaks over the agent: it stops, and only what was heard was said."""

from events.calls.talking import AgentInterrupted, AgentTurn, CallerTurn, Evidence
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import ToolUse
from tests.realtime.scene import USAGE, Scene, opened

SENTENCES = ("We are open from nine to five on weekdays.", "On Saturday we are open from ten to two.", "On Sunday we are closed, as ever.")
LONG = " ".join(SENTENCES)


def talking() -> Scene:
    """Two seconds into a long reply."""
    scene = Scene().agreed().says("when are you open please").wait(1)
    scene.model_answers(LONG).wait(2000)
    return scene


def turns(scene: Scene) -> list[AgentTurn]:
    return scene.fact(AgentTurn)


class TestBargeIn:
    def test_of_150_ms_silences_the_line_at_once(self) -> None:
        scene = talking().starts_speaking()
        assert scene.all(do.PausePlayout) == []
        scene.wait(86)
        assert len(scene.all(do.PausePlayout)) == 1
        assert scene.all(do.ClearVoice) == []

    def test_that_is_sustained_needs_no_words(self) -> None:
        scene = talking().starts_speaking().wait(900)
        assert not turns(scene)[-1].interrupted
        scene.wait(36)
        assert turns(scene)[-1].interrupted
        assert len(scene.all(do.ClearVoice)) == 1

    def test_is_one_as_soon_as_its_words_are_more_than_a_listeners(self) -> None:
        scene = talking().starts_speaking().wait(200)
        scene.recognised("wait", started_ms=scene.at_ms - 200, ended_ms=scene.at_ms, from_finalize=False, is_final=False)
        assert turns(scene)[-1].interrupted

    def test_shorter_than_a_word_stops_nothing(self) -> None:
        scene = talking()
        scene.starts_speaking().wait(80)
        scene.tell(signals.SpeechStopped, ended_ms=scene.at_ms - 50)
        scene.wait(1000)
        assert not scene.all(do.PausePlayout)
        assert not scene.all(do.ClearPlayout)

    def test_leaves_only_the_words_that_were_heard(self) -> None:
        scene = talking().starts_speaking().wait(1000)
        turn = turns(scene)[-1]
        heard = opened(turn.heard)
        assert opened(turn.said) == LONG
        assert LONG.startswith(heard)
        # 2.16 s less 40 ms of the voice's delay at 16 characters a second.
        assert 30 <= len(heard) <= 34
        assert (turn.interrupted, turn.evidence) == (True, Evidence.ESTIMATED)

    def test_tells_the_model_what_was_heard_and_not_what_was_generated(self) -> None:
        scene = talking().starts_speaking().wait(800)
        scene.falls_silent("and on Sunday please").wait(600)
        *_, reply, question = scene.request.messages
        assert reply.text == opened(turns(scene)[-1].heard)
        assert question.text == "and on Sunday please"

    def test_between_two_sentences_knows_exactly_what_was_heard(self) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        scene.model_answers(LONG)
        first = LONG.index(".") + 1
        scene.wait(40 + first * 500 // 8 - 200)
        scene.starts_speaking().wait(1000)
        assert (opened(turns(scene)[-1].heard), turns(scene)[-1].evidence) == (LONG[:first], Evidence.FLUSH_BOUNDED)

    def test_is_a_fact_with_the_time_of_the_speech_and_of_our_silence(self) -> None:
        scene = talking()
        began = scene.at_ms
        scene.starts_speaking().wait(1000)
        (fact,) = scene.fact(AgentInterrupted)
        assert (fact.turn, fact.speech_started_ms, fact.cleared_ms) == (2, began, began + 150)
        assert turns(scene)[-1].ended_ms == began + 150

    def test_cancels_the_model_when_its_account_does_not_come_and_estimates_what_it_cost(self) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        asked = scene.asked
        scene.tell(signals.ModelSaid, asked=asked, text="We are open from nine to five. And ")
        scene.wait(1000).starts_speaking().wait(1000)
        assert scene.all(do.CancelModel) == []
        scene.wait(2000)
        assert [effect.asked for effect in scene.all(do.CancelModel)] == [asked]
        spent = turns(scene)[-1].spent
        assert spent.estimated
        assert spent.output_tokens > 0
        assert spent.input_tokens > 0

    def test_takes_no_word_of_a_cancelled_model_any_more(self) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        scene.tell(signals.ModelSaid, asked=scene.asked, text="We are open from nine to five. And ")
        scene.wait(1000).starts_speaking().wait(1000)
        before = len(scene.spoken)
        scene.tell(signals.ModelSaid, asked=scene.asked, text="on Saturday too. ")
        scene.tell(signals.ModelDone, asked=scene.asked, reason="end_turn", usage=USAGE)
        assert len(scene.spoken) == before

    def test_counts_no_mark_of_what_was_thrown_away(self) -> None:
        scene = talking().starts_speaking().wait(1000)
        names = [effect.name for effect in scene.all(do.SendMark)]
        assert names[-1].startswith("g1:")
        assert scene.state.speech.generation > 1
        assert len(turns(scene)) == 3

    def test_over_the_last_syllable_interrupts_nothing(self) -> None:
        scene = Scene().agreed().says("when are you open please").wait(1)
        scene.model_answers("At nine o'clock.")
        scene.wait(40 + len("At nine o'clock.") * 500 // 8 - 100)
        scene.starts_speaking().wait(1000)
        assert scene.all(do.ClearPlayout) == []
        assert not turns(scene)[-1].interrupted

    def test_while_the_model_thinks_joins_both_parts_of_what_the_caller_said(self) -> None:
        scene = Scene().agreed().says("I would like to come in on Friday.").wait(100)
        scene.starts_speaking().wait(800)
        scene.falls_silent("or on Saturday please").wait(600)
        assert scene.request.messages[-1].text.endswith("I would like to come in on Friday.\nor on Saturday please")
        assert [opened(turn.words) for turn in scene.fact(CallerTurn)][-1] == "or on Saturday please"
        assert scene.fact(AgentInterrupted) == []

    def test_by_a_noise_while_the_model_thinks_leaves_it_thinking(self) -> None:
        scene = Scene().agreed().says("I would like to come in on Friday.").wait(100)
        scene.starts_speaking().wait(500)
        scene.model_answers("Friday is fine.").falls_silent("")
        assert scene.all(do.CancelModel) == []
        scene.hears_all()
        assert opened(turns(scene)[-1].heard) == "Friday is fine."

    def test_by_a_long_noise_while_the_model_thinks_asks_the_same_again(self) -> None:
        scene = Scene().agreed().says("I would like to come in on Friday.").wait(100)
        before = scene.request.messages
        scene.starts_speaking().wait(1200)
        scene.falls_silent("").wait(600)
        assert scene.request.messages == before
        assert len(scene.all(do.AskModel)) == 2

    def test_never_cancels_a_tool_whose_effect_is_for_ever(self) -> None:
        scene = Scene().agreed().says("please book it").wait(600)
        scene.model_answers("", ToolUse(tool_use_id="b1", name="book_slot", arguments={})).wait(300)
        assert scene.all(do.RunTool)
        scene.starts_speaking().wait(800)
        scene.falls_silent("are you still there please").wait(600)
        assert scene.all(do.CancelTool) == []
        assert scene.request.messages[-1].tool_outcomes[0].content["status"] == "pending"
        scene.model_answers("Yes, one moment.").hears_all()
        scene.tell(signals.ToolReturned, tool_use_id="b1", content={"booked": "friday"}, failed=False)
        assert "friday" in scene.request.messages[-1].text
