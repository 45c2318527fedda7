"""Guardrails before speech: allow, rewrite, block, by rules that are data, each change a fact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.calls.thinking import GuardrailApplied
from realtime.thinking.guardrails import PLATFORM, Guardrail, Ruling, guardrails, ruling
from tests.realtime.scene import WORDING, Scene, briefing, opened

PRICES = Guardrail(name="no-prices", action="block", phrases=("costs", "price of"))
OUR_PRICE = Guardrail(name="list-price", action="allow", phrases=("costs ninety dollars",))
MAILS = Guardrail(name="no-mail", action="rewrite", detects="email", instead="our address")


def answered(text: str, *rules: Guardrail) -> Scene:
    scene = Scene(briefing(guardrails=(*PLATFORM, *rules))).agreed().says("tell me about it please").wait(1)
    return scene.model_answers(text)


class TestRuling:
    def test_leaves_alone_what_no_rule_fits(self) -> None:
        assert ruling((PRICES,), "We open at nine.") == Ruling(said="We open at nine.")

    def test_is_the_first_rules_that_fits(self) -> None:
        assert ruling((OUR_PRICE, PRICES), "It costs ninety dollars.") == Ruling(said="It costs ninety dollars.", rule="list-price")
        assert ruling((PRICES, OUR_PRICE), "It costs ninety dollars.").action == "block"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("No, I'm a real person, Sam.", "No, I am an AI assistant, Sam."),
            ("I’m  not a robot!", "I am an AI assistant!"),
            ("I'm a human-centred assistant.", "I'm a human-centred assistant."),
            ("Your card is 4111 1111 1111 1111, right?", "Your card is that card, right?"),
            ("Your order is 4111 1111 1111 1112, right?", "Your order is 4111 1111 1111 1112, right?"),
        ],
    )
    def test_of_the_platform_holds_for_every_agent(self, text: str, said: str) -> None:
        assert ruling(PLATFORM, text).said == said

    def test_blocks_what_began_in_the_sentence_before(self) -> None:
        ruled = ruling(PLATFORM, "a real person, you know.", before="Of course I am")
        assert (ruled.action, ruled.rule) == ("block", "claims-to-be-human")

    def test_is_no_matter_of_what_was_said_before_alone(self) -> None:
        assert ruling((PRICES,), "Goodbye.", before="It costs nothing.").action == "allow"

    @given(st.text(max_size=300), st.text(max_size=50))
    def test_is_total(self, text: str, before: str) -> None:
        ruling((*PLATFORM, PRICES, MAILS, Guardrail(name="n", action="rewrite", detects="phone-number")), text, before)


class TestConfiguration:
    def test_adds_rules_to_the_platforms(self) -> None:
        own = {"name": "no-mail", "action": "rewrite", "detects": "email", "instead": "our address"}
        assert guardrails({"guardrails": [own]}) == (*PLATFORM, MAILS)

    @pytest.mark.parametrize(
        "entry",
        [
            None,
            7,
            {},
            {"name": "x", "action": "shout", "phrases": ["y"]},
            {"name": "x", "action": "block"},
            {"action": "block", "phrases": ["y"]},
        ],
    )
    def test_leaves_out_what_is_no_rule(self, entry: object) -> None:
        assert guardrails({"guardrails": [entry]}) == PLATFORM


class TestSpeech:
    def test_is_rewritten_before_it_is_said_and_the_fact_tells_both(self) -> None:
        scene = answered("Write to sam@example.org any time.", MAILS)
        assert scene.spoken[-1] == "Write to our address any time."
        (fact,) = scene.fact(GuardrailApplied)
        assert (fact.rule, fact.action, fact.turn) == ("no-mail", "rewrite", 2)
        assert (opened(fact.written), opened(fact.said)) == ("Write to sam@example.org any time.", "Write to our address any time.")

    def test_is_blocked_and_refused_once(self) -> None:
        scene = answered("It costs ten. And the price of that is two. We open at nine.", PRICES)
        assert scene.spoken[-2:] == [WORDING.cannot_say, "We open at nine."]
        assert [opened(fact.said) for fact in scene.fact(GuardrailApplied)] == [WORDING.cannot_say, ""]

    def test_that_is_allowed_leaves_no_fact(self) -> None:
        assert answered("It costs ninety dollars.", OUR_PRICE, PRICES).fact(GuardrailApplied) == []

    def test_of_the_agents_own_wording_is_not_judged(self) -> None:
        scene = Scene(briefing(guardrails=(Guardrail(name="x", action="block", phrases=("AI assistant",)),))).begin()
        assert scene.spoken[0] == WORDING.disclosure
