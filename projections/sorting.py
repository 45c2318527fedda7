"""Admitted records sorted by who wants them: each is decoded once, and only if somebody does."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from events.codec import BrokenBody, Codec
from events.headers import Kind
from events.recorded import Recorded
from events.records import AdmittedBatch, RawRecord, recorded
from events.registry import Fact, UnknownEvent
from events.streams import InvalidStreamName
from projections.journal import Journal, JournalEntry, entry_of
from projections.ports import Checkpoint, Mark, Place, Projection, TopicOf, named
from projections.series import Series
from projections.table import Key, Table

_NOTHING = range(0)
Foldable: TypeAlias = Table[Any] | Series[Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A fact for a projection; `fact` is None where it could not be decoded, and `reason` says why."""

    projection: Foldable
    name: str
    raw: RawRecord
    fact: Recorded[Fact] | None
    reason: str = ""


@dataclass(slots=True)
class Sorted:
    """What a batch holds for us, and how far it brings each checkpoint."""

    records: int = 0
    wanted: list[Wanted] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)
    reached: dict[Mark, Checkpoint] = field(default_factory=dict)

    def add(self, other: "Sorted") -> None:
        """Take in what follows."""
        self.records += other.records
        self.wanted += other.wanted
        self.journal += other.journal
        self.reached |= other.reached


def keys_of(wanted: Collection[Wanted]) -> Mapping[Table[Any], set[Key]]:
    """The rows that facts are folded upon."""
    keys: defaultdict[Table[Any], set[Key]] = defaultdict(set)
    for each in wanted:
        if isinstance(each.projection, Table) and each.fact is not None:
            keys[each.projection].add((each.fact.stream.tenant, each.fact.stream.id))
    return keys


class Plan:
    """Which projections read which topics."""

    def __init__(self, projections: Collection[Projection], topic_of: TopicOf, journal_rooms: Collection[str]) -> None:
        self.by_category: dict[tuple[str, bytes], list[tuple[Foldable, str]]] = {}
        self.by_topic: defaultdict[str, list[Projection]] = defaultdict(list)
        self.by_name: dict[str, Foldable] = {named(each): each for each in projections if not isinstance(each, Journal)}
        for projection in projections:
            if isinstance(projection, Journal):
                for room in journal_rooms:
                    self.by_topic[topic_of(room)].append(projection)
            else:
                topic = topic_of(projection.room)
                self.by_category.setdefault((topic, projection.category.encode()), []).append((projection, named(projection)))
                self.by_topic[topic].append(projection)

    @property
    def topics(self) -> Sequence[str]:
        return sorted(self.by_topic)

    def marks(self, places: Collection[Place]) -> list[tuple[Projection, Place]]:
        """What needs a checkpoint."""
        return [(projection, place) for place in sorted(places) for projection in self.by_topic[place.topic]]


class Sorter:
    """Sorts the batches of a reader, from where each projection stands: one may be further than another.

    `stop_at`: checkpoints that are not to be passed, each the end of a commit.
    """

    def __init__(
        self, plan: Plan, checkpoints: Mapping[Mark, Checkpoint], codec: Codec, stop_at: Mapping[Mark, Checkpoint] | None = None
    ) -> None:
        self._plan = plan
        self._codec = codec
        self._stop_at = stop_at or {}
        self._reached = dict(checkpoints)
        self._names: defaultdict[Place, list[str]] = defaultdict(list)
        for name, place in checkpoints:
            self._names[place].append(name)
        self._journals = {named(each) for projections in plan.by_topic.values() for each in projections if isinstance(each, Journal)}

    def sort(self, batch: AdmittedBatch) -> Sorted:
        """Raises UnknownSchema: then nothing has been done, and the same batch can be given again."""
        place = Place(batch.topic, batch.partition)
        result = Sorted(records=len(batch.records))
        spans: dict[str, range] = {}
        for name in self._names[place]:
            seen, reached = self._reached[name, place], Checkpoint(batch.next_offset, batch.fence)
            stop = self._stop_at.get((name, place), reached)
            if stop.next_offset < reached.next_offset:
                reached = stop
            if reached.next_offset > seen.next_offset:
                spans[name] = range(seen.next_offset, reached.next_offset)
                result.reached[name, place] = reached
        if spans:
            for name in self._journals & spans.keys():
                span = spans[name]
                result.journal += [entry_of(raw, raw.header) for raw in batch.records if raw.header is not None and raw.offset in span]
            for raw in batch.records:
                self._take(raw, spans, result)
            self._reached |= result.reached
        return result

    def _take(self, raw: RawRecord, spans: Mapping[str, range], result: Sorted) -> None:
        if raw.kind is not Kind.EVENT:
            return
        parts = raw.key.split(b"/")
        candidates = self._plan.by_category.get((raw.topic, parts[1])) if len(parts) == 3 else None
        wanting = [each for each in candidates or () if raw.offset in spans.get(each[1], _NOTHING)]
        if not wanting:
            return
        fact, reason = decoded(raw, self._codec)
        result.wanted += [Wanted(projection, name, raw, fact, reason) for projection, name in wanting]


def decoded(raw: RawRecord, codec: Codec) -> tuple[Recorded[Fact] | None, str]:
    """The fact of a record, or None and why it could not be decoded. Raises UnknownSchema."""
    try:
        return recorded(raw, codec), ""
    except (BrokenBody, UnknownEvent, InvalidStreamName) as cause:
        return None, f"{type(cause).__name__}: {cause}"
