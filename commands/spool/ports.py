"""What the spool needs of a disk."""

from collections.abc import Sequence
from typing import Protocol


class SpoolDisk(Protocol):
    """The segments of one process's spool: files that only grow, and are deleted whole. Every method may raise OSError."""

    async def segments(self) -> Sequence[str]:
        """The names of all segments in the order of their names."""

    async def append(self, name: str, data: bytes) -> None:
        """Add at the end; begins the segment where there is none. After an error any part of `data` may be there."""

    async def sync(self, name: str) -> None:
        """What was appended survives a crash, the segment's name too. After an error nothing is known of what was not synced before."""

    async def read(self, name: str) -> bytes:
        """The whole segment."""

    async def delete(self, name: str) -> None:
        """Idempotent."""


class LeftSpools(Protocol):
    """Spools on this machine whose processes are gone. Every method may raise OSError."""

    async def adopt(self) -> Sequence[tuple[str, SpoolDisk]]:
        """Those found since the last time, oldest first, with their incarnation. Nobody else touches them while this process lives."""

    async def dismiss(self, incarnation: str) -> None:
        """An adopted spool is empty and may be forgotten."""
