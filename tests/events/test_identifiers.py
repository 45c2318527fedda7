"""Ids that people read aloud and programs sort."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.identifiers import (
    ALPHABET,
    InvalidIdentifier,
    check_character,
    derived_id,
    organisation_id,
    read_identifier,
    user_id,
    uuid7,
)

DRAWS = st.integers(0, 2**64 - 1)


class TestCheckCharacter:
    def test_is_a_function_of_the_characters_before_it(self) -> None:
        assert check_character("00000000000") == "0"
        # By hand: 1 doubled is 2, and 2 to the next 32 is 30, which Crockford writes Y.
        assert check_character("00000000001") == "Y"
        # 31 doubled is 62, in base 32 the digits 1 and 30, and 31 to the next 32 is 1.
        assert check_character("Z") == "1"

    @given(DRAWS, st.data())
    def test_finds_every_single_wrong_character(self, draw: int, data: st.DataObject) -> None:
        whole = organisation_id(draw)
        at = data.draw(st.sampled_from([place for place, character in enumerate(whole) if place > 3 and character != "-"]))
        wrong = data.draw(st.sampled_from([character for character in ALPHABET if character != whole[at]]))
        with pytest.raises(InvalidIdentifier, match="check its spelling"):
            read_identifier(whole[:at] + wrong + whole[at + 1 :])

    def test_finds_every_swap_of_neighbours_but_of_the_two_that_double_alike(self) -> None:
        missed = {
            (one, other)
            for one in ALPHABET
            for other in ALPHABET
            if one != other and check_character(one + other) == check_character(other + one)
        }
        assert missed == {("0", "Z"), ("Z", "0")}


class TestOrganisationId:
    @given(DRAWS)
    def test_reads_back_however_it_is_typed(self, draw: int) -> None:
        proper = organisation_id(draw)
        typed = proper.lower().replace("-", " ").replace("0", "o").replace("1", "l")
        assert read_identifier(typed) == proper
        assert read_identifier(proper.replace("-", "").replace("1", "I")) == proper

    @given(DRAWS)
    def test_has_the_form_that_is_printed_on_invoices(self, draw: int) -> None:
        parts = organisation_id(draw).split("-")
        assert [len(part) for part in parts] == [3, 4, 4, 4]
        assert set("".join(parts[1:])) <= set(ALPHABET)

    def test_uses_all_55_bits(self) -> None:
        assert organisation_id(0) == "AYB-0000-0000-0000"
        assert len({organisation_id(1 << bit) for bit in range(55)}) == 55
        assert organisation_id(1 << 55) == organisation_id(0)


class TestUserId:
    @given(DRAWS)
    def test_reads_back(self, draw: int) -> None:
        proper = user_id(draw)
        assert len(proper) == 14
        assert read_identifier(f" {proper.lower()} ") == proper


@pytest.mark.parametrize(
    "text",
    ["", "AYB", "AYB-0000-0000-000", "AYB-0000-0000-00000", "USR-0000-0000-0000", "XYZ-0000-0000-0000", "AYB-0000-0000-000U", "AYB-0000-é"],
)
def test_what_is_no_id_is_not_read(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        read_identifier(text)


class TestUuid7:
    def test_is_the_example_of_the_rfc(self) -> None:
        # RFC 9562, appendix A.6.
        rand_a, rand_b = 0xCC3, 0x18C4DC0C0C07398F
        assert uuid7(0x017F22E279B0, rand_a << 62 | rand_b) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")

    @given(st.integers(0, 2**48 - 1), st.integers(0, 2**80))
    def test_has_version_and_variant_and_sorts_by_time(self, at_ms: int, draw: int) -> None:
        drawn = uuid7(at_ms, draw)
        assert (drawn.version, drawn.variant) == (7, "specified in RFC 4122")
        assert drawn.int >> 80 == at_ms


class TestDerivedId:
    def test_is_the_same_for_the_same_parts(self) -> None:
        assert derived_id("AYB-1", "key") == derived_id(b"AYB-1", "key")
        assert len(derived_id()) == 16

    def test_tells_parts_from_their_joint(self) -> None:
        assert derived_id("ab", "c") != derived_id("a", "bc")
        assert derived_id("abc") != derived_id("abc", "")
