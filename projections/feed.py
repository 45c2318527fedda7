"""Facts as they come, to any number of listeners of many organisations: one reading of the log, and each listener goes on where it was."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from events.admission import UNCLAIMED, Fence
from events.codec import Codec
from events.parking import ParkedRecord, recorded_or_parked
from events.positions import Cursor
from events.recorded import Recorded
from events.records import AdmittedBatch, RawRecord
from events.registry import Fact
from events.selecting import Select
from projections.feed_names import Names, Resume, Spot, Vectors

_REMEMBERED = 4_000
# Of an organisation's facts as they lie on the log; in memory, read and shown, they take a few times as much.
_REMEMBERED_BYTES = 8 << 20
_MOST_LISTENERS = 5_000
# Readings at once of those who come back: each has a connection of its own.
_CATCHING_UP = 16
# Who reads slowly keeps a place for long: an organisation keeps its own listeners waiting, and no others.
_CATCHING_UP_OF_ONE = 4
_MOST_OF_ONE = 2_500


class FeedFull(Exception):
    """More listeners than one process serves well."""


class FeedReader(Protocol):
    """The log, as `projections.ports.LogReader`, and with a choice of records."""

    @property
    def codec(self) -> Codec: ...

    def batches(
        self,
        topics: Sequence[str],
        start: Mapping[Spot, tuple[int, Fence]],
        *,
        stop: Mapping[Spot, int] | None = None,
        select: Select | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:
        """Raises LogAway at its beginning, HistoryLost at any time."""


Reached = Mapping[Spot, tuple[int, Fence]]


class Heard:
    """A fact in a feed. `name` is the place behind it; `shown` is its listeners' own: what they made of it, made once."""

    __slots__ = ("name", "offset", "place", "recorded", "shown", "size")

    def __init__(self, recorded: Recorded[Fact], name: str, size: int) -> None:
        self.size = size
        self.recorded = recorded
        self.name = name
        self.place: Spot = (recorded.position.topic, recorded.position.partition)
        self.offset = recorded.position.offset
        self.shown: bytes | None = None


class _Ear:
    """A listener's waiting. False: nothing came for `beat` seconds.

    One timer serves all of it, and looks back: one for each time that is waited costs as much as telling a fact.
    """

    def __init__(self, beat: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._beat = beat
        self._since = 0.0
        self._waiting: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def hears(self, bell: set[asyncio.Future[bool]]) -> bool:
        """Returns when the bell is rung (`_ring`)."""
        waiting: asyncio.Future[bool] = self._loop.create_future()
        self._waiting = waiting
        self._since = self._loop.time()
        if self._timer is None and self._beat is not None:
            self._timer = self._loop.call_later(self._beat, self._look, self._beat)
        bell.add(waiting)
        try:
            return await waiting
        finally:
            bell.discard(waiting)
            self._waiting = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, beat: float) -> None:
        self._timer = None
        if self._waiting is not None:
            left = beat - (self._loop.time() - self._since)
            if left > 0:
                self._timer = self._loop.call_later(left, self._look, beat)
            else:
                _ring({self._waiting}, heard=False)


def _ring(bell: Collection[asyncio.Future[bool]], *, heard: bool = True) -> None:
    for waiting in bell:
        if not waiting.done():
            waiting.set_result(heard)


class _Organisation:
    """What an organisation's listeners have not all heard yet; who is slower than it is long reads on from the log."""

    def __init__(self) -> None:
        self.heard: deque[Heard] = deque()
        self.first = 0
        self.bytes = 0
        self.listeners = 0
        self.more: set[asyncio.Future[bool]] = set()
        self.catching_up = asyncio.Semaphore(_CATCHING_UP_OF_ONE)

    @property
    def end(self) -> int:
        return self.first + len(self.heard)

    def add(self, heard: Heard) -> None:
        self.heard.append(heard)
        self.bytes += heard.size
        while len(self.heard) > _REMEMBERED or (self.bytes > _REMEMBERED_BYTES and len(self.heard) > 1):
            self.bytes -= self.heard.popleft().size
            self.first += 1
        _ring(self.more)


