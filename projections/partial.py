"""A row over many streams, kept as partial rows of one writer each, which are combined when it is read."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from events.recorded import Recorded
from events.registry import Fact, type_of_class
from projections.columns import Column, Stored, columns_of
from projections.replacing import replaced
from projections.table import BadShape, StreamRow, Table

# Sums of so many of them as there can be facts have room in a column of 64 bits, or are refused one by one.
_MOST_ADDED = 2**53
_ORDERED = frozenset({Stored.INTEGER, Stored.DECIMAL, Stored.TIME})
_TAKEN = frozenset({"topic", "partition", "organisation_id"})


class PartialRow(Protocol):
    """What every partial row begins with: whose it is."""

    @property
    def tenant(self) -> str: ...


M = TypeVar("M", bound=StreamRow)
R = TypeVar("R", bound=PartialRow)


class Combine(Enum):
    """How two values of a column become one: in any order and any grouping the same. For MAX and MIN None is no value."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"

    def of(self, one: Any, other: Any) -> Any:
        if self is Combine.SUM:
            return one + other
        if one is None or other is None:
            return other if one is None else one
        return max(one, other) if self is Combine.MAX else min(one, other)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartialAggregate(Generic[R, M]):
    """A row for each key that facts of many streams name, such as an organisation's agent.

    Streams of one key lie in many partitions, which have a writer each: so there is a partial row for each key and partition, and who
    reads combines them. `combined` says how, column by column; the columns that it does not name are the key, `tenant` first.
    `evolve` is pure and sees the facts of one stream in order, of the kinds in `moved_by`, with what was remembered of that stream: it
    gives what to remember from now on (None: nothing) and what the fact adds, to whichever keys. Most facts do not say whose they are;
    the stream's first one does.
    """

    name: str
    version: int
    room: str
    category: str
    row: type[R]
    combined: Mapping[str, Combine]
    memory: type[M]
    evolve: Callable[[M | None, Recorded[Any]], tuple[M | None, Sequence[R]]]
    moved_by: Collection[type]
    build: int = 1
    columns: tuple[Column, ...] = field(init=False)
    key: tuple[str, ...] = field(init=False)
    moved_kinds: frozenset[str] = field(init=False)
    memories: Table[M] = field(init=False)

    def __post_init__(self) -> None:
        columns = columns_of(self.row)
        key = tuple(column.name for column in columns if column.name not in self.combined)
        if columns[0].name != "tenant" or len(key) < 2 or len(key) == len(columns):
            raise BadShape(f"{self.name}: {self.row.__qualname__} must begin with tenant, have more in its key, and something to combine")
        for column in columns:
            _check(self.name, column, self.combined.get(column.name))
        if unknown := self.combined.keys() - {column.name for column in columns}:
            raise BadShape(f"{self.name}: {self.row.__qualname__} has no {', '.join(sorted(unknown))}")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "moved_kinds", frozenset(type_of_class(each).name for each in self.moved_by))
        memories = Table(
            name=f"{self.name}_streams", within=self.name, version=self.version, build=self.build, room=self.room, category=self.category,
            row=self.memory, evolve=lambda seen, recorded: self.evolve(seen, recorded)[0],
        )  # fmt: skip
        object.__setattr__(self, "memories", memories)

    def taken(self, seen: M | None, recorded: Recorded[Any]) -> tuple[M | None, Sequence[R]]:
        """What `evolve` gives. Raises ValueError for more than a column has room for."""
        remembered, added = self.evolve(seen, recorded)
        for row in added:
            for name, how in self.combined.items():
                if how is Combine.SUM and abs(getattr(row, name)) > _MOST_ADDED:
                    raise ValueError(f"{name} cannot be so large")
        return remembered, added

    def fold(self, history: Iterable[Recorded[Fact]]) -> Sequence[R]:
        """All that a stream's facts add, in combined rows."""
        seen: M | None = None
        added: list[R] = []
        for recorded in history:
            if type(recorded.fact) in self.moved_by:
                seen, more = self.taken(seen, recorded)
                added += more
        return self.combine(added)

    def combine(self, rows: Iterable[R], kept: Collection[str] | None = None) -> Sequence[R]:
        """One row for each key, in the order of the keys. `kept`: columns of the key that stay, with the tenant; others become empty."""
        emptied = {name: "" for name in self.key[1:] if kept is not None and name not in kept}
        found: dict[tuple[str, ...], R] = {}
        for row in rows:
            one = replaced(row, **emptied) if emptied else row
            key = self.key_of(one)
            before = found.get(key)
            found[key] = one if before is None else replaced(before, **self._both(before, one))
        return [found[key] for key in sorted(found)]

    def key_of(self, row: R) -> tuple[str, ...]:
        return tuple(getattr(row, name) for name in self.key)

    def _both(self, one: R, other: R) -> dict[str, Any]:
        return {name: how.of(getattr(one, name), getattr(other, name)) for name, how in self.combined.items()}


def _check(name: str, column: Column, how: Combine | None) -> None:
    """Raises BadShape where the same facts could give other rows in another order."""
    if column.name in _TAKEN:
        raise BadShape(f"{name}: {column.name} is a column of every partial row already")
    if how is None and (column.stored, column.nullable) != (Stored.TEXT, False):
        raise BadShape(f"{name}: {column.name} is of the key, so it must be a text that is never None")
    # Sums of floating-point numbers hang on their order.
    if how is Combine.SUM and (column.stored not in {Stored.INTEGER, Stored.DECIMAL} or column.nullable):
        raise BadShape(f"{name}: {column.name} cannot be summed; only int and Decimal can, where they are never None")
    if how in {Combine.MAX, Combine.MIN} and column.stored not in _ORDERED:
        raise BadShape(f"{name}: {column.name} has no largest or smallest; use int, Decimal or datetime")
