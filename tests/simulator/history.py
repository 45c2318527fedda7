"""What the clients of one run asked and heard: all that the checker knows of the owners, beside the log."""

from dataclasses import dataclass
from typing import TypeAlias

from commands.dispatch import Committed, Order
from commands.flags import FlagCommand
from events.streams import StreamId

Outcome: TypeAlias = Committed | Exception | None
"""None: no answer; the command may or may not be on the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A command that a client sees through. Repeats are the same `Wanted`; another body under the same id is another one."""

    stream: StreamId
    command: FlagCommand
    order: Order
    expected_version: int | None


@dataclass(slots=True, kw_only=True, eq=False)
class Attempt:
    """A `Wanted` handed in once: by whom, to whom, when, and what came of it. `begun` and `ended` are the log's time."""

    number: int
    client: str
    process: str
    wanted: Wanted
    begun: float
    ended: float | None = None
    outcome: Outcome = None

    @property
    def stream(self) -> StreamId:
        return self.wanted.stream

    @property
    def command(self) -> FlagCommand:
        return self.wanted.command

    @property
    def order(self) -> Order:
        return self.wanted.order

    @property
    def expected_version(self) -> int | None:
        return self.wanted.expected_version

    @property
    def name(self) -> str:
        return f"attempt {self.number} of {self.order.command_id.rstrip(b'.').decode()} ({self.client} at {self.process})"
