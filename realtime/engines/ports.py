"""What a call needs of the engines' accounts: room."""

from typing import Protocol


class Admission(Protocol):
    """The streams that the providers' accounts allow at once, as places for calls. Asked at the ring, off the audio path; never blocks."""

    def room(self) -> bool:
        """Whether one more call would find a place."""

    def reserve(self, call_id: str) -> bool:
        """Keep a place for a call. Idempotent: who has one keeps it. False: none is left, and the ring is refused or waits."""

    def release(self, call_id: str) -> None:
        """The call is over, or never came. Idempotent."""


class PlacesUnknown(Exception):
    """Nobody can say what other processes hold."""


class PlacesElsewhere(Protocol):
    """What the processes that share the providers' accounts hold together."""

    async def __call__(self, held: int) -> int:
        """Say how many places this process holds; returns how many the others do, as of their last word. Raises PlacesUnknown."""
