"""What a sequence holds, by number and by aggregate: where it lies on the log, and the latest of it at hand."""

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from events.guests import GuestEvent, GuestEventStored

_AT_HAND = 32_768


class Index:
    """16 bytes an event and some 400 an aggregate; the events themselves are read again when they are not at hand."""

    def __init__(self) -> None:
        self.offsets = array("Q")
        """By number; numbers count from 1."""
        self.progress: dict[str, int] = {}
        self._aggregates: dict[str, tuple[array[int], array[int]]] = {}
        self._at_hand: OrderedDict[int, GuestEventStored] = OrderedDict()

    def take(self, fact: GuestEvent, offset: int) -> None:
        """The next fact of the sequence, in order."""
        if isinstance(fact, GuestEventStored):
            self.offsets.append(offset)
            versions, numbers = self._aggregates.setdefault(fact.originator, (array("q"), array("Q")))
            versions.append(fact.version)
            numbers.append(fact.ordinal)
            self.keep(fact)
        else:
            self.progress[fact.application] = fact.notification

    def keep(self, event: GuestEventStored) -> None:
        """Have an event at hand; the ones used longest ago make room."""
        self._at_hand[event.ordinal] = event
        self._at_hand.move_to_end(event.ordinal)
        if len(self._at_hand) > _AT_HAND:
            self._at_hand.popitem(last=False)

    def at_hand(self, number: int) -> GuestEventStored | None:
        return self._at_hand.get(number)

    def of(self, originator: str, gt: int | None, lte: int | None) -> Sequence[int]:
        """The numbers of an aggregate's events whose version is after `gt` and not after `lte`, in order."""
        versions, numbers = self._aggregates.get(originator, ((), ()))
        first = 0 if gt is None else bisect_right(versions, gt)
        return numbers[first : None if lte is None else bisect_right(versions, lte)]
