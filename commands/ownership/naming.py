"""Which streams a partition has had that are not in memory: eight bytes of each, so that a new one is known to be new without asking."""

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from hashlib import blake2b

from commands.ownership.memory import Room
from commands.ports import Beginnings, Place

_RUN = 4_096
# Taken in one go on the event loop: some milliseconds' worth.
_PAGE = 2_000
_REST = 4.0


class Names:
    """Of the streams that a partition has had since `start`, as they leave memory; of those before it, as somebody tells of them.

    Measured, one takes 9.4 bytes, and to add one or to look for it four microseconds. `told`: up to where others have told. `lost`: there
    is no room for so many, and who asks has to load the stream instead.
    """

    __slots__ = ("_firsts", "_room", "_runs", "count", "lost", "start", "told")

    def __init__(self, room: Room, start: int = 0) -> None:
        self.start = start
        self.told = self.count = 0
        self.lost = False
        self._room = room
        self.clear()

    @property
    def whole(self) -> bool:
        """Whether a stream that is neither here nor in memory has never been."""
        return self.told >= self.start and not self.lost

    @property
    def wanted(self) -> bool:
        """Whether others have to tell more of them."""
        return self.told < self.start and not self.lost

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return sum(run.__sizeof__() for run in self._runs) + self._firsts.__sizeof__()

    def __contains__(self, key: bytes) -> bool:
        """False: it is certain that it was not added. True: it almost certainly was."""
        tag = _tag(key)
        run = self._runs[bisect_right(self._firsts, tag) - 1]
        at = bisect_left(run, tag)
        return at < len(run) and run[at] == tag

    def add(self, key: bytes) -> None:
        """Idempotent."""
        tag = _tag(key)
        place = bisect_right(self._firsts, tag) - 1
        run = self._runs[place]
        at = bisect_left(run, tag)
        if self.lost or (at < len(run) and run[at] == tag):
            return
        run.insert(at, tag)
        self.count += 1
        self._room.names += 1
        if len(run) > _RUN:
            half = len(run) // 2
            self._runs[place : place + 1] = [run[:half], run[half:]]
            self._firsts.insert(place + 1, run[half])
        if self._room.names > self._room.bounds.names:
            self.clear()
            self.lost = True

    def clear(self) -> None:
        """Forget them all."""
        self._room.names -= self.count
        self.count = 0
        self._runs = [array("Q")]
        self._firsts = array("Q", [0])


async def learn(names: Names, beginnings: Beginnings, place: Place) -> None:
    """Have the journal tell what lies before the start, as far as it is. Goes on where it stopped. Raises HistoryAway.

    Nobody waits for it, and what others ask of the journal goes first: four fifths of the time it rests.
    """
    loop = asyncio.get_running_loop()
    while names.wanted:
        begun = loop.time()
        keys, told = await beginnings.begun(place, names.told, names.start, _PAGE)
        for key in keys:
            names.add(key)
        if told <= names.told:
            return
        names.told = told
        await asyncio.sleep(_REST * (loop.time() - begun))


def _tag(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
