"""Facts about what an operator orders of the projections. A stream is that of one version of a projection, or of all its builds."""

from dataclasses import dataclass
from enum import StrEnum

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


class BuildAct(StrEnum):
    """What is to be done with a build of a projection."""

    BEGIN = "begin"
    """Fold the log into it, beside the one that readers see."""
    PAUSE = "pause"
    RESUME = "resume"
    SWITCH = "switch"
    """Let readers see it from one moment on."""
    ROLL_BACK = "roll-back"
    """The same with the one that they saw before."""
    DROP = "drop"


@event("build-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrdered:
    """Something is to be done with a build (`calls.v1.b2`) of a projection (`calls`). `order` names this order and no other."""

    order: str
    projection: str
    build: str
    act: BuildAct
    because: str


UpkeepEvent = RedriveOrdered | DiscardOrdered | BuildOrdered
