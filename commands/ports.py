"""What the owner of partitions needs from the log."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from events.admission import Fence

# Whoever reads may meet them, on any floor; they belong to the owners' contract as well.
from events.reading import HistoryLost as HistoryLost  # noqa: PLC0414
from events.reading import LogAway as LogAway  # noqa: PLC0414
from events.records import RawRecord
from events.registry import EventType

BATCH_BYTES = 1_000_000
"""What a log takes as one batch. Brokers take 1,048,588 bytes unless they are told otherwise."""


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Claim(NamedTuple):
    """Who was the last to claim a partition, as far as somebody knows. `address`: where it takes commands (empty: nowhere)."""

    term: int
    claim_id: bytes
    address: str
    offset: int


class NewRecord(NamedTuple):
    """A record to be appended. A tuple, for there are tens of thousands of them a second."""

    key: bytes
    value: bytes
    timestamp_ms: int
    headers: list[tuple[str, bytes]]


class AppendInDoubt(Exception):
    """No clean acknowledgement: the records may lie on the log, may come to lie there later, or never."""


class Log(Protocol):
    """Partitions that can be appended to and read. Whatever it raises, a partition's records keep their order."""

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        """Append all records as one batch, whole or not at all; returns the offset of the first, or a negative number if it is unknown.

        Never repeats by itself what may have been appended. Bounded in time. Raises LogAway, or AppendInDoubt: then call `sever`
        before anything else is appended to this partition. ValueError for records that do not fit a batch of BATCH_BYTES.
        """

    async def sever(self, place: Place) -> None:
        """Throw away what carried the append that is in doubt. What was on its way may still arrive. Idempotent."""

    def read(self, place: Place, start: int, stop: int) -> AsyncGenerator[Sequence[RawRecord], None]:
        """Every record with `start <= offset < stop`, in order, in parts of bounded size; returns once `stop` is reached.

        `stop` may lie beyond what the broker calls its end: an acknowledged offset is waited for. Raises LogAway or HistoryLost.
        """

    async def end_offset(self, place: Place) -> int:
        """The offset after the last record that readers can see. It may be stale: never conclude from it that nothing follows.

        Raises LogAway.
        """


class SchemaRegister(Protocol):
    """The log's own schemas, by which any reader decodes it."""

    async def register(self, kinds: Iterable[EventType]) -> None:
        """Returns once the schemas of these kinds are on the log. Idempotent and quick for what was registered. Raises LogAway."""

    async def learn(self, marks: Iterable[bytes]) -> None:
        """Returns once the codec knows the schemas with these fingerprints; waits for those that nobody has written yet."""


class HistoryAway(Exception):
    """The journal does not answer now, or does not know the partition yet."""


class HistoryDamaged(Exception):
    """An entry of the journal is not the record that it says it is: read the partition instead."""


class Reached(NamedTuple):
    """How far a journal is: it holds every admitted record before `offset`, where the log goes on under `fence`.

    `timestamp_ms`: when the last of them was appended.
    """

    offset: int
    fence: Fence
    timestamp_ms: int


class Since(NamedTuple):
    """Behind which record of a stream somebody wants it, and the stream's version there. As it stands: from its beginning."""

    offset: int = -1
    version: int = 0


class History(NamedTuple):
    """What a journal holds of some streams, by key: their events and receipts before `reached`, in order."""

    reached: Reached
    records: Mapping[bytes, Sequence[RawRecord]]


class Remembered(NamedTuple):
    """What a journal knows of a command before `reached`: its last record, or None."""

    reached: Reached
    record: RawRecord | None


class Begun(NamedTuple):
    """Keys of streams of which a piece of a partition has the first record; the piece ends before `told`."""

    keys: Sequence[bytes]
    told: int


class Beginnings(Protocol):
    """The journal, as far as owners learn from it which streams a partition has had."""

    async def begun(self, place: Place, start: int, stop: int, most: int) -> Begun:
        """From `start` on, before `stop`, of so many records at most. Bounded in time, and raises HistoryAway.

        A stream that began with a command that changed nothing may be named again at its first event.
        """


class Histories(Beginnings, Protocol):
    """The journal, as far as owners read it. Each answer is of one moment. Every method is bounded in time, and raises HistoryAway."""

    async def reached(self, place: Place) -> Reached:
        """Where a reader goes on who leaves everything before to the journal."""

    async def load(self, place: Place, since: Mapping[bytes, Since]) -> History:
        """Streams by key. Raises HistoryDamaged."""

    async def answered(self, place: Place, key: bytes, command_id: bytes) -> Remembered:
        """What became of a command on a stream. Raises HistoryDamaged."""


class Snapshots(Protocol):
    """States of streams, kept as bytes by key. What is kept may be lost again: nothing rests on it. Every method raises LogAway."""

    async def find(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """The last one of each, where there is one."""

    async def keep(self, snapshots: Mapping[bytes, bytes]) -> None:
        """Keep them in the place of older ones."""
