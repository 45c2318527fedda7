"""What callers mean, by rules that are cheap and err on the side of not recording."""

import pytest

from realtime.turns.phrases import (
    Answer,
    answer_in,
    asks_more,
    asks_more_than_withdrawal,
    begins_as_well,
    looks_complete,
    says_goodbye,
    trails_off,
    withdraws,
)


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

    def test_is_heard_in_the_language_that_is_spoken(self) -> None:
        assert says_goodbye("Eso es todo, que tenga un buen día.", "es-MX")
        assert not says_goodbye("Eso es todo, que tenga un buen día.")
        assert not says_goodbye("quiero hablar con el señor Bye", "es")


class TestALoneWord:
    @pytest.mark.parametrize("word", ["yes", "Nope.", "yep", "sure"])
    def test_is_often_the_beginning_of_a_longer_answer(self, word: str) -> None:
        assert begins_as_well(word)

    def test_is_none_where_there_are_two(self) -> None:
        assert not begins_as_well("yes please")

    def test_is_one_of_the_language_that_is_spoken(self) -> None:
        assert begins_as_well("Sí.", "es")
        assert not begins_as_well("Sí.")


class TestSpanish:
    @pytest.mark.parametrize(
        "text",
        [
            "Sí.", "si", "no, gracias", "Sí, por favor.", "de acuerdo", "muy bien, gracias", "¿A qué hora abren?",
            "a qué hora abren mañana",
            "cuánto cuesta una limpieza", "buenos días, tienen cita para el martes", "Quisiera una cita, por favor.", "nada más",
            "mi número es 0 1 7 1 5 5 5 1 2 3", "hola, qué hora es", "adiós",
        ],
    )  # fmt: skip
    def test_is_answered_at_once_where_a_person_would(self, text: str) -> None:
        assert looks_complete(text, "es")
        assert not trails_off(text, "es")

    @pytest.mark.parametrize(
        "text",
        [
            "quisiera una cita para", "quiero cambiar mi", "me gustaría", "mi número es", "mi número es cinco cinco", "es que", "y",
            "si llueve mañana", "pues quiero", "quisiera reservar", "puedo pedir una", "pues...",
        ],
    )  # fmt: skip
    def test_is_waited_for_where_something_must_follow(self, text: str) -> None:
        assert trails_off(text, "es-419")
        assert not looks_complete(text, "es-419")

    @pytest.mark.parametrize("text", ["Quisiera una cita para el martes.", "vengo a la una", "me duele una muela", "no tengo", "so", "was"])
    def test_is_waited_for_as_usual_otherwise(self, text: str) -> None:
        assert not trails_off(text, "es")
        assert not looks_complete(text, "es")


class TestALanguageWithoutRules:
    def test_is_not_judged_by_those_of_english(self) -> None:
        assert trails_off("ich weiß nicht was")
        assert not trails_off("ich weiß nicht was", "de")
        assert not looks_complete("ja", "de")

    def test_has_its_marks_and_its_figures(self) -> None:
        assert looks_complete("Wann haben Sie offen?", "de")
        assert trails_off("Ich möchte...", "de")
        assert trails_off("meine Nummer ist 0 1 7", "de")
