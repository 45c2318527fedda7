"""What a recogniser that follows turns says with its words; one that does not says nothing about them."""

from enum import StrEnum


class TurnMark(StrEnum):
    """NONE is never said by one that follows turns: its final closes the turn, and `finalize` is asked of it only to end one."""

    NONE = ""
    GOING = "going"
    LIKELY_OVER = "likely-over"
    GOES_ON = "goes-on"
    OVER = "over"
