"""What the owners of a process need of other processes: who should own what, a way to ask them, and a way to follow their partitions."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from commands.ports import Place
from events.admission import Fence
from events.records import AdmittedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The partitions that this process should own. Of two assignments the higher generation counts."""

    generation: int
    places: frozenset[Place]


class Assignments(Protocol):
    """Who should own what. It decides nothing: who may write is decided in the log."""

    def changes(self) -> AsyncGenerator[Assignment, None]:
        """The present assignment as soon as there is one, and every later one, by rising generation.

        It may end: the last one stands then. It waits while the coordinator is away, and raises nothing. Read once, closed at the end.
        """


class Unreachable(Exception):
    """The request was certainly not delivered: nobody listens at the address, or it is not the process that we mean."""


class Silent(Exception):
    """No answer: in time, or at all, for the connection broke. The request may have been delivered, and may yet be dealt with."""


class PeerBusy(Exception):
    """So many requests to this peer are under way that this one was not sent. Ask again after `retry_after_ms`."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__("too many requests to one peer are under way")
        self.retry_after_ms = retry_after_ms


class Peers(Protocol):
    """Other processes, by the addresses in their claims: `host:port/incarnation`, or whatever text a paper world uses."""

    async def ask(self, address: str, request: bytes, seconds: float) -> bytes:
        """Send one request and return its answer, within so many seconds. Requests to one peer overtake each other freely.

        Never repeats by itself what may have been delivered. Raises Unreachable, Silent or PeerBusy. Cancelling it does not unsend.
        """


class Tails(Protocol):
    """Partitions that others own, as they grow."""

    def follow(self, place: Place, start: tuple[int, Fence]) -> AsyncGenerator[AdmittedBatch, None]:
        """Admitted records from a position on, in order, for ever. Waits while the log is away. A batch may be empty. Raises HistoryLost.

        The codec knows the schema of each event that is handed out.
        """
