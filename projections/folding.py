"""Facts folded into rows; a fact that cannot be folded is parked, and with it all that follows on its stream."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.recorded import Recorded
from events.records import RawRecord, appended_at, version_of
from events.registry import Fact
from events.streams import StreamId
from projections.journal import stream_text
from projections.partial import PartialAggregate
from projections.ports import Added, Folded, Parked, Place
from projections.sorting import Wanted
from projections.table import BrokenHistory, Key, Table

# What a fold raises when data is not as it takes for granted: poison. Anything else is a bug, and ends the program.
_POISON = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_REASON_CHARACTERS = 500


@dataclass(slots=True)
class Outcome:
    """What facts brought about."""

    rows: defaultdict[Table[Any], dict[Key, Folded]] = field(default_factory=lambda: defaultdict(dict))
    entries: defaultdict[Any, list[Any]] = field(default_factory=lambda: defaultdict(list))
    added: defaultdict[PartialAggregate[Any, Any], dict[Key, Added]] = field(default_factory=lambda: defaultdict(dict))
    parked: list[Parked] = field(default_factory=list)

    def newly_parked(self) -> set[tuple[str, str]]:
        """Projection and stream of everything that was parked."""
        return {(each.projection, each.stream) for each in self.parked}


def fold(
    wanted: Sequence[Wanted],
    rows: Mapping[Table[Any], Mapping[Key, Any]],
    parked: set[tuple[str, str]],
    refused: Mapping[tuple[str, Key], str],
) -> Outcome:
    """Fold facts, in their order, onto the rows that there are.

    `parked`: projection and stream of what waits already. `refused`: rows that the store can never take, with its reason: their
    streams' facts are parked from the first one here.
    """
    folding = Folding(rows, parked, refused)
    for each in wanted:
        folding.take(each)
    return folding.finished()


class Folding:
    """A `fold` that is done in pieces: `take` what is wanted, in its order, then `finished`."""

    def __init__(
        self, rows: Mapping[Table[Any], Mapping[Key, Any]], parked: set[tuple[str, str]], refused: Mapping[tuple[str, Key], str]
    ) -> None:
        self._rows = rows
        self._parked = set(parked)
        self._refused = refused
        self._changed: defaultdict[Table[Any], dict[Key, tuple[Any, Wanted]]] = defaultdict(dict)
        self._outcome = Outcome()

    def take(self, each: Wanted) -> None:
        """One fact for one projection."""
        if self._parked and (each.name, stream_text(each.raw.key)) in self._parked:
            self._park(each, "", behind=True)
        elif each.reason:
            self._park(each, each.reason, behind=False)
        elif self._refused and (reason := self._refused.get((each.name, each.key))):
            self._park(each, reason, behind=False)
        else:
            try:
                self._fold(each)
            except _POISON as cause:
                self._park(each, f"{type(cause).__name__}: {cause}", behind=False)

    def _fold(self, each: Wanted) -> None:
        projection, fact, key = each.projection, each.fact, each.key
        if not isinstance(projection, Table):
            if fact is None:
                return
            if isinstance(projection, PartialAggregate):
                self._add(projection, each, fact)
            else:
                self._outcome.entries[projection] += projection.entries(fact)
            return
        changed = self._changed[projection]
        known = changed.get(key)
        row = self._rows[projection].get(key) if known is None else known[0]
        if fact is not None:
            row = projection.evolve(row, fact)
        elif row is None:
            raise BrokenHistory(f"{each.raw.ce_type} has no row to stand behind")
        changed[key] = (row, each)

    def _add(self, aggregate: PartialAggregate[Any, Any], each: Wanted, fact: Recorded[Fact]) -> None:
        memories, key = aggregate.memories, each.key
        changed = self._changed[memories]
        known = changed.get(key)
        before = self._rows[memories].get(key) if known is None else known[0]
        seen, rows = aggregate.taken(before, fact)
        if seen is not before:
            changed[key] = (seen, each)
        if rows:
            added = self._outcome.added[aggregate]
            if key not in added:
                added[key] = Added(Place(each.raw.topic, each.raw.partition))
            added[key].rows += rows

    def _park(self, each: Wanted, reason: str, *, behind: bool) -> None:
        self._parked.add((each.name, stream_text(each.raw.key)))
        self._outcome.parked.append(_parked(each.name, each.raw, reason[:_REASON_CHARACTERS], behind=behind))

    def finished(self) -> Outcome:
        """What all of them brought about."""
        for table, changed in self._changed.items():
            for key, (row, last) in changed.items():
                raw = last.raw
                stamped = table.stamped(row, StreamId.parse(raw.key), version_of(raw))
                self._outcome.rows[table][key] = Folded(stamped, appended_at(raw.timestamp_ms))
        return self._outcome


def _parked(name: str, raw: RawRecord, reason: str, *, behind: bool) -> Parked:
    return Parked(
        projection=name, place=Place(raw.topic, raw.partition), offset=raw.offset, stream=stream_text(raw.key),
        version=raw.header.version if raw.header else 0, ce_type=raw.ce_type, reason=reason.replace("\0", "\N{SYMBOL FOR NULL}"),
        behind=behind,
    )  # fmt: skip
