"""One partition as a reader goes through it: the fence, what is admitted, and the commit that is not whole yet."""

from collections.abc import Callable
from typing import TypeAlias

from commands.ports import Place
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.records import AdmittedBatch, RawRecord, admitted_run
from infra.adapters.kafka.fetching import Fetched, records_in

Dropped: TypeAlias = Callable[[RawRecord, Verdict, Fence], None]
"""Hears of every record that is not admitted, with the fence before it."""
Wanted: TypeAlias = Callable[[RawRecord], bool]


class Passage:
    """How far one partition was read, and what is known of its writer there."""

    __slots__ = ("_dropped", "_wanted", "fence", "held", "offset", "place", "stop")

    def __init__(self, place: Place, offset: int, fence: Fence, dropped: Dropped, wanted: Wanted | None = None) -> None:
        self.place = place
        self.offset = offset
        self.fence = fence
        self.stop: int | None = None
        self.held: list[RawRecord] = []
        self._dropped = dropped
        self._wanted = wanted

    @property
    def done(self) -> bool:
        return self.stop is not None and self.offset >= self.stop

    def take(self, fetched: Fetched) -> AdmittedBatch:
        """Admit what was fetched. A commit that is not whole yet is held back, and so is the position before it."""
        raws, reached = records_in(fetched, self.stop)
        fence, admitted, at = self.fence, self.held, 0
        while (end := admitted_run(fence, raws, at)) < len(raws):
            admitted += raws[at:end]
            raw, before, at = raws[end], fence, end + 1
            fence, verdict = admit(fence, raw.header)
            if verdict is Verdict.ADMITTED:
                admitted.append(raw)
            else:
                self._dropped(raw, verdict, before)
        admitted += raws[at:]
        self.fence, self.offset = fence, reached
        whole = len(admitted)
        while whole and not _ends_commit(admitted[whole - 1]):
            whole -= 1
        self.held = admitted[whole:]
        if self.held:
            first = self.held[0]
            reached, fence = first.offset, _fence_of(first)
            del admitted[whole:]
        wanted = self._wanted
        return AdmittedBatch(*self.place, admitted if wanted is None else [raw for raw in admitted if wanted(raw)], reached, fence)


def _ends_commit(raw: RawRecord) -> bool:
    return raw.header is None or raw.header.index >= raw.header.count - 1


def _fence_of(raw: RawRecord) -> Fence:
    return UNCLAIMED if raw.header is None else Fence(raw.header.term, raw.header.claim_id)
