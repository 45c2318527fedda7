"""How a partition changed hands, read from the log itself by the rule of admission: who may write, and what was dropped, and where."""

from dataclasses import dataclass, field

from commands.ports import Claim, Log, Place
from events.admission import NO_CLAIM, UNCLAIMED, Fence, Verdict, admit
from events.codec import BrokenBody, Codec, UnknownSchema
from events.headers import Kind
from events.ownership import PartitionClaimed, PartitionReleased
from events.records import RawRecord
from events.registry import Fact, UnknownEvent
from infra.adapters.kafka.reader import ClaimIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Records from `first` to `last`, one after the other, that no reader takes, and the term they carry (None: no header of ours)."""

    verdict: Verdict
    term: int | None
    first: int
    last: int


@dataclass(slots=True, kw_only=True)
class Hands:
    """One partition, read from `start` to `end`. The last of `claims` is in force; `released` names its successor once it was given up."""

    place: Place
    start: int = 0
    end: int = 0
    fence: Fence = UNCLAIMED
    claims: list[Claim] = field(default_factory=list)
    released: str | None = None
    dropped: list[Dropped] = field(default_factory=list)
    admitted: int = 0

    def take(self, raw: RawRecord, codec: Codec) -> None:
        """Judge the next record."""
        self.fence, verdict = admit(self.fence, raw.header)
        if verdict is Verdict.CLAIM:
            fact = _word(raw, codec)
            address = fact.address if isinstance(fact, PartitionClaimed) else ""
            self.claims.append(Claim(*self.fence, address, raw.offset))
            self.released = None
        elif verdict is Verdict.ADMITTED:
            self.admitted += 1
            if raw.header is not None and raw.header.kind is Kind.RELEASE:
                fact = _word(raw, codec)
                self.released = fact.successor if isinstance(fact, PartitionReleased) else ""
        else:
            self._drop(raw, verdict)
        self.end = raw.offset + 1

    def count(self, verdict: Verdict) -> int:
        """How many records were dropped so."""
        return sum(each.last - each.first + 1 for each in self.dropped if each.verdict is verdict)

    def _drop(self, raw: RawRecord, verdict: Verdict) -> None:
        term = None if raw.header is None else raw.header.term
        before = self.dropped[-1] if self.dropped else None
        if before is not None and (before.verdict, before.term, before.last + 1) == (verdict, term, raw.offset):
            self.dropped[-1] = Dropped(verdict=verdict, term=term, first=before.first, last=raw.offset)
        else:
            self.dropped.append(Dropped(verdict=verdict, term=term, first=raw.offset, last=raw.offset))


async def read_hands(
    log: Log, codec: Codec, place: Place, end: int, *, last_records: int | None = None, index: ClaimIndex | None = None
) -> Hands:
    """Read a partition up to `end`. Raises LogAway or HistoryLost.

    With `last_records` it begins at the last claim that the index knows so far before the end, or at 0.
    """
    hands = Hands(place=place)
    wanted = end if last_records is None else end - last_records
    known = None if index is None or last_records is None or wanted <= 0 else await index.claim_before(place, wanted)
    if known is not None:
        # The claim itself is read again: seen from one term lower it is the valid one once more.
        hands.start, hands.fence = known[0], Fence(known[1].term - 1, NO_CLAIM)
    async for records in log.read(place, hands.start, end):
        for raw in records:
            hands.take(raw, codec)
    hands.end = end
    return hands


def _word(raw: RawRecord, codec: Codec) -> Fact | None:
    try:
        return codec.decode(raw.value)
    except (UnknownSchema, UnknownEvent, BrokenBody):
        return None
