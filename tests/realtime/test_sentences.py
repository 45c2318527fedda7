"""A model's text in pieces worth saying."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.speaking.sentences import cut, speakable


class TestCut:
    @pytest.mark.parametrize(
        ("buffer", "pieces", "rest"),
        [
            ("One. Two. Thr", ["One.", "Two."], "Thr"),
            ("One.", [], "One."),
            ("Really?! Yes", ["Really?!"], "Yes"),
            ("Dr. Bennett is in. He", ["Dr. Bennett is in."], "He"),
            ("At 9 a.m. we open. Then", ["At 9 a.m. we open."], "Then"),
            ("It costs 3.50 today. And", ["It costs 3.50 today."], "And"),
            ("First\nsecond", ["First"], "second"),
            ("... Well", [], "Well"),
        ],
    )
    def test_takes_whole_sentences(self, buffer: str, pieces: list[str], rest: str) -> None:
        assert cut(buffer, 1, first=False) == (pieces, rest)

    def test_takes_a_first_clause_early(self) -> None:
        buffer = "We are open from nine to five, and on"
        assert cut(buffer, 1, first=True) == (["We are open from nine to five,"], "and on")
        assert cut(buffer, 1, first=False) == ([], buffer)

    def test_takes_no_clause_that_is_too_short(self) -> None:
        assert cut("Yes, and on", 1, first=True) == ([], "Yes, and on")

    def test_joins_sentences_that_share_a_flush(self) -> None:
        assert cut("One. Two. Three. Fo", 12, first=True) == (["One. Two. Three."], "Fo")

    @given(st.text("ab., !?\n", max_size=80), st.sampled_from([1, 20, 160]), st.booleans())
    def test_loses_no_word(self, text: str, least: int, first: bool) -> None:
        pieces, rest = cut(text, least, first=first)
        assert [c for c in "".join(pieces) + rest if c.isalnum()] == [c for c in text if c.isalnum()]
        assert all(speakable(piece) for piece in pieces)
