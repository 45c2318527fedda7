"""The rule by which every reader admits a record: only the last valid claimant's records count."""

from enum import Enum
from typing import NamedTuple

from events.headers import Kind, RecordHeader

NO_CLAIM = bytes(16)
LAST_TERM = 2**63 - 1
"""Who claims this term closes the partition for ever: no claim is valid after it."""


class Fence(NamedTuple):
    """The last valid claim seen. It travels with every position: without it a reader cannot go on from an offset."""

    term: int = 0
    claim_id: bytes = NO_CLAIM


UNCLAIMED = Fence()
"""The fence at offset 0."""


class Verdict(Enum):
    """What a record is to a reader who holds a fence."""

    ADMITTED = "admitted"
    CLAIM = "claim"
    """A valid claim: from here on its holder writes."""
    LOST_CLAIM = "lost-claim"
    """A claim that came too late; its holder never writes."""
    SUPERSEDED = "superseded"
    """Written by an owner who had been superseded, and did not know yet."""
    FOREIGN = "foreign"
    """A term that nobody claimed, or no header of ours: someone else writes to the topic. An alarm."""


def admit(fence: Fence, header: RecordHeader | None) -> tuple[Fence, Verdict]:
    """Judge the next record of a partition. Pure, and a function of the order of records alone."""
    if header is None:
        return fence, Verdict.FOREIGN
    if header.kind is Kind.CLAIM:
        if fence.term < header.term <= LAST_TERM:
            return Fence(header.term, header.claim_id), Verdict.CLAIM
        return fence, Verdict.LOST_CLAIM
    if header.term == fence.term and header.claim_id == fence.claim_id:
        return fence, Verdict.ADMITTED
    if header.term > fence.term:
        return fence, Verdict.FOREIGN
    return fence, Verdict.SUPERSEDED
