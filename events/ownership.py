"""Words among owners, on every topic: who writes a partition from here on."""

from dataclasses import dataclass

from events.registry import event


@event("partition-claimed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionClaimed:
    """The claim's holder writes from here on, and takes forwarded commands at `address`."""

    address: str


@event("partition-released", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReleased:
    """The holder stopped in good order; `successor` may claim at once (empty: anyone)."""

    successor: str


@event("claim-announced", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAnnounced:
    """A valid claim lies at `offset` of a partition. A hint, for routing and for readers that begin in the middle; the claim counts."""

    topic: str
    partition: int
    term: int
    claim_id: bytes
    address: str
    offset: int
