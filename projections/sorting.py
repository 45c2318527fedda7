"""Admitted records sorted by who wants them: each is decoded once, and only if somebody does."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from events.codec import BrokenBody, Codec
from events.headers import Kind
from events.recorded import Recorded
from events.records import AdmittedBatch, RawRecord, recorded
from events.registry import Fact, UnknownEvent
from events.streams import InvalidStreamName
from projections.journal import Journal
from projections.partial import PartialAggregate
from projections.ports import Checkpoint, Mark, Place, Projection, TopicOf, named
from projections.series import Series
from projections.table import Key, Table

_EVENT = int(Kind.EVENT)
# Types and categories are few, unless a foreign writer invents them.
_MOST_KINDS = 10_000
Foldable: TypeAlias = Table[Any] | PartialAggregate[Any, Any] | Series[Any]


class Wanted(NamedTuple):
    """A fact for a projection. `fact` is None where it could not be decoded, as `reason` says, and where it leaves the row as it is: then
    it was not decoded at all, and there is no `reason`. `key` is its stream's.
    """

    projection: Foldable
    name: str
    raw: RawRecord
    key: Key
    fact: Recorded[Fact] | None
    reason: str = ""


@dataclass(slots=True)
class Sorted:
    """What a batch holds for us, and how far it brings each checkpoint."""

    records: int = 0
    wanted: list[Wanted] = field(default_factory=list)
    journal: list[RawRecord] = field(default_factory=list)
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
        if not each.reason and isinstance(each.projection, Table):
            keys[each.projection].add(each.key)
        elif not each.reason and isinstance(each.projection, PartialAggregate):
            keys[each.projection.memories].add(each.key)
    return keys


class Plan:
    """Which projections read which topics."""

    def __init__(self, projections: Collection[Projection], topic_of: TopicOf, journal_rooms: Collection[str]) -> None:
        self._by_category: defaultdict[tuple[str, str], list[tuple[Foldable, str]]] = defaultdict(list)
        self._candidates: dict[tuple[str, str, str], Sequence[tuple[Foldable, str, bool]]] = {}
        self.by_topic: defaultdict[str, list[Projection]] = defaultdict(list)
        self.by_name: dict[str, Foldable] = {named(each): each for each in projections if not isinstance(each, Journal)}
        for projection in projections:
            if isinstance(projection, Journal):
                for room in journal_rooms:
                    self.by_topic[topic_of(room)].append(projection)
            else:
                topic = topic_of(projection.room)
                self._by_category[topic, projection.category].append((projection, named(projection)))
                self.by_topic[topic].append(projection)

    @property
    def topics(self) -> Sequence[str]:
        return sorted(self.by_topic)

    def candidates(self, topic: str, category: str, ce_type: str) -> Sequence[tuple[Foldable, str, bool]]:
        """Who may want an event: the projections of its category, their names, and whether it leaves a row as it is."""
        asked = (topic, category, ce_type)
        found = self._candidates.get(asked)
        if found is None:
            kind = ce_type.rpartition(".v")[0]
            found = [(each, name, isinstance(each, Table) and kind in each.unmoved_kinds)
                     for each, name in self._by_category.get((topic, category), ())
                     if not isinstance(each, PartialAggregate) or kind in each.moved_kinds]  # fmt: skip
            if len(self._candidates) < _MOST_KINDS:
                self._candidates[asked] = found
        return found

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
                result.journal += [raw for raw in batch.records if raw.packed is not None and raw.offset in span]
            self._take(batch, spans, result.wanted)
            self._reached |= result.reached
        return result

    def _take(self, batch: AdmittedBatch, spans: Mapping[str, range], wanted: list[Wanted]) -> None:
        codec = self._codec
        # What a batch holds is of few kinds: who may want one is looked up once.
        wanting: dict[tuple[str, str], Sequence[tuple[Foldable, str, bool, range | None]]] = {}
        # As the class's own constructor makes it, in a third of the time.
        make = tuple.__new__
        for raw in batch.records:
            _, _, offset, _, stream, _, ce_type, packed = raw
            if packed is None or packed[1] != _EVENT:
                continue
            category, key = _named(stream)
            found = wanting.get((category, ce_type))
            if found is None:
                found = wanting[category, ce_type] = self._wanting(batch, spans, category, ce_type)
            fact, reason = None, None
            for projection, name, leaves_it, span in found:
                if span is not None and offset not in span:
                    continue
                if leaves_it:
                    wanted.append(make(Wanted, (projection, name, raw, key, None, "")))
                    continue
                if reason is None:
                    fact, reason = decoded(raw, codec)
                wanted.append(make(Wanted, (projection, name, raw, key, fact, reason)))

    def _wanting(
        self, batch: AdmittedBatch, spans: Mapping[str, range], category: str, ce_type: str
    ) -> Sequence[tuple[Foldable, str, bool, range | None]]:  # fmt: skip
        """The plan's candidates that are not past this batch, and the offsets that each wants of it: None for all."""
        first, last = batch.records[0].offset, batch.records[-1].offset
        return [
            (projection, name, leaves_it, None if first in span and last in span else span)
            for projection, name, leaves_it in self._plan.candidates(batch.topic, category, ce_type)
            if (span := spans.get(name)) is not None
        ]


# A stream has many records.
@lru_cache(maxsize=1 << 16)
def _named(key: bytes) -> tuple[str, Key]:
    """Category and row of a stream; an empty category for what is no stream's name."""
    parts = key.decode("ascii", "replace").split("/")
    return (parts[1], (parts[0], parts[2])) if len(parts) == 3 else ("", ("", ""))


def wanted_again(projection: Foldable, name: str, raw: RawRecord, codec: Codec) -> Wanted:
    """As `sort` finds it, decoded whatever it is."""
    return Wanted(projection, name, raw, _named(raw.key)[1], *decoded(raw, codec))


def decoded(raw: RawRecord, codec: Codec) -> tuple[Recorded[Fact] | None, str]:
    """The fact of a record, or None and why it could not be decoded. Raises UnknownSchema."""
    try:
        return recorded(raw, codec), ""
    except (BrokenBody, UnknownEvent, InvalidStreamName) as cause:
        return None, f"{type(cause).__name__}: {cause}"
