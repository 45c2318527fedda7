"""A partition on paper: what was appended in its order, for owners and readers that are tested without a broker."""

from collections.abc import Sequence

from commands.ports import NewRecord, Place
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.records import RawRecord, read_header


class PaperLog:
    """Takes batches whole. Knows nothing of claims: who may write is its readers' business."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.records: list[RawRecord] = []

    def append(self, records: Sequence[NewRecord]) -> int:
        base = len(self.records)
        for offset, (key, value, timestamp_ms, headers) in enumerate(records, base):
            self.records.append(RawRecord(*self.place, offset, timestamp_ms, key, value, *read_header(headers)))
        return base

    def scribble(self) -> int:
        """A record of someone who knows nothing of us."""
        self.records.append(RawRecord(*self.place, len(self.records), 0, b"", b"", "", None))
        return len(self.records) - 1

    def read(self, start: int, stop: int) -> list[RawRecord]:
        return self.records[start:stop]

    def admitted(self, start: int = 0, fence: Fence = UNCLAIMED) -> list[RawRecord]:
        """What every reader takes from here on."""
        taken = []
        for raw in self.records[start:]:
            fence, verdict = admit(fence, raw.header)
            if verdict is Verdict.ADMITTED:
                taken.append(raw)
        return taken
