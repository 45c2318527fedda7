"""What an agent's configuration makes of a call."""

from typing import Any

import pytest

from realtime.machine.briefing import Thresholds, system_prompt, thresholds, wording


class TestThresholds:
    def test_are_ours_where_the_version_says_nothing(self) -> None:
        assert thresholds({}) == Thresholds()

    def test_are_the_versions(self) -> None:
        read = thresholds(
            {"parameters": {"patience_ms": 300, "temperature": 0.3, "context_window": 8000}, "automation": {"max_tool_calls": 2}}
        )
        assert (read.patience_ms, read.temperature, read.context_window, read.max_tool_calls) == (300, 0.3, 8000, 2)

    def test_are_pulled_into_bounds(self) -> None:
        read = thresholds({"parameters": {"silence_ms": 1, "max_call_ms": 10**12}})
        assert (read.silence_ms, read.max_call_ms) == (3000, 14_400_000)

    @pytest.mark.parametrize("parameters", [{"patience_ms": "300"}, {"patience_ms": True}, {"patience_ms": None}, [], "x", {"unknown": 1}])
    def test_ignore_what_is_no_number_of_ours(self, parameters: Any) -> None:
        assert thresholds({"parameters": parameters}) == Thresholds()


class TestWording:
    def test_names_the_business_and_says_that_an_ai_speaks(self) -> None:
        assert wording({}, "Smile Dental", {}).disclosure == "Hello, you have reached Smile Dental. You are speaking with an AI assistant."

    def test_is_the_businesss_own_where_it_has_words(self) -> None:
        own = wording({"greeting": "Hi!", "disclosure": "I am an AI.", "wording": {"goodbye": "See you.", "unknown": "x"}}, "X", {})
        assert (own.greeting, own.disclosure, own.goodbye) == ("Hi!", "I am an AI.", "See you.")

    @pytest.mark.parametrize(
        ("flags", "greeting"), [({"short-greeting": "on"}, "Hi."), ({"short-greeting": "off"}, "Long."), ({}, "Long.")]
    )
    def test_greets_as_the_flag_says(self, flags: dict[str, str], greeting: str) -> None:
        assert wording({"greeting": "Long.", "short_greeting": "Hi."}, "X", flags).greeting == greeting


class TestSystemPrompt:
    def test_begins_with_the_agents_own(self) -> None:
        assert system_prompt({"system_prompt": "Be kind."}).startswith("Be kind.\n\nYou are speaking on the phone")
        assert system_prompt({}).startswith("You are speaking on the phone")
