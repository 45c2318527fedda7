"""A place on the log, as text that clients carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.admission import NO_CLAIM, UNCLAIMED, Fence
from events.positions import Cursor, InvalidPosition, Position
from events.records import AdmittedBatch

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


FENCES = st.one_of(st.just(UNCLAIMED), st.builds(Fence, st.integers(1, 2**62), st.binary(min_size=16, max_size=16)))
PLACES = st.tuples(st.sampled_from(["aybiza.calls.v1", "aybiza.flags.v1", "t-1.x_y"]), st.integers(0, 63))
CURSORS = st.dictionaries(PLACES, st.tuples(st.integers(0, 2**62), FENCES)).map(Cursor)
CALLS = ("aybiza.calls.v1", 3)


class TestCursor:
    @given(CURSORS)
    def test_comes_back_from_its_text_as_it_was(self, cursor: Cursor) -> None:
        again = Cursor.parse(str(cursor))
        assert (again, str(again), hash(again)) == (cursor, str(cursor), hash(cursor))

    def test_is_readable(self) -> None:
        cursor = Cursor({("b", 1): (9, UNCLAIMED), CALLS: (1042, Fence(7, bytes(range(16)))), ("aybiza.calls.v1", 0): (2, UNCLAIMED)})
        assert str(cursor) == "aybiza.calls.v1:0/2/0/,3/1042/7/000102030405060708090a0b0c0d0e0f;b:1/9/0/"
        assert str(Cursor()) == ""

    @given(CURSORS, CURSORS)
    def test_merges_to_the_furthest_of_each_partition(self, one: Cursor, other: Cursor) -> None:
        try:
            merged = one.merged(other)
        except InvalidPosition:
            assert any(one[place][0] == other[place][0] and one[place] != other[place] for place in one.keys() & other.keys())
            return
        assert one <= merged
        assert other <= merged
        assert set(merged.items()) <= set(one.items()) | set(other.items())
        assert merged.merged(one) == merged

    def test_that_knows_another_writer_at_the_same_offset_is_not_merged(self) -> None:
        with pytest.raises(InvalidPosition, match="one cursor knows term 1, the other 2"):
            Cursor({CALLS: (5, Fence(1, NO_CLAIM))}).merged(Cursor({CALLS: (5, Fence(2, NO_CLAIM))}))

    def test_is_ordered_partition_by_partition_only(self) -> None:
        here, there = Cursor({("t", 0): (1, UNCLAIMED)}), Cursor({("t", 1): (1, UNCLAIMED)})
        assert not here <= there
        assert not there <= here
        assert Cursor({("t", 5): (0, UNCLAIMED)}) <= Cursor()

    def test_moves_past_a_batch_and_knows_what_lies_behind(self) -> None:
        before = Cursor({("t", 0): (1, UNCLAIMED)})
        after = before.after(AdmittedBatch(*CALLS, [], 1043, Fence(7, bytes(16))))
        assert after == Cursor({("t", 0): (1, UNCLAIMED), CALLS: (1043, Fence(7, bytes(16)))})
        assert after.has_passed(POSITION)
        assert not after.has_passed(POSITION._replace(offset=1043))
        assert not before.has_passed(POSITION)

    @pytest.mark.parametrize(
        "text",
        [
            "t",
            "t:",
            "t:0",
            "t:0/1/1",
            "t:0/-1/1/",
            "t:-1/1/1/",
            "t:0/1/1/00",
            "t:0/1/x/",
            ":0/1/1/",
            "t:0/1/1/,0/2/1/",
            "t:0/1/1/;t:0/1/1/",
        ],
    )
    def test_of_another_form_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidPosition):
            Cursor.parse(text)
