"""What the projections need from the world: a reader of the log, and a store that takes rows and checkpoint together."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias

from events.admission import UNCLAIMED, Fence
from events.codec import Codec
from events.records import AdmittedBatch, RawRecord
from projections.journal import Journal
from projections.partial import PartialAggregate
from projections.series import Series
from projections.table import Key, Table


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class LogReader(Protocol):
    """Admitted records of many partitions."""

    @property
    def codec(self) -> Codec:
        """Knows every schema that the log is known to carry by now; a record may be read a moment before its schema."""

    def batches(
        self,
        topics: Sequence[str],
        start: Mapping[tuple[str, int], tuple[int, Fence]],
        *,
        stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:
        """Records from `start` on (a partition not named: from 0), each batch of one partition, in its order, whole commits.

        `places`: the partitions to read, instead of all. Waits for more at the end and while the log is away, or ends with
        `stop_at_end`. A batch without records says that there was nothing to admit up to its `next_offset`. Bounded in memory: reads
        little further than is taken. Close it when leaving early. Raises LogAway at its beginning, HistoryLost at any time.
        """

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        """The offset after the last visible record of every partition of the topics. Raises LogAway."""


class StoreUnavailable(Exception):
    """The store does not answer; what was asked may or may not have happened. Open it again."""


class Superseded(Exception):
    """Another runner has taken these partitions over; this one has to stop. Nothing was written."""


class RowsRefused(Exception):
    """The store can never take one of the rows (a text with a zero byte, a number out of range). Nothing was written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a projection goes on in a partition."""

    next_offset: int = 0
    fence: Fence = UNCLAIMED


TopicOf: TypeAlias = Callable[[str], str]
"""The topic of a room: `events.streams.topic_of`, unless the log's topics have a prefix of their own."""
Projection: TypeAlias = Table[Any] | PartialAggregate[Any, Any] | Series[Any] | Journal
Mark: TypeAlias = tuple[str, Place]
"""A projection's `named` and a partition: what a checkpoint belongs to."""


def named(projection: Projection) -> str:
    """The name of one build of a version of a projection, as its checkpoints have it: `calls.v1`, the next one `calls.v1.b2`."""
    return f"{family_of(projection)}.v{projection.version}{'' if projection.build == 1 else f'.b{projection.build}'}"


def family_of(projection: Projection) -> str:
    """The name under which its versions and builds are kept; that of the projection whose own it is."""
    return projection.within or projection.name if isinstance(projection, Table) else projection.name


def base_of(name: str) -> str:
    """The version that a build is of: `calls.v1` of `calls.v1.b2`."""
    return name.partition(".b")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a runner starts from. `epochs` are its own from now on; `parked`: streams of a projection whose facts wait."""

    checkpoints: Mapping[Mark, Checkpoint]
    epochs: Mapping[Mark, int]
    parked: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """A checkpoint's step. It is taken only from `seen`, by the runner that holds `epoch`."""

    projection: str
    place: Place
    epoch: int
    seen: Checkpoint
    reached: Checkpoint


@dataclass(frozen=True, slots=True)
class Folded:
    """A row after a batch; None: it is gone. `appended_at` is that of its last fact."""

    row: Any
    appended_at: datetime


@dataclass(slots=True)
class Added:
    """What a stream's facts add to partial rows, of the partition in which it lies."""

    place: Place
    rows: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A fact that a projection could not take, or one `behind` such a fact on its stream. `tried_by`: the last order to fold it again."""

    projection: str
    place: Place
    offset: int
    stream: str
    version: int
    ce_type: str
    reason: str
    behind: bool
    tried_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sick:
    """A stream of which facts are parked and ordered to be folded again; those in `discarded`, by their offsets, are to be left out.

    `order` names the order: it is carried out once.
    """

    projection: str
    place: Place
    stream: str
    order: str
    records: Sequence[RawRecord]
    discarded: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """All that comes of some batches, to be written together or not at all."""

    advances: Sequence[Advance]
    rows: Mapping[Table[Any], Mapping[Key, Folded]] = field(default_factory=dict)
    entries: Mapping[Series[Any], Sequence[Any]] = field(default_factory=dict)
    added: Mapping[PartialAggregate[Any, Any], Mapping[Key, Added]] = field(default_factory=dict)
    """By the streams that add it; what those remember is among `rows`."""
    journal: Sequence[RawRecord] = ()
    parked: Sequence[Parked] = ()
    healed: Sequence[tuple[str, str]] = ()
    """Projections' names and streams whose facts are parked no more, but for those in `parked`."""


class Store(Protocol):
    """Keeps rows and checkpoints. Every method raises StoreUnavailable."""

    async def open(self, marks: Collection[tuple[Projection, Place]], held: Mapping[Mark, int] | None = None) -> Opened:
        """Take the checkpoints over: whoever held them cannot write any more. Makes what is not there yet.

        `held`: the epochs that this runner had; raises Superseded when they are no longer the last ones.
        """

    async def rows(self, table: Table[Any], keys: Collection[Key]) -> Mapping[Key, Any]:
        """The rows that there are."""

    async def prepare(self, journal: Sequence[RawRecord]) -> None:
        """Do ahead, while a write is under way, what can be done of the next one, which has these in its journal. Writes nothing."""

    async def write(self, writes: Writes) -> None:
        """Write everything and step the checkpoints in one transaction, then tell who waits.

        Raises Superseded when a checkpoint is not where it was seen, or its epoch is another's; RowsRefused.
        """

    async def sick(self, marks: Collection[Mark]) -> Sequence[Sick]:
        """What is parked under these marks and ordered to be folded again, unless that order was carried out."""

    async def refused(self, writes: Writes) -> Mapping[tuple[str, Key], str]:
        """Which rows it can never take, by projection and key, each with its reason. Writes nothing."""
