"""The switches of a business, as they stand."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from events.flags import FlagEvent, FlagRemoved, FlagSet
from events.recorded import Recorded
from projections.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag by its name (`id`). A removed one has no row."""

    tenant: str
    id: str
    version: int
    enabled: bool
    variant: str
    description: str
    set_at: datetime


def evolve(_row: Flag | None, recorded: Recorded[FlagEvent]) -> Flag | None:
    match recorded.fact:
        case FlagSet(enabled=enabled, variant=variant, description=description):
            stream = recorded.stream
            return Flag(
                tenant=stream.tenant, id=stream.id, version=recorded.version, enabled=enabled, variant=variant, description=description,
                set_at=recorded.occurred_at,
            )  # fmt: skip
        case FlagRemoved():
            return None
        case _:
            assert_never(recorded.fact)


FLAGS = Table(name="flags", version=1, room="flags", category="flags", row=Flag, evolve=evolve)
