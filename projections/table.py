"""A row per stream, folded from the stream's facts."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from events.recorded import Recorded
from events.registry import Fact, type_of_class
from events.streams import StreamId
from projections.columns import Column, Stored, columns_of
from projections.replacing import replaced


class StreamRow(Protocol):
    """What every row begins with: the stream it is folded from, and the version it has seen."""

    @property
    def tenant(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...


R = TypeVar("R", bound=StreamRow)
Key: TypeAlias = tuple[str, str]
"""`tenant` and `id` of a stream: the key of its row."""
ORGANISATION = "organisation_id"


class BadShape(TypeError):
    """A projection is declared in a way that could not be kept true; the text says which and why."""


class BrokenFold(Exception):
    """A fold gave a row that belongs to another stream: a bug of the fold."""


class BrokenHistory(ValueError):
    """A fact stands where the stream's history has no place for it, e.g. the end of a call that never began."""


def key_columns(name: str, row: type, begins: Iterable[tuple[str, Stored]]) -> tuple[Column, ...]:
    """The row's columns. Raises BadShape unless it begins with the columns by which it is found."""
    columns = columns_of(row)
    wanted = list(begins)
    for column, (key, stored) in zip(columns, wanted, strict=False):
        if (column.name, column.stored, column.nullable) != (key, stored, False):
            raise BadShape(
                f"{name}: the fields of {row.__qualname__} must begin with {', '.join(each for each, _ in wanted)}; "
                "a row over many streams is a PartialAggregate"
            )
    if len(columns) < len(wanted):
        raise BadShape(f"{name}: {row.__qualname__} has no fields beside its key")
    return columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table(Generic[R]):
    """A row for each stream of one category. Its key is the stream's, so that one runner owns a row.

    `evolve` is pure: no clock, no draws; None: there is no row (any more). It need not keep `version`: `stamped` does.
    Whose row it is stands in the row's own `organisation_id` where it has one, else it is the stream's tenant.
    `version` is the fold's: another fold or row is another version, built beside the old one. `build`: the same version can be built
    again beside itself.
    `unmoved_by`: facts of which `evolve` gives the very row that it was given, and which follow a row in every history. They are not
    decoded for it.
    `within`: the projection whose own this is, which stands and falls with it.
    `named_by`: columns of words by which others name the thing: an organisation's rows are found by them.
    `done`: the column and the value by which a row is done with; the others, few among many, are found without looking at those.
    """

    name: str
    version: int
    room: str
    category: str
    row: type[R]
    evolve: Callable[[R | None, Recorded[Any]], R | None]
    build: int = 1
    within: str = ""
    unmoved_by: Collection[type] = ()
    done: tuple[str, str] | None = None
    named_by: Collection[str] = ()
    columns: tuple[Column, ...] = field(init=False)
    names_its_organisation: bool = field(init=False)
    unmoved_kinds: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        columns = key_columns(self.name, self.row, (("tenant", Stored.TEXT), ("id", Stored.TEXT), ("version", Stored.INTEGER)))
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "unmoved_kinds", frozenset(type_of_class(each).name for each in self.unmoved_by))
        object.__setattr__(self, "names_its_organisation", any(column.name == ORGANISATION for column in columns))
        if strange := set(self.named_by) - {each.name for each in columns if each.stored is Stored.TEXT}:
            raise BadShape(f"{self.name}: rows are named by columns of words, and {min(strange)} is none")
        if self.done is not None and (self.done[0], Stored.TEXT, False) not in [
            (each.name, each.stored, each.nullable) for each in columns
        ]:
            raise BadShape(f"{self.name}: rows that are done are told by a column of words that is never empty, and {self.done[0]} is none")

    def organisation(self, row: R) -> str:
        """Whose row it is, for the separation of organisations."""
        return str(getattr(row, ORGANISATION)) if self.names_its_organisation else row.tenant

    def stamped(self, row: R | None, stream: StreamId, version: int) -> R | None:
        """The row as it is stored after the stream's `version`. Raises BrokenFold for another stream's row."""
        if row is None or (row.version == version and row.id == stream.id and row.tenant == stream.tenant):
            return row
        if row.tenant != stream.tenant or row.id != stream.id:
            raise BrokenFold(f"{self.name}: the fold of {stream} gave a row for {row.tenant}/{row.id}")
        return replaced(row, version=version)

    def fold(self, history: Iterable[Recorded[Fact]], row: R | None = None) -> R | None:
        """The row after a stream's facts, from the one before them."""
        for recorded in history:
            row = self.stamped(self.evolve(row, recorded), recorded.stream, recorded.version)
        return row
