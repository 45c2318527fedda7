"""What is going on now: a row per stream, kept in Redis for a lifetime after its last fact."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from projections.table import StreamRow, Table

R = TypeVar("R", bound=StreamRow)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Live(Generic[R]):
    """A table of what is over soon: its fold gives None at the end.

    A row lives until `lifetime_seconds` after its last fact was appended, so that what never ends properly is forgotten, and a
    rebuild from the log brings no ghosts back.
    """

    table: Table[R]
    lifetime_seconds: int

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def version(self) -> int:
        return self.table.version
