"""What process managers need from the world, beside the dispatch of commands: a reader of the log."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Protocol

from events.admission import Fence
from events.codec import Codec
from events.records import AdmittedBatch


class LogReader(Protocol):
    """Admitted records of many partitions."""

    @property
    def codec(self) -> Codec:
        """Knows the schema of every record that was handed out."""

    def batches(
        self,
        topics: Sequence[str],
        start: Mapping[tuple[str, int], tuple[int, Fence]],
        *,
        stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:
        """Records from `start` on (a partition not named: from 0), each batch of one partition, in its order, whole commits.

        `places`: the partitions to read, instead of all. Waits for more at the end and while the log is away. Close it when leaving
        early. Raises LogAway at its beginning, HistoryLost at any time.
        """

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        """The offset after the last visible record of every partition of the topics. Raises LogAway."""
