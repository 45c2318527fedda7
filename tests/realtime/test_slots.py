"""Who finds a place, and who does not."""

import asyncio

from realtime.engines.ports import PlacesUnknown
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

    async def test_are_counted_with_what_other_processes_hold_and_alone_where_nobody_can_say(self) -> None:
        slots, told = Slots([3]), list[int]()
        answers: list[int | Exception] = [2, PlacesUnknown("away"), 1]
        heard = asyncio.Event()

        async def others(held: int) -> int:
            told.append(held)
            if not answers:
                heard.set()
                await asyncio.Event().wait()
            answer = answers.pop(0)
            room.append(slots.room())
            if isinstance(answer, Exception):
                raise answer
            return answer

        room = list[bool]()
        assert slots.reserve("a")
        counting = asyncio.create_task(slots.count_with(others, every_seconds=0))
        async with asyncio.timeout(120):
            await heard.wait()
        counting.cancel()
        # Before anything was heard, with two elsewhere, and with nobody who could say.
        assert (told, room, slots.elsewhere) == ([1] * 4, [True, False, True], 1)
        assert slots.reserve("b")
        assert not slots.reserve("c")
