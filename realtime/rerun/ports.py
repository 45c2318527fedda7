"""Where the sealed objects lie that a call can be run again from."""

from collections.abc import Sequence
from typing import Protocol


class SignalStore(Protocol):
    """Named objects, small and many. Names are `folder/name` of letters, digits, `_` and `-`."""

    async def put(self, name: str, content: bytes) -> None:
        """Keep it, so that a crash of this process leaves it whole or absent; a second put of the name replaces the first.

        Raises OSError.
        """

    async def get(self, name: str) -> bytes | None:
        """Raises OSError where it cannot be read; None where there is none."""

    async def names(self, folder: str) -> Sequence[str]:
        """All names of a folder, in their order. Raises OSError."""
