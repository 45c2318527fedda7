"""Rows appended for each fact of a stream, never changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from events.recorded import Recorded
from projections.columns import Column, Stored
from projections.table import key_columns


class EntryRow(Protocol):
    """What every entry begins with. `n` counts the entries of one fact from 0; `occurred_at` is when it happened."""

    @property
    def tenant(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def occurred_at(self) -> datetime: ...


R = TypeVar("R", bound=EntryRow)
_KEY = (("tenant", Stored.TEXT), ("id", Stored.TEXT), ("version", Stored.INTEGER), ("n", Stored.INTEGER), ("occurred_at", Stored.TIME))


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime:
    """That a series is looked at by time, not only by stream: it is kept in ranges of days, and counted by minute, hour and day (UTC).

    Each count is of an organisation and of what the columns `by` say, with the `sums` and the `largest` of others. Entries of more than
    `packed_after_days` are compressed, those of more than `kept_days` dropped (None: never). Counts stay; what comes after its range
    was dropped is not counted.
    """

    by: tuple[str, ...]
    sums: tuple[str, ...]
    largest: tuple[str, ...] = ()
    days: int = 1
    packed_after_days: int = 7
    kept_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series(Generic[R]):
    """Entries of the streams of one category; each is a function of one fact alone.

    Their key has the time in it, so that they can be kept in ranges of time.
    """

    name: str
    version: int
    room: str
    category: str
    row: type[R]
    entries: Callable[[Recorded[Any]], Sequence[R]]
    build: int = 1
    over_time: OverTime | None = None
    columns: tuple[Column, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", key_columns(self.name, self.row, _KEY))
