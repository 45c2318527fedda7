"""Which model answers."""

import pytest

from realtime.thinking.models import OWNERS_RULES, ModelRule, RuleList, TurnNeeds, choose, needs_of, rules
from tests.realtime.scene import tool

MODELS = {"default": "m-default", "fast": "m-fast", "complex": "m-complex", "thinking": "m-thinking"}
TOOLS = (tool("find_appointment"), tool("cancel_booking"))


def needs(words: str, *, code_execution: bool = True, latency_requirement_ms: int = 1500) -> TurnNeeds:
    return needs_of(words, TOOLS, code_execution=code_execution, latency_requirement_ms=latency_requirement_ms)


class TestRules:
    @pytest.mark.parametrize(
        ("wanted", "rule", "logical"),
        [
            (needs("please think carefully about this"), "extended-thinking@1", "thinking"),
            (needs("can you crunch the numbers"), "code-execution@1", "complex"),
            (needs("cancel my booking and find another appointment"), "parallel-tools@1", "default"),
            (needs("hello", latency_requirement_ms=80), "low-latency@1", "fast"),
            (needs("hello"), "standard@1", "default"),
        ],
    )
    def test_decide_in_their_order(self, wanted: TurnNeeds, rule: str, logical: str) -> None:
        choice = choose(wanted, OWNERS_RULES, MODELS)
        assert (choice.rule, choice.logical, choice.model) == (rule, logical, MODELS[logical])

    def test_run_code_only_for_an_agent_that_may(self) -> None:
        assert choose(needs("can you crunch the numbers", code_execution=False), OWNERS_RULES, MODELS).logical == "default"

    def test_fall_back_on_the_default_model_where_a_name_has_none(self) -> None:
        assert choose(needs("think carefully"), OWNERS_RULES, {"default": "m"}).model == "m"

    def test_can_be_another_list(self) -> None:
        own = RuleList(version="own-3", rules=(ModelRule(name="always", logical="fast"),))
        assert choose(needs("think carefully"), own, MODELS).rule == "always@own-3"

    def test_of_the_owner_always_have_an_answer(self) -> None:
        last = OWNERS_RULES.rules[-1]
        assert last == ModelRule(name="standard", logical="default")


class TestRulesOfAVersion:
    def test_stand_instead_of_the_owners_and_always_decide(self) -> None:
        own = rules({"model_rules": {"version": "7", "rules": [{"name": "many", "logical": "complex", "more_tools_than": 1}]}})
        assert choose(needs("cancel my booking and find another appointment"), own, MODELS).rule == "many@7"
        assert choose(needs("hello"), own, MODELS).rule == "standard@7"

    @pytest.mark.parametrize(
        "given",
        [
            None, [], {"rules": []}, {"rules": [{"name": "x", "logical": "huge"}]}, {"rules": [{"logical": "fast"}]},
            {"rules": [{"name": "x", "logical": "fast", "more_tools_than": "two"}]},
            {"rules": [{"name": "x", "logical": "fast", "extended_thinking": 1}]},
        ],
    )  # fmt: skip
    def test_that_cannot_be_read_leave_the_owners(self, given: object) -> None:
        assert rules({"model_rules": given}) == OWNERS_RULES
