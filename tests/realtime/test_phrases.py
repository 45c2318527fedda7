"""What callers mean, by rules that are cheap and err on the side of not recording."""

import pytest

from realtime.turns.phrases import Answer, answer_in, asks_more, asks_more_than_withdrawal, says_goodbye, withdraws


class TestAnswer:
    @pytest.mark.parametrize(
        "words",
        [
            "yes", "Yes, please.", "sure", "yeah go ahead", "of course", "that's fine", "that is okay with me", "no problem",
            "I don't mind",
            "why not", "okay",
            "you may", "by all means", "Yes, and what are your opening hours?", "I agree", "fine by me",
        ],
    )  # fmt: skip
    def test_is_a_yes(self, words: str) -> None:
        assert answer_in(words) is Answer.YES

    @pytest.mark.parametrize(
        "words",
        [
            "no", "No, thank you.", "nope", "I'd rather you didn't", "please don't record", "rather not", "I do not want that", "not today",
            "no, what are your opening hours", "never", "without recording please",
        ],
    )  # fmt: skip
    def test_is_a_no(self, words: str) -> None:
        assert answer_in(words) is Answer.NO

    @pytest.mark.parametrize(
        "words",
        [
            "", "hm", "what did you say", "yes but no", "yes but do not record my name", "okay what are your opening hours",
            "I need a table", "maybe",
        ],
    )  # fmt: skip
    def test_is_unclear(self, words: str) -> None:
        assert answer_in(words) is Answer.UNCLEAR

    @pytest.mark.parametrize(
        "words", ["yes", "no thank you", "yes please go ahead", "that is fine with me", "of course you may record this call"]
    )
    def test_asks_for_nothing_else(self, words: str) -> None:
        assert not asks_more(words)

    @pytest.mark.parametrize("words", ["yes and what are your opening hours", "no I need a new appointment on Friday"])
    def test_asks_for_something_else_too(self, words: str) -> None:
        assert asks_more(words)


class TestWithdrawal:
    @pytest.mark.parametrize(
        "words",
        [
            "stop recording",
            "Please stop recording me.", "stop the recording now", "could you stop recording this call",
            "turn off the recording",
            "turn the recording off", "I don't want to be recorded",
            "I do not want you to record this", "don't record me", "no more recording",
            "I take back my consent", "please end the call recording",
        ],
    )  # fmt: skip
    def test_is_heard(self, words: str) -> None:
        assert withdraws(words)

    @pytest.mark.parametrize(
        "words",
        ["don't stop recording", "did you stop recording", "please go on", "stop by on Friday", "my medical records"],
    )  # fmt: skip
    def test_is_not_heard_where_there_is_none(self, words: str) -> None:
        assert not withdraws(words)

    def test_with_more_in_it_asks_for_more(self) -> None:
        assert asks_more_than_withdrawal("stop recording and tell me your opening hours")
        assert not asks_more_than_withdrawal("could you please stop recording this call now")


class TestGoodbye:
    @pytest.mark.parametrize("words", ["goodbye", "okay bye", "That's all, thank you.", "have a nice day"])
    def test_is_heard(self, words: str) -> None:
        assert says_goodbye(words)

    def test_is_not_heard_in_other_words(self) -> None:
        assert not says_goodbye("I would like to buy a table")
