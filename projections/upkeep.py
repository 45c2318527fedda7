"""What operators ordered of the projections, order by order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from events.recorded import Recorded
from events.registry import type_of
from events.upkeep import BuildOrdered, DiscardOrdered, UpkeepEvent
from projections.series import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepOrder:
    """An order. `topic`, `partition` and `offset` are those of a fact that is to be left out.

    `stream` is the one of which facts are parked, or the build that the order is about: then `kind` is as in `build-switch-ordered`.
    """

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    kind: str
    actor: str
    projection: str
    stream: str
    because: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None


def entries(recorded: Recorded[UpkeepEvent]) -> Sequence[UpkeepOrder]:
    fact, stream = recorded.fact, recorded.stream
    place = {"topic": fact.topic, "partition": fact.partition, "offset": fact.offset} if isinstance(fact, DiscardOrdered) else {}
    about, kind = fact.stream if not isinstance(fact, BuildOrdered) else fact.build, type_of(fact).name
    if isinstance(fact, BuildOrdered):
        kind = f"build-{fact.act.value}-ordered"
    return (
        UpkeepOrder(
            tenant=stream.tenant, id=stream.id, version=recorded.version, n=0, occurred_at=recorded.occurred_at, kind=kind,
            actor=recorded.actor, projection=fact.projection, stream=about, because=fact.because, **place,  # type: ignore[arg-type]
        ),
    )  # fmt: skip


UPKEEP_ORDERS = Series(name="upkeep_orders", version=1, room="upkeep", category="upkeep", row=UpkeepOrder, entries=entries)
