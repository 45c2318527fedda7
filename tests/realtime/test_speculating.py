"""Thinking ahead: held until the turn is over, used when the words agree, dropped otherwise, and paid for in the open."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from events.calls.talking import AgentTurn, Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated, ModelChosen
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.signals import Engine
from realtime.machine.state import Moment
from realtime.ports import TokenUsage, ToolUse
from realtime.thinking import speculating
from tests.realtime.scene import BRIEFING, USAGE, Scene, briefing, opened

WORDS = "when are you open on friday please"
BOOK = ToolUse(tool_use_id="b1", name="book_slot", arguments={"day": "friday"})
COST = Spent(model="m-default", input_tokens=100, output_tokens=20, characters=len("At nine."))


def do_within(scene: Scene, change: Callable[[Moment], None]) -> Scene:
    moment = Moment(state=scene.state, at_ms=scene.at_ms)
    change(moment)
    scene.state = moment.state
    for effect in moment.effects:
        scene.effects.append(effect)
        scene._follow(effect)  # noqa: SLF001 - the decision is given by hand, its effects happen as any
    return scene


def ahead(scene: Scene, words: str = WORDS) -> Scene:
    """The caller has said this much, and is likely to be through with it."""
    return do_within(scene, lambda moment: speculating.likely_over(moment, words))


def goes_on(scene: Scene) -> Scene:
    return do_within(scene, speculating.goes_on)


def speaking(changed: Scene | None = None) -> Scene:
    return (changed or Scene()).agreed().starts_speaking().wait(800)


def without(**thresholds: object) -> Scene:
    return Scene(briefing(thresholds=replace(BRIEFING.thresholds, **thresholds)))  # type: ignore[arg-type]


class TestSpeculation:
    def test_asks_on_a_copy_of_the_context(self) -> None:
        scene = speaking()
        before = scene.state.talk
        ahead(scene)
        assert scene.request.messages[-1].text == WORDS
        assert scene.state.talk == before

    def test_says_nothing_before_the_turn_is_over(self) -> None:
        scene = speaking()
        said = list(scene.spoken)
        ahead(scene).model_answers("We open at nine. Until five.").wait(200)
        assert scene.spoken == said

    def test_speaks_at_once_when_the_words_agree(self) -> None:
        scene = ahead(speaking()).model_answers("We open at nine. Until five.")
        questions = len(scene.all(do.AskModel))
        scene.falls_silent("When are you open on Friday, please?")
        assert scene.spoken[-2:] == ["We open at nine.", "Until five."]
        assert len(scene.all(do.AskModel)) == questions
        (fact,) = scene.fact(AnswerSpeculated)
        assert (fact.outcome, fact.turn, fact.attempt, opened(fact.words), fact.spent) == ("used", 2, 1, WORDS, Spent())
        assert [chosen.turn for chosen in scene.fact(ModelChosen)] == [2]

    def test_goes_on_with_the_rest_of_an_answer_that_had_only_begun(self) -> None:
        scene = ahead(speaking())
        asked = scene.asked
        scene.tell(signals.ModelSaid, asked=asked, text="We open at nine. Until ")
        scene.falls_silent(WORDS)
        scene.tell(signals.ModelSaid, asked=asked, text="five.")
        scene.tell(signals.ModelDone, asked=asked, reason="end_turn", usage=USAGE)
        assert scene.spoken[-2:] == ["We open at nine.", "Until five."]
        scene.hears_all()
        spent = scene.fact(AgentTurn)[-1].spent
        assert (spent.input_tokens, spent.output_tokens) == (100, 20)

    def test_is_dropped_when_other_words_were_said(self) -> None:
        scene = ahead(speaking(), "when are you open").model_answers("At nine.")
        scene.falls_silent("when are you open on sunday please")
        assert "At nine." not in scene.spoken
        assert scene.request.messages[-1].text == "when are you open on sunday please"
        (fact,) = scene.fact(AnswerSpeculated)
        assert (fact.outcome, fact.spent) == ("other-words", COST)

    def test_is_dropped_when_the_caller_goes_on(self) -> None:
        scene = goes_on(ahead(speaking()).model_answers("At nine."))
        (fact,) = scene.fact(AnswerSpeculated)
        assert (fact.outcome, fact.turn, fact.spent) == ("went-on", 2, COST)
        scene.falls_silent(WORDS)
        assert len(scene.fact(AnswerSpeculated)) == 1
        assert "At nine." not in scene.spoken

    def test_is_read_on_for_its_account_when_it_is_dropped_half_way(self) -> None:
        scene = ahead(speaking())
        asked = scene.asked
        goes_on(scene).tell(signals.ModelSaid, asked=asked, text="At nine.")
        assert scene.fact(AnswerSpeculated) == []
        scene.tell(signals.ModelDone, asked=asked, reason="end_turn", usage=USAGE)
        assert [fact.spent for fact in scene.fact(AnswerSpeculated)] == [replace(COST, characters=0)]
        assert scene.all(do.CancelModel) == []

    def test_costs_an_estimate_when_the_account_does_not_come(self) -> None:
        scene = goes_on(ahead(speaking()))
        asked = scene.asked
        scene.wait(2000)
        assert [effect.asked for effect in scene.all(do.CancelModel)] == [asked]
        (fact,) = scene.fact(AnswerSpeculated)
        assert fact.spent.estimated
        assert fact.spent.input_tokens > 10

    @pytest.mark.parametrize("whole", [True, False])
    def test_is_accounted_for_when_the_call_ends(self, whole: bool) -> None:
        scene = ahead(speaking())
        if whole:
            scene.model_answers("At nine.")
        scene.hangs_up()
        (fact,) = scene.fact(AnswerSpeculated)
        assert (fact.outcome, fact.spent.estimated) == ("call-ended", not whole)
        assert len(scene.all(do.CancelModel)) == (not whole)
        assert scene.over

    def test_runs_no_tool_before_the_turn_is_over(self) -> None:
        scene = ahead(speaking()).model_answers("", BOOK).wait(200)
        assert scene.all(do.RunTool) == []
        scene.falls_silent(WORDS).wait(2)
        assert [run.use for run in scene.all(do.RunTool)] == [BOOK]

    def test_runs_no_tool_when_it_is_dropped(self) -> None:
        goes_on(scene := ahead(speaking()).model_answers("", BOOK))
        scene.falls_silent("when are you open on sunday please").wait(100)
        assert scene.all(do.RunTool) == []

    def test_is_tried_so_many_times_a_turn_and_no_more(self) -> None:
        scene = speaking()
        for words in ("one", "one two", "one two three", "one two three four"):
            ahead(scene, words)
        assert len(scene.all(do.AskModel)) == 2
        scene.falls_silent("one two three four please").model_answers("Yes.").hears_all()
        ahead(scene.starts_speaking().wait(500), "five")
        assert len(scene.all(do.AskModel)) == 4

    def test_is_not_asked_twice_the_same(self) -> None:
        scene = ahead(ahead(speaking()), "When are you open on Friday, please?")
        assert len(scene.all(do.AskModel)) == 1

    @pytest.mark.parametrize("scene", [without(speculation=False), without(speculations=0)])
    def test_is_switched_off_by_the_agents_version(self, scene: Scene) -> None:
        assert ahead(speaking(scene)).all(do.AskModel) == []

    @pytest.mark.parametrize("words", ["", "...", "stop recording please"])
    def test_is_of_no_use_where_no_model_would_be_asked(self, words: str) -> None:
        assert ahead(speaking(), words).all(do.AskModel) == []

    def test_is_of_no_use_before_our_question_has_its_answer(self) -> None:
        assert ahead(Scene().greeted().starts_speaking(), "yes").all(do.AskModel) == []

    def test_gains_what_the_recogniser_takes_for_its_last_word(self) -> None:
        def first_words_after_ms(scene: Scene) -> int:
            scene.agreed().starts_speaking().wait(800)
            ended = scene.at_ms
            scene.recognised(WORDS, started_ms=ended - 800, ended_ms=ended, is_final=False, from_finalize=False).wait(80)
            scene.tell(signals.SpeechStopped, ended_ms=ended)
            asked_at = [(scene.asked, scene.at_ms)] if len(scene.all(do.AskModel)) else []
            scene.wait(100).recognised(WORDS, started_ms=ended - 800, ended_ms=ended)
            asked, at = (asked_at or [(scene.asked, scene.at_ms)])[0]
            scene.wait(at + 250 - scene.at_ms)
            said = len(scene.spoken)
            scene.tell(signals.ModelSaid, asked=asked, text="We open at nine. ")
            assert scene.spoken[said:] == ["We open at nine."]
            return scene.at_ms - ended

        assert first_words_after_ms(without(speculation=False)) - first_words_after_ms(Scene()) == 100

    def test_that_fails_before_its_first_word_costs_nothing(self) -> None:
        scene = goes_on(ahead(speaking()))
        scene.tell(signals.EngineBroke, engine=Engine.MODEL, name="bedrock", reason="throttled", asked=scene.asked)
        assert [fact.spent for fact in scene.fact(AnswerSpeculated)] == [Spent(model="m-default")]

    def test_that_fails_costs_the_caller_nothing(self) -> None:
        scene = ahead(speaking())
        scene.tell(signals.EngineBroke, engine=Engine.MODEL, name="bedrock", reason="throttled", asked=scene.asked)
        scene.falls_silent(WORDS).model_answers("At nine.").hears_all()
        assert scene.spoken[-1] == "At nine."
        assert [fact.outcome for fact in scene.fact(AnswerSpeculated)] == ["failed"]


class TestAnAnswerThatWasCut:
    def cut(self, scene: Scene | None = None) -> tuple[Scene, int]:
        scene = (scene or Scene()).agreed().says(WORDS).wait(1)
        asked = scene.asked
        scene.tell(signals.ModelSaid, asked=asked, text="We are open from nine to five. And ")
        scene.wait(1000).starts_speaking().wait(1000)
        return scene, asked

    def test_is_read_on_and_its_account_stands_instead_of_the_estimate(self) -> None:
        scene, asked = self.cut()
        estimate = scene.fact(AgentTurn)[-1].spent
        scene.tell(signals.ModelDone, asked=asked, reason="end_turn", usage=TokenUsage(input_tokens=812, output_tokens=61))
        (fact,) = scene.fact(AnswerAccounted)
        assert estimate.estimated
        assert fact.estimate == estimate
        assert fact.spent == replace(estimate, input_tokens=812, output_tokens=61, estimated=False)
        assert scene.all(do.CancelModel) == []
        assert scene.wait(5000).all(do.CancelModel) == []

    def test_is_not_read_on_where_the_version_allows_no_time(self) -> None:
        scene, asked = self.cut(without(drain_ms=0))
        assert [effect.asked for effect in scene.all(do.CancelModel)] == [asked]
        assert scene.fact(AnswerAccounted) == []
