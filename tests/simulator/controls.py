"""The product without one of its safety details, each in turn: the checker must miss it."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from commands.ownership.appending import Appending
from commands.ownership.groups import Answer, Declined, Group, Submission
from commands.ownership.owner import Owner
from commands.ownership.partition import OwnedPartition
from commands.ownership.streams import Streams
from events.admission import UNCLAIMED, Fence
from events.headers import Kind, RecordHeader
from events.recorded import Recorded
from events.records import RawRecord
from events.registry import Fact
from tests.simulator.stage import Without
from tests.simulator.truth import by_rule


def unfenced(records: Sequence[RawRecord], start: int = 0, _: Fence = UNCLAIMED) -> list[RawRecord]:
    """A reader that takes whatever was written by owners."""
    return [raw for raw in records[start:] if raw.header is not None and raw.header.kind is not Kind.CLAIM]


def forgetting_the_fence(records: Sequence[RawRecord], start: int = 0, _: Fence = UNCLAIMED) -> list[RawRecord]:
    """A reader that goes on at an offset as if nobody had claimed before it."""
    return by_rule(records, start)


class Trusting(Appending):
    """Takes every acknowledgement for a confirmation, and does not look at what came between."""

    async def read(self, stop: int) -> None:
        if self.owner.owns:
            self.owner.next_offset = stop
        await super().read(stop)


class Careless(Appending):
    """Serves as soon as its claim is acknowledged, whatever was written before it."""

    async def read(self, stop: int) -> None:
        if self.owner._claiming is not None:
            self.owner.next_offset = stop
        await super().read(stop)


class Forgetful(Owner):
    """Remembers no command."""

    def group(self, waiting: deque[Submission], now_ms: int) -> Group:
        for submission in waiting:
            known = self.streams.get(submission.key)
            if known is not None:
                known.answered.clear()
        return super().group(waiting, now_ms)


class WithoutReceipts(Streams):
    """Does not know the commands that changed nothing."""

    def fold(self, raw: RawRecord, header: RecordHeader, fence: Fence) -> Recorded[Fact] | None:
        return None if header.kind is Kind.RECEIPT else super().fold(raw, header, fence)


class WithoutNames(Streams):
    """Takes every stream that is not in memory for a new one."""

    def is_new(self, key: bytes) -> bool:
        return True


class Hasty(Owner):
    """Answers refusals and conflicts before its batch is confirmed."""

    def group(self, waiting: deque[Submission], now_ms: int) -> Group:
        group = super().group(waiting, now_ms)
        hasty = [entry for entry in group.entries if isinstance(entry, Declined)]
        group.answers.extend(Answer(entry.submission, entry.reason) for entry in hasty)
        group.entries = [entry for entry in group.entries if not isinstance(entry, Declined)]
        return group


def _appending(kind: type[Appending]) -> Callable[[OwnedPartition], None]:
    def sabotage(partition: OwnedPartition) -> None:
        partition._appending.__class__ = kind

    return sabotage


def _owner(kind: type[Owner]) -> Callable[[OwnedPartition], None]:
    def sabotage(partition: OwnedPartition) -> None:
        partition.owner.__class__ = kind

    return sabotage


def _streams(kind: type[Streams]) -> Callable[[OwnedPartition], None]:
    def sabotage(partition: OwnedPartition) -> None:
        partition.owner.streams.__class__ = kind

    return sabotage


CONTROLS: Mapping[str, Without] = {
    "fence": Without(admission=unfenced),
    "contiguity": Without(sabotage=_appending(Trusting)),
    "dedup": Without(sabotage=_owner(Forgetful)),
    "drain": Without(sabotage=_appending(Careless)),
    "receipts": Without(sabotage=_streams(WithoutReceipts)),
    "names": Without(sabotage=_streams(WithoutNames)),
    "barrier": Without(sabotage=_owner(Hasty)),
    "fence-state": Without(admission=forgetting_the_fence),
    "spool-checksum": Without(checksum=lambda _: bytes(8)),
}
