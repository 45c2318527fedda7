"""Facts about what an operator orders where a projection could not take a fact. A stream is that of one version of a projection."""

from dataclasses import dataclass

from events.registry import event


@event("redrive-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveOrdered:
    """What is parked of a stream is to be folded again, in its order: what was in its way is mended.

    `order` names this order and no other; `projection` is as in `calls.v1`.
    """

    projection: str
    stream: str
    because: str
    order: str = ""


@event("discard-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardOrdered:
    """The fact at this place is never to be folded into the projection; what is parked behind it is folded again. It stays on the log."""

    projection: str
    stream: str
    topic: str
    partition: int
    offset: int
    because: str


UpkeepEvent = RedriveOrdered | DiscardOrdered
