"""Facts of programs that keep events of their own on our log; what these mean, only their programs know."""

from dataclasses import dataclass

from events.registry import event


@event("guest-event-stored", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class GuestEventStored:
    """An event of one aggregate. `ordinal` counts the sequence's events from 1, `version` the aggregate's as its program counts.

    `originator` is a UUID in its usual spelling where `named` is false, else any name. `state` is opaque; whoever must be able to
    forget a person encrypts it.
    """

    ordinal: int
    originator: str
    named: bool
    version: int
    topic: str
    state: bytes


@event("guest-progress-tracked", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class GuestProgressTracked:
    """What this sequence holds follows from another application's events up to `notification`, which stands there."""

    application: str
    notification: int


GuestEvent = GuestEventStored | GuestProgressTracked
