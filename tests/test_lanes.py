"""What waits for real time is run by one worker, and by others only when nothing else is left."""

from pathlib import Path

import pytest

from tests.lanes import LONG, WAITING, next_file

HOME = Path(__file__).resolve().parents[1]
FILES = ("tests/events/test_codec.py", "tests/realtime/test_turns.py", *reversed(LONG), *reversed(WAITING))


class TestNextFile:
    def test_of_who_waits_is_the_longest_that_waits(self) -> None:
        assert next_file(FILES, waits=True) == WAITING[0]

    def test_of_who_computes_is_a_long_one_first_and_then_what_comes(self) -> None:
        assert next_file(FILES, waits=False) == LONG[0]
        assert next_file(FILES[:2], waits=False) == FILES[0]

    def test_is_of_the_other_lane_when_the_own_is_empty(self) -> None:
        assert next_file(WAITING, waits=False) == WAITING[0]
        assert next_file(LONG, waits=True) == LONG[0]


@pytest.mark.parametrize("file", [*WAITING, *LONG])
def test_every_file_with_a_place_is_there(file: str) -> None:
    assert (HOME / file).is_file()
