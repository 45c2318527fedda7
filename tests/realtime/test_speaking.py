"""What was said, what of it has played, and how we know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.calls.talking import Evidence
from realtime.speaking.playout import (
    Purpose,
    Speech,
    Utterance,
    arrived,
    delivered,
    evidence_of,
    flushes_left,
    heard,
    least_characters,
    mark_name,
    mark_returned,
    said,
    silenced,
    words_within,
)

TEXT = "one two three four"


def speaking(*texts: str, samples: int = 8000, at_ms: int = 0) -> Speech:
    """Texts that were said and delivered, each `samples` long."""
    speech = Speech()
    for text in texts:
        speech, utterance = said(speech, text, Purpose.REPLY, at_ms)
        speech, _ = arrived(speech, samples, at_ms)
        speech, _ = delivered(speech, utterance.id)
    return speech


def last(speech: Speech) -> Utterance:
    return speech.utterances[-1]


class TestAudio:
    def test_belongs_to_the_first_text_that_is_not_whole(self) -> None:
        speech, _ = said(Speech(), "a", Purpose.REPLY, 0)
        speech, _ = said(speech, "b", Purpose.REPLY, 0)
        speech, first = arrived(speech, 800, 10)
        speech, _ = delivered(speech, 1)
        speech, second = arrived(speech, 800, 20)
        assert first is not None
        assert second is not None
        assert (first.id, first.from_sample, second.id, second.from_sample) == (1, 80, 2, 880)

    def test_that_nobody_asked_for_belongs_to_nobody(self) -> None:
        speech, utterance = arrived(Speech(), 800, 10)
        assert (speech, utterance) == (Speech(), None)


class TestMark:
    def test_proves_all_that_came_before_it(self) -> None:
        speech, played = mark_returned(speaking("a", "b"), "g1:u2:end", 2100)
        assert [utterance.id for utterance in played] == [1, 2]
        assert speech.silent

    def test_of_an_older_generation_proves_nothing(self) -> None:
        before = speaking("a")
        name = mark_name(before, last(before))
        after, played = mark_returned(silenced(before, 100), name, 2000)
        assert played == ()
        assert after.generation == 2

    def test_that_comes_too_early_proves_nothing(self) -> None:
        assert mark_returned(speaking("a"), "g1:u1:end", 700)[1] == ()
        assert mark_returned(speaking("a"), "g1:u1:end", 760)[1] != ()

    @pytest.mark.parametrize("name", ["", "g1", "g1:u", "g1:u99:end", "g1:ux:end", "u1:g1:end", "g1:u" + "9" * 50])
    def test_that_is_none_of_ours_proves_nothing(self, name: str) -> None:
        assert mark_returned(speaking("a"), name, 5000)[1] == ()


class TestHeard:
    def test_is_nothing_before_a_word_has_sounded(self) -> None:
        assert [part.words for part in heard(speaking(TEXT), 40)] == [""]

    def test_is_the_words_that_end_within_the_share_that_has_played(self) -> None:
        assert [part.words for part in heard(speaking(TEXT), 500)] == ["one two"]

    def test_is_all_of_the_first_and_a_part_of_the_second(self) -> None:
        parts = heard(speaking(TEXT, TEXT), 1500)
        assert [part.words for part in parts] == [TEXT, "one two"]
        assert evidence_of(parts, cut=True) is Evidence.ESTIMATED

    def test_is_exact_between_two(self) -> None:
        parts = heard(speaking(TEXT, TEXT), 1020)
        assert [part.words for part in parts] == [TEXT, ""]
        assert evidence_of(parts, cut=True) is Evidence.FLUSH_BOUNDED

    def test_is_all_after_the_end(self) -> None:
        assert [part.words for part in heard(speaking(TEXT), 1000)] == [TEXT]

    def test_of_a_text_that_is_still_coming_goes_by_the_usual_length(self) -> None:
        speech, _ = said(Speech(), TEXT, Purpose.REPLY, 0)
        speech, _ = arrived(speech, 4000, 0)
        (part,) = heard(speech, 500)
        assert part.words == "one two"

    def test_counts_a_gap_in_the_audio_as_silence(self) -> None:
        speech, _ = said(Speech(), TEXT, Purpose.REPLY, 0)
        speech, _ = arrived(speech, 4000, 0)
        speech, _ = arrived(speech, 4000, 1000)
        speech, _ = delivered(speech, 1)
        assert [part.words for part in heard(speech, 1060)] == ["one two"]
        assert [part.words for part in heard(speech, 1500)] == [TEXT]

    @given(st.lists(st.text("ab .", min_size=1, max_size=30), min_size=1, max_size=4), st.integers(0, 6000), st.integers(1, 20_000))
    def test_is_always_a_beginning_of_what_was_sent(self, texts: list[str], at_ms: int, samples: int) -> None:
        parts = heard(speaking(*texts, samples=samples), at_ms)
        assert all(text.startswith(part.words) for text, part in zip(texts, parts, strict=True))
        whole = [part.whole for part in parts if part.utterance.text.strip()]
        assert sorted(whole, reverse=True) == whole

    @given(st.text("ab  .", max_size=40), st.floats(0, 1.2))
    def test_ends_with_a_word(self, text: str, share: float) -> None:
        words = words_within(text, share)
        assert text.startswith(words)
        assert words == words.rstrip()
        assert words or share < 1 or not text.strip()
        assert len(words_within(text, share / 2)) <= len(words)
        assert words_within(text, 0) == ""
        assert not words or len(words) == len(text) or text[len(words)].isspace()


class TestFlushes:
    def test_stay_below_what_the_voice_allows_in_a_minute(self) -> None:
        speech = Speech()
        for at_ms in range(0, 60_000, 1000):
            if flushes_left(speech, at_ms) >= 1:
                speech, _ = said(speech, "x", Purpose.REPLY, at_ms)
        assert len(speech.utterances) <= 36

    def test_are_shared_by_sentences_when_few_are_left(self) -> None:
        speech = Speech()
        assert least_characters(speech, 0) == 1
        for _ in range(12):
            speech, _ = said(speech, "x", Purpose.REPLY, 0)
        assert least_characters(speech, 0) == 160
        for _ in range(5):
            speech, _ = said(speech, "x", Purpose.REPLY, 0)
        assert least_characters(speech, 0) == 1000
        assert least_characters(speech, 60_000) == 1