class Feed:
    """`run` reads from the first listener on. `standing` says from where on: a place that was read lately, with its fences."""

    def __init__(
        self,
        reader: FeedReader,
        topics: Sequence[str],
        standing: Callable[[], Awaitable[Mapping[Spot, tuple[int, Fence]]]],
        vectors: Vectors,
    ) -> None:
        self.vectors = vectors
        self._reader = reader
        self._topics = topics
        self._standing = standing
        self._organisations: dict[str, _Organisation] = {}
        self._names: Names | None = None
        self._wanted = asyncio.Event()
        self._reading = asyncio.Event()
        self._moved = asyncio.Event()
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many follow."""
        return sum(each.listeners for each in self._organisations.values())

    def full(self, organisation: str) -> bool:
        """Whether one more would be more than one process serves well, or than one organisation may have there, or it stops."""
        joined = self._organisations.get(organisation)
        return self._closed or self.listeners >= _MOST_LISTENERS or (joined is not None and joined.listeners >= _MOST_OF_ONE)

    async def run(self) -> None:
        """Read for whoever listens, until cancelled. Raises what the reader and `standing` raise; listeners then wait for the next run."""
        self._names = None
        self._reading.clear()
        await self._wanted.wait()
        start = Cursor(await self._standing())
        self._names = Names(start, self.vectors)
        # Who listened to a reading that broke off goes on from where it was.
        for name, organisation in list(self._organisations.items()):
            again = self._organisations[name] = _Organisation()
            again.listeners = organisation.listeners
            _ring(organisation.more)
        self._reading.set()
        async with aclosing(self._reader.batches(self._topics, start, select=Select())) as batches:
            async for batch in batches:
                await self._take(self._names, batch)

    def _stops(self) -> bool:
        return self._closed

    def close(self) -> None:
        """End every listener's facts: the process stops, and they go on at another one."""
        self._closed = True
        self._reading.set()
        self._moved.set()
        for each in self._organisations.values():
            _ring(each.more)

    async def follow(
        self, organisation: str, at: Resume | None = None, *, beat_seconds: float | None = None
    ) -> AsyncGenerator[Heard | None, None]:
        """An organisation's facts from a place on, or from now; none twice, none left out, in order within each partition.

        None is given where nothing came for `beat_seconds`. Raises FeedFull, and what the reader raises. Close it when leaving.
        """
        if self.full(organisation):
            raise FeedFull(f"{_MOST_LISTENERS} programs listen here already, {_MOST_OF_ONE} of them {organisation}'s, or the process stops")
        joined = self._organisations.get(organisation)
        if joined is None:
            joined = self._organisations[organisation] = _Organisation()
        joined.listeners += 1
        self._wanted.set()
        ear = _Ear(beat_seconds)
        try:
            async with aclosing(self._followed(organisation, at, beat_seconds, ear)) as facts:
                async for fact in facts:
                    yield fact
        finally:
            ear.close()
            left = self._organisations[organisation]
            left.listeners -= 1
            if not left.listeners:
                del self._organisations[organisation]

    async def _followed(self, organisation: str, at: Resume | None, beat: float | None, ear: _Ear) -> AsyncGenerator[Heard | None, None]:
        heard: dict[Spot, int] = {} if at is None else dict(at.heard)
        start = None if at is None else at.cursor
        while not self._stops():
            while not await _set_within(self._reading, beat):
                yield None
            feed, names = self._organisations[organisation], self._names
            if names is None:
                continue
            if start is None:
                start = Cursor(names.reached)
            at = Resume(start, heard)
            if any(at.next_offset(place) > names.reached.get(place, (0, UNCLAIMED))[0] for place in {*start, *heard}):
                # It listened to another process, which had read further: our names for places would lie before its own.
                if not await _set_within(self._moved, beat):
                    yield None
                continue
            # What is remembered has names by which somebody who has heard more would hear it again: so everybody begins with the next.
            following, until = feed.end, dict(names.reached)
            async with aclosing(self._caught_up(organisation, at, until)) as facts:
                async for fact in facts:
                    yield fact
                    heard[fact.place] = max(fact.offset, heard.get(fact.place, -1))
            further = {place: reached for place, reached in until.items() if reached[0] > Resume(start, {}).next_offset(place)}
            start = Cursor({**start, **further})
            at = Resume(start, heard)
            while self._organisations.get(organisation) is feed and following >= feed.first:
                if following >= feed.end:
                    if not await ear.hears(feed.more):
                        yield None
                    if self._stops():
                        return
                    continue
                fact = feed.heard[following - feed.first]
                following += 1
                if fact.offset >= at.next_offset(fact.place):
                    yield fact
                    heard[fact.place] = fact.offset

    async def _caught_up(self, organisation: str, at: Resume, until: Reached) -> AsyncGenerator[Heard, None]:
        """What the log holds between a listener's place and the one that the reading had reached when it came."""
        names = Names(at.cursor, self.vectors, at.heard)
        stop = {place: offset for place, (offset, _) in until.items()}
        behind = {place for place, offset in stop.items() if offset > at.next_offset(place)}
        if not behind:
            return
        reading = self._reader.batches(self._topics, at.cursor, stop=stop, select=Select(tenants=[organisation]))
        async with self._organisations[organisation].catching_up, self._catching_up, aclosing(reading) as batches:
            async for batch in batches:
                await names.begin(batch)
                for raw in batch.records:
                    if raw.offset >= at.next_offset((raw.topic, raw.partition)):
                        fact = self._heard(names, raw)
                        if fact is not None:
                            yield fact
                names.end(batch)

    async def _take(self, names: Names, batch: AdmittedBatch) -> None:
        if any(_tenant(raw.key) in self._organisations for raw in batch.records):
            await names.begin(batch)
        # From here on nothing is waited for: who joins meanwhile would believe to have heard what was taken before.
        for raw in batch.records:
            feed = self._organisations.get(_tenant(raw.key))
            if feed is not None:
                fact = self._heard(names, raw)
                if fact is not None:
                    feed.add(fact)
        names.end(batch)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _heard(self, names: Names, raw: RawRecord) -> Heard | None:
        """None for what nobody can read: who keeps the read side sees to it."""
        recorded = recorded_or_parked(raw, self._reader.codec)
        if isinstance(recorded, ParkedRecord):
            return None
        return Heard(recorded, names.name((raw.topic, raw.partition), raw.offset), len(raw.value))


async def _set_within(event: asyncio.Event, seconds: float | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _tenant(key: bytes) -> str:
    return key.partition(b"/")[0].decode("utf-8", "replace")


def chosen(types: Collection[str]) -> Callable[[str], bool]:
    """Whether an event's type (`consent-granted.v1`) is among those asked for, with or without its version; none asked for: all."""
    wanted = frozenset(types)
    return lambda ce_type: not wanted or ce_type in wanted or ce_type.rpartition(".v")[0] in wanted
