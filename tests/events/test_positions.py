"""A place on the log, as text that clients carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.admission import Fence
from events.positions import InvalidPosition, Position

POSITION = Position("aybiza.calls.v1", 3, 1042, Fence(7, bytes(range(16))))


@given(st.integers(0, 63), st.integers(0, 2**62), st.integers(0, 2**62), st.binary(min_size=16, max_size=16))
def test_comes_back_as_it_was(partition: int, offset: int, term: int, claim_id: bytes) -> None:
    position = Position("aybiza.calls.v1", partition, offset, Fence(term, claim_id))
    assert Position.parse(str(position)) == position


def test_is_readable() -> None:
    assert str(POSITION) == "aybiza.calls.v1/3/1042/7/000102030405060708090a0b0c0d0e0f"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aybiza.calls.v1",
        "aybiza.calls.v1/3/1042/7",
        "t/x/1/1/" + "00" * 16,
        "t/-1/1/1/" + "00" * 16,
        "t/1/-1/1/" + "00" * 16,
        "t/1/1/1/00",
    ],
)
def test_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidPosition):
        Position.parse(text)
