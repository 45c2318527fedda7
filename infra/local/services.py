"""What the stack asks of each service it keeps: how it is prepared, started, reached and stopped."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias


class StackUnavailable(Exception):
    """A service that we need is not there; the text says which, why, and what to do."""


class Unreachable(Exception):
    """One attempt to reach a service failed; the text says how."""


# A part's name and what it is doing now, for whoever watches.
Progress: TypeAlias = Callable[[str, str], None]


class Service(Protocol):
    """One child of the stack. All its files lie in one folder, which `mark` names on its command line."""

    name: str
    mark: str
    log: Path
    ports_wanted: int
    stop_signal: signal.Signals
    stop_seconds: float

    async def prepare(self, ports: Sequence[int], progress: Progress) -> None:
        """Make everything ready for a start, fetching what is missing. Idempotent; keeps the data that is there.

        Raises StackUnavailable when something must be installed or mended by a person.
        """

    def command(self, ports: Sequence[int]) -> Sequence[str]:
        """The command line that runs it in the foreground."""

    def address(self, ports: Sequence[int]) -> str:
        """Where clients find it: what `Addresses` says of it."""

    async def probe(self, address: str) -> None:
        """Ask it something only a working service answers. One attempt, bounded in time; raises Unreachable."""
