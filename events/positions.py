"""A place on the log that any reader can go on from: offset and fence together."""

from typing import NamedTuple

from events.admission import Fence


class InvalidPosition(ValueError):
    """The text is no position of ours."""


class Position(NamedTuple):
    """A record's place. Ordered within its partition; positions of other partitions cannot be compared."""

    topic: str
    partition: int
    offset: int
    fence: Fence

    def __str__(self) -> str:
        """Opaque to clients, readable for us: `aybiza.calls.v1/3/1042/7/0af3…`."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.fence.term}/{self.fence.claim_id.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Raises InvalidPosition."""
        try:
            topic, partition, offset, term, claim_id = text.split("/")
            fence = Fence(int(term), bytes.fromhex(claim_id))
            position = cls(topic, int(partition), int(offset), fence)
        except ValueError as cause:
            raise InvalidPosition(f"{text!r} is not topic/partition/offset/term/claim") from cause
        if len(fence.claim_id) != 16 or position.partition < 0 or position.offset < 0:
            raise InvalidPosition(f"{text!r} is not topic/partition/offset/term/claim")
        return position
