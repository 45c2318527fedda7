"""Facts as they would stand on the log, for folds that are tested without one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from events.admission import Fence
from events.identifiers import derived_id
from events.positions import Position
from events.recorded import EventId, Recorded
from events.registry import Fact, type_of
from events.streams import StreamId, partition_of, topic_of

DAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
AYB = "AYB-0000-0000-0000"


def told(stream: StreamId, *facts: Fact, after: int = 0, at: datetime = DAY) -> list[Recorded[Fact]]:
    """A stream's facts from version `after` + 1 on, a second apart."""
    return list(_told(stream, facts, after, at))


def _told(stream: StreamId, facts: tuple[Fact, ...], after: int, at: datetime) -> Iterator[Recorded[Fact]]:
    for version, fact in enumerate(facts, after + 1):
        moment = at + timedelta(seconds=version - 1)
        topic = topic_of(type_of(fact).room)
        yield Recorded(
            fact=fact,
            stream=stream,
            version=version,
            position=Position(topic, partition_of(stream.key, 8), 100 + version, Fence(1, b"c" * 16)),
            event_id=EventId(derived_id(str(stream), str(version)), 0),
            count=1,
            command_id=derived_id("command", str(stream), str(version)),
            occurred_at=moment,
            appended_at=moment,
            causation=None,
            correlation_id=bytes(16),
            depth=0,
            actor="test",
        )
