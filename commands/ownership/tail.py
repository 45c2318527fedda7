"""What was read of a partition about streams that are not in memory, until a journal has it: the oldest goes first."""

from collections import deque
from collections.abc import Iterator, Sequence

from events.records import RawRecord


class Tail:
    """Records by the stream that they are of, each stream's in order."""

    __slots__ = ("_by_key", "_order", "records")

    def __init__(self) -> None:
        self.records = 0
        self._by_key: dict[bytes, list[RawRecord]] = {}
        self._order: deque[tuple[int, bytes]] = deque()

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def add(self, raw: RawRecord) -> None:
        self._by_key.setdefault(raw.key, []).append(raw)
        self._order.append((raw.offset, raw.key))
        self.records += 1

    def of(self, key: bytes) -> Sequence[RawRecord]:
        """A stream's."""
        return self._by_key.get(key, ())

    def drop(self, key: bytes) -> None:
        """A stream was loaded, and has taken its own along."""
        self.records -= len(self._by_key.pop(key, ()))

    def shorten(self, journaled: int, most: int) -> Iterator[tuple[int, bytes]]:
        """Put out what a journal has, and what is too much; yields offset and stream of each record that went."""
        order = self._order
        while order and (order[0][0] < journaled or self.records > most or len(order) > 2 * most):
            offset, key = order.popleft()
            records = self._by_key.get(key)
            if records is None or records[0].offset != offset:
                continue
            del records[0]
            self.records -= 1
            if not records:
                del self._by_key[key]
            yield offset, key
