"""Extended thinking: behind a filler, with more time, and its thoughts given back to the model unaltered."""

from dataclasses import replace

from events.calls.thinking import ModelChosen
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import Reasoning, ToolUse
from tests.realtime.scene import BRIEFING, USAGE, WORDING, Scene, briefing

FIND = ToolUse(tool_use_id="f1", name="find_slot", arguments={"day": "friday"})
THOUGHT = Reasoning(model="m-think", text="They want a slot. I look it up.", signature="c2lnbmVk")
MODELS = {"default": "m-default", "thinking": "m-think"}


def asked(words: str = "think carefully about which day is best please") -> Scene:
    return Scene(briefing(models=MODELS)).agreed().says(words).wait(1)


class TestExtendedThinking:
    def test_is_chosen_by_its_rule_with_a_budget_of_its_own(self) -> None:
        scene = asked()
        assert scene.fact(ModelChosen)[-1].rule == "extended-thinking@1"
        assert (scene.request.model, scene.request.thinking_tokens) == ("m-think", 4096)

    def test_is_not_for_other_turns(self) -> None:
        assert asked("which day is best please").request.thinking_tokens == 0

    def test_has_the_budget_of_the_agents_version(self) -> None:
        thresholds = replace(BRIEFING.thresholds, thinking_budget=16_000)
        scene = Scene(briefing(models=MODELS, thresholds=thresholds)).agreed().says("think it through for me please").wait(1)
        assert scene.request.thinking_tokens == 16_000

    def test_is_behind_a_filler_at_once(self) -> None:
        assert asked().wait(310).spoken[-1] == WORDING.thinking

    def test_may_take_thirty_seconds(self) -> None:
        scene = asked().wait(29_000)
        assert scene.all(do.CancelModel) == []
        scene.wait(1100)
        assert len(scene.all(do.CancelModel)) == 1
        assert WORDING.trouble_thinking in scene.spoken

    def test_is_not_said(self) -> None:
        scene = asked()
        scene.tell(signals.ModelThought, asked=scene.asked, reasoning=THOUGHT)
        scene.model_answers("Friday is best.").hears_all()
        assert scene.spoken[-1] == "Friday is best."
        assert not any(THOUGHT.text in text for text in scene.spoken)

    def test_gives_the_model_its_own_thoughts_back_with_what_its_tools_answered(self) -> None:
        scene = asked()
        scene.tell(signals.ModelThought, asked=scene.asked, reasoning=THOUGHT)
        scene.tell(signals.ModelWantsTool, asked=scene.asked, use=FIND)
        scene.tell(signals.ModelDone, asked=scene.asked, reason="tool_use", usage=USAGE)
        scene.tell(signals.ToolReturned, tool_use_id="f1", content={"free": "9"}, failed=False)
        *_, use, _ = scene.request.messages
        assert (use.reasoning, use.tool_uses) == ((THOUGHT,), (FIND,))
        assert scene.request.thinking_tokens == 4096
