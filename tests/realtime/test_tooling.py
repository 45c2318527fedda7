"""Tools in a call: on the log first where it matters, a filler when they are slow, bounded in time, told to the model."""

from commands.calls.orders import Witness
from events.calls.thinking import ToolAnswered, ToolRequested
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import ToolUse
from realtime.thinking.tooling import END_CALL, WITHDRAW
from tests.realtime.scene import USAGE, WORDING, Scene, briefing, opened, tool

FIND = ToolUse(tool_use_id="f1", name="find_slot", arguments={"day": "friday"})
BOOK = ToolUse(tool_use_id="b1", name="book_slot", arguments={"day": "friday"})


def asked(scene: Scene | None = None) -> Scene:
    """The caller has asked for something, and the model is thinking."""
    return (scene or Scene()).agreed().says("I need a slot on friday please").wait(1)


class TestTool:
    def test_is_offered_beside_the_two_that_every_call_has(self) -> None:
        assert [spec.name for spec in asked().request.tools] == [WITHDRAW.name, END_CALL.name, "find_slot", "book_slot"]

    def test_runs_at_once_when_it_may_be_run_again(self) -> None:
        scene = asked().model_answers("", FIND)
        (run,) = scene.all(do.RunTool)
        assert (run.use, run.idempotency_key) == (FIND, "call_1:2:f1")

    def test_waits_for_the_log_when_its_effect_is_for_ever(self) -> None:
        scene = asked().model_answers("", BOOK)
        (commit,) = [effect for effect in scene.all(do.Commit) if isinstance(effect.command, Witness)]
        assert scene.all(do.RunTool) == []
        scene.wait(2)
        assert [run.use for run in scene.all(do.RunTool)] == [BOOK]
        assert isinstance(commit.command.fact if isinstance(commit.command, Witness) else None, ToolRequested)

    def test_is_not_run_while_the_log_is_away_and_the_model_is_told_why(self) -> None:
        scene = asked().log_goes_away()
        scene.model_answers("", BOOK).wait(2100)
        assert scene.all(do.RunTool) == []
        (outcome,) = scene.request.messages[-1].tool_outcomes
        assert outcome.failed
        assert "record" in outcome.content

    def test_that_answers_quickly_needs_no_filler(self) -> None:
        scene = asked().model_answers("", FIND).wait(200)
        scene.tell(signals.ToolReturned, tool_use_id="f1", content={"free": "9"}, failed=False)
        scene.model_answers("Nine is free.").hears_all()
        assert WORDING.one_tool not in scene.spoken
        (requested,) = scene.fact(ToolRequested)
        assert requested.filler is None

    def test_that_is_slow_is_bridged_by_a_filler_that_stands_in_its_record(self) -> None:
        scene = asked().model_answers("", FIND).wait(400)
        assert scene.spoken[-1] == WORDING.one_tool
        (requested,) = scene.fact(ToolRequested)
        assert requested.filler is not None
        assert opened(requested.filler) == WORDING.one_tool

    def test_has_fillers_of_its_own(self) -> None:
        scene = asked(Scene(briefing(tools=(tool("find_slot", fillers=("Looking.", "Let me look.")),))))
        scene.model_answers("", FIND).wait(400)
        assert scene.spoken[-1] == "Looking."

    def test_needs_no_filler_after_words_of_the_models_own(self) -> None:
        scene = asked().model_answers("I will look that up.", FIND).wait(3000)
        assert scene.spoken[-1] == "I will look that up."

    def test_has_no_second_filler_in_a_row(self) -> None:
        scene = asked().model_answers("", FIND).wait(400)
        scene.tell(signals.ToolReturned, tool_use_id="f1", content={}, failed=False)
        scene.model_answers("", ToolUse(tool_use_id="f2", name="find_slot", arguments={})).wait(2500)
        assert scene.spoken.count(WORDING.one_tool) == 1

    def test_is_told_to_the_model_with_its_answer(self) -> None:
        scene = asked().model_answers("", FIND)
        scene.tell(signals.ToolReturned, tool_use_id="f1", content={"free": "9"}, failed=False)
        *_, use, answer = scene.request.messages
        assert use.tool_uses == (FIND,)
        assert [(outcome.content, outcome.failed) for outcome in answer.tool_outcomes] == [({"free": "9"}, False)]
        (fact,) = scene.fact(ToolAnswered)
        assert (opened(fact.answer), fact.failed) == ('{"free": "9"}', False)

    def test_runs_beside_others_and_the_model_waits_for_all(self) -> None:
        uses = [ToolUse(tool_use_id=f"f{n}", name="find_slot", arguments={}) for n in range(3)]
        scene = asked().model_answers("", *uses)
        assert len(scene.all(do.RunTool)) == 3
        for n in range(3):
            assert len(scene.all(do.AskModel)) == 1
            scene.tell(signals.ToolReturned, tool_use_id=f"f{n}", content=n, failed=False)
        assert [outcome.content for outcome in scene.request.messages[-1].tool_outcomes] == [0, 1, 2]

    def test_beyond_the_fifth_is_refused(self) -> None:
        uses = [ToolUse(tool_use_id=f"f{n}", name="find_slot", arguments={}) for n in range(6)]
        assert len(asked().model_answers("", *uses).all(do.RunTool)) == 5

    def test_beyond_the_fifth_is_refused_while_five_are_under_way(self) -> None:
        scene = asked(Scene(briefing(tools=(tool("find_slot"), tool("book_slot", idempotent=False, timeout_ms=60_000)))))
        scene.model_answers("", *[ToolUse(tool_use_id=f"b{n}", name="book_slot", arguments={"n": n}) for n in range(5)]).wait(60_002)
        scene.model_answers("", FIND)
        assert len(scene.all(do.RunTool)) == 5
        assert scene.request.messages[-1].tool_outcomes[0].failed

    def test_whose_arguments_do_not_fit_is_not_run_and_the_model_is_told_what_is_wrong(self) -> None:
        scene = asked()
        scene.tell(signals.ModelWantsTool, asked=scene.asked, use=BOOK, faults="'time' is a required property")
        scene.tell(signals.ModelDone, asked=scene.asked, reason="tool_use", usage=USAGE)
        (outcome,) = scene.request.messages[-1].tool_outcomes
        assert outcome.failed
        assert "'time' is a required property" in outcome.content
        assert scene.fact(ToolRequested) == []

    def test_whose_effect_is_for_ever_is_not_begun_again_while_the_same_is_under_way(self) -> None:
        scene = asked().model_answers("", BOOK).wait(10).starts_speaking().wait(800)
        scene.falls_silent("did you book it").wait(1)
        scene.model_answers("", ToolUse(tool_use_id="b2", name="book_slot", arguments={"day": "friday"})).wait(10)
        assert [run.use for run in scene.all(do.RunTool)] == [BOOK]
        assert scene.request.messages[-1].tool_outcomes[0].content["status"] == "pending"

    def test_that_nobody_has_is_refused(self) -> None:
        scene = asked().model_answers("", ToolUse(tool_use_id="x", name="fly", arguments={}))
        assert scene.request.messages[-1].tool_outcomes[0].failed

    def test_that_does_not_answer_in_time_is_cancelled_when_it_may_be(self) -> None:
        scene = asked().model_answers("", FIND).wait(3000)
        assert [effect.tool_use_id for effect in scene.all(do.CancelTool)] == ["f1"]
        assert scene.request.messages[-1].tool_outcomes[0].failed

    def test_that_cannot_be_taken_back_is_left_running_and_its_answer_comes_late(self) -> None:
        scene = asked().model_answers("", BOOK).wait(3002)
        assert scene.all(do.CancelTool) == []
        (outcome,) = scene.request.messages[-1].tool_outcomes
        assert (outcome.content["status"], outcome.failed) == ("pending", False)
        scene.model_answers("It takes longer than usual.").hears_all()
        scene.tell(signals.ToolReturned, tool_use_id="b1", content={"booked": True}, failed=False)
        assert "booked" in scene.request.messages[-1].text
        assert [fact.failed for fact in scene.fact(ToolAnswered)] == [False]

    def test_is_asked_for_in_so_many_rounds_and_no_more(self) -> None:
        scene = asked()
        for n in range(12):
            if not scene.state.reply or not scene.state.reply.asked:
                break
            use = ToolUse(tool_use_id=f"r{n}", name="find_slot", arguments={})
            scene.model_answers("", use)
            scene.tell(signals.ToolReturned, tool_use_id=f"r{n}", content="more", failed=False)
        assert len(scene.all(do.RunTool)) == 5
        assert scene.spoken[-1] == WORDING.trouble_thinking
