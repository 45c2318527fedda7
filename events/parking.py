"""What a reader makes of a record that can never be read: it is put aside with its place and the reason, and the rest goes on."""

from typing import NamedTuple

from events.codec import BrokenBody, Codec
from events.recorded import Recorded
from events.records import RawRecord, recorded
from events.registry import Fact, UnknownEvent
from events.streams import InvalidStreamName


class ParkedRecord(NamedTuple):
    """A record that was put aside. `key` is that of its stream, whose later facts rest on it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    reason: str


def recorded_or_parked(raw: RawRecord, codec: Codec) -> Recorded[Fact] | ParkedRecord:
    """Decode an admitted event, or say why nobody can: a broken body, a broken key, an event that this program does not know.

    Raises UnknownSchema, which is waited for and never parked, and ValueError for a record that is no event.
    """
    try:
        return recorded(raw, codec)
    except (BrokenBody, InvalidStreamName, UnknownEvent) as cause:
        return ParkedRecord(raw.topic, raw.partition, raw.offset, raw.key, f"{type(cause).__name__}: {cause}")
