"""Who finds a place, and who does not."""

from realtime.engines.slots import Slots


class TestSlots:
    def test_are_as_many_as_the_scarcest_engine_allows(self) -> None:
        slots = Slots([3, None, 2])
        assert [slots.reserve(call) for call in ("a", "b", "c")] == [True, True, False]
        assert not slots.room()

    def test_are_without_end_where_nobody_counts(self) -> None:
        slots = Slots([None])
        assert all(slots.reserve(str(call)) for call in range(1000))
        assert slots.room()

    def test_are_kept_by_who_has_one_and_given_back_once(self) -> None:
        slots = Slots([2])
        assert slots.reserve("a")
        assert slots.reserve("a")
        assert slots.reserve("b")
        slots.release("a")
        slots.release("a")
        assert slots.held == 1
        assert slots.reserve("c")
        assert not slots.reserve("d")
