"""How a command reaches the owner of its stream, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias

from commands.decider import Decider
from events.headers import ZERO_8, ZERO_16
from events.positions import Position
from events.recorded import EventId, Recorded
from events.registry import Fact
from events.streams import StreamId


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who wants it, why, and under which id. The same `command_id` with the same `digest` on the same stream is a repeat.

    `command_id` and `digest` are 16 bytes (`events.identifiers.derived_id`, `events.sealing.digest_of` over what the caller sent).
    `occurred_at` is aware, UTC.

    How long a repeat is known: for ever. The owner has the answers of a stream's last 256 commands at hand, whoever owned the
    partition then; an older one is looked up in the journal, or on the partition, before anything is decided. That takes as long as
    loading a stream that nobody used. Refusals are not remembered: asked again, they are decided again.
    """

    command_id: bytes
    digest: bytes
    actor: str
    occurred_at: datetime
    correlation_id: bytes = ZERO_16
    causation: EventId | None = None
    depth: int = 0
    trace_id: bytes = ZERO_16
    span_id: bytes = ZERO_8


class Committed(NamedTuple):
    """The command is on the log, once. A repeat has the first answer's position and version, and `repeated`.

    `facts` are what this command brought about: empty where it changed nothing (`position` is then its receipt's) and
    for a repeat whose facts are no longer at hand.
    """

    position: Position
    version: int
    facts: tuple[Recorded[Fact], ...]
    repeated: bool = False


class ExpectedVersionMismatch(Exception):
    """The stream has moved on; nothing was appended. Confirmed: the answering owner still owned the partition."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"the stream is at version {found}, not {expected}; read it again and decide anew")
        self.expected = expected
        self.found = found


class CommandIdReused(Exception):
    """The command id was used on this stream with another body; nothing was appended."""


class LogUnavailable(Exception):
    """The log cannot be written now; nothing was appended. Try again after `retry_after_ms`."""

    def __init__(self, reason: str, retry_after_ms: int = 500) -> None:
        super().__init__(reason)
        self.retry_after_ms = retry_after_ms


class CommitInDoubt(Exception):
    """No answer in time: the command may or may not be on the log. Send it again under the same id."""


class CommitTooLarge(Exception):
    """The facts of one command do not fit one batch; nothing was sent."""


class UnknownCategory(LookupError):
    """No decider is registered for this kind of stream."""


class Dispatch(Protocol):
    """Send a command to the owner of its stream.

    Returns when the facts are on the log, once and for ever, in order. Raises CommandRefused (a rule said no),
    ExpectedVersionMismatch, CommandIdReused, CommitTooLarge, LogUnavailable or CommitInDoubt.
    """

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed: ...


Watcher: TypeAlias = Callable[[Recorded[Fact]], None]


class Watch(Protocol):
    """Be told of every fact of a stream as it is confirmed, whoever caused it, in order, on the event loop."""

    def __call__(self, stream: StreamId, watcher: Watcher) -> Callable[[], None]:
        """Returns the function that ends the watch. A watcher returns at once and does not raise."""
