"""Fetches under way, one per broker and topic: the next records come while the last ones are dealt with, and never more than those."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import structlog
from aiokafka.errors import KafkaError, for_code

from commands.ports import Place
from infra.adapters.kafka.admitting import Passage
from infra.adapters.kafka.fetching import Fetched, TryElsewhere, given
from infra.adapters.kafka.link import Link, NotAsked
from infra.adapters.kafka.sessions import FetchAnswer, FetchSession

# None: only the connection was made, or a moment waited.
Fetch: TypeAlias = asyncio.Future[FetchAnswer] | asyncio.Future[None]

log = structlog.get_logger()

_WAIT_MS = 500
_RETRY_SECONDS = 0.1


class Source(NamedTuple):
    """A broker, and the topic whose partitions it is asked for.

    At each append of which a reader is to hear, a broker looks through all partitions of that reader's request, which at a
    hundred partitions costs it more than the append does: so every topic is asked for by itself, on a connection of its own.
    """

    node: int
    topic: str


class FetchingAhead:
    """Asks the brokers that lead the partitions of some passages. `away` is told which of them do not answer.

    `gather_seconds`: a source is asked no sooner than so long after it was asked last. What comes one behind the other comes together
    then; what comes alone is waited for already, and comes at once.
    """

    def __init__(self, link: Link, passages: Mapping[Place, Passage], away: dict[int, str], gather_seconds: float = 0.0) -> None:
        self._link = link
        self._passages = passages
        self._away = away
        self._sessions: dict[Source, FetchSession] = {}
        self._led_by: dict[Place, int] = {}
        # Brokers remember many sessions, but not for every short reading that there was.
        self._lasting = any(passage.stop is None for passage in passages.values())
        self._knowledge = -1
        self._leaderless = False
        self._dealt_with: Sequence[Fetched] = ()
        self._fetches: dict[Source, Fetch] = {}
        self._answered: deque[Source] = deque()
        self._heard = asyncio.Event()
        self._gather_seconds = gather_seconds
        self._not_before: dict[Source, float] = {}

    async def next(self) -> Sequence[Fetched]:
        """What the first broker to answer gave. Whoever asks again has dealt with it."""
        await self.ask()
        if not self._fetches:
            await asyncio.sleep(_RETRY_SECONDS)
            return ()
        await self._heard.wait()
        source = self._answered.popleft()
        if not self._answered:
            self._heard.clear()
        try:
            fetched = self._fetched(source, self._fetches.pop(source))
        except TryElsewhere as error:
            self._sessions[source].begin_anew()
            if source.node not in self._away:
                log.warning("kafka-read-retried", broker=source.node, reason=str(error))
            self._away[source.node] = str(error)
            await asyncio.sleep(_RETRY_SECONDS)
            return ()
        self._dealt_with = fetched
        return fetched

    def _fetched(self, source: Source, fetch: Fetch) -> Sequence[Fetched]:
        try:
            answer = fetch.result()
        except (NotAsked, KafkaError) as error:
            self._link.outdated()
            raise TryElsewhere(f"{type(error).__name__}: {error}") from error
        session = self._sessions[source]
        if answer is None or not session.answered(answer):
            return ()
        if answer.code:
            raise TryElsewhere(for_code(answer.code).__name__)
        found = given(self._link, answer.parts, session.told)
        self._away.pop(source.node, None)
        # Where the lead has gone from one broker to the other, both were asked for the same.
        return [each for each in found if each.offset == self._passages[each.place].offset and not self._passages[each.place].done]

    async def cancel(self) -> None:
        for fetch in self._fetches.values():
            fetch.cancel()
        if self._fetches:
            await asyncio.wait(self._fetches.values())

    async def ask(self) -> None:
        """Begin the fetches that are not under way."""
        for fetched in self._dealt_with:
            self._want(fetched.place)
        self._dealt_with = ()
        if self._leaderless or self._knowledge != self._link.knowledge:
            await self._look_who_leads()
        loop = asyncio.get_running_loop()
        for source, session in self._sessions.items():
            if session.wanted and source not in self._fetches:
                connection = self._link.connected(*source)
                if connection is None:
                    self._fetches[source] = asyncio.create_task(self._connect(source), name=f"connect to broker {source.node} to read")
                elif (wait := self._not_before.get(source, 0.0) - loop.time()) > 0:
                    self._fetches[source] = asyncio.create_task(asyncio.sleep(wait), name=f"gather before {source.topic} is asked for")
                else:
                    self._not_before[source] = loop.time() + self._gather_seconds
                    self._fetches[source] = self._link.post(connection, session.request())
                self._fetches[source].add_done_callback(partial(self._hear, source))

    def _hear(self, source: Source, _fetch: Fetch) -> None:
        self._answered.append(source)
        self._heard.set()

    def _want(self, place: Place) -> None:
        node, passage = self._led_by.get(place), self._passages[place]
        if node is not None and passage.done:
            self._sessions[Source(node, place.topic)].leave(place)
        elif node is not None:
            self._sessions[Source(node, place.topic)].want(place, passage.offset)

    async def _look_who_leads(self) -> None:
        self._knowledge, self._leaderless = self._link.knowledge, False
        for place, passage in self._passages.items():
            leader = None if passage.done else await self._link.leader_of(*place)
            self._leaderless |= leader is None and not passage.done
            before = self._led_by.get(place)
            if leader == before:
                continue
            if before is not None:
                del self._led_by[place]
                self._sessions[Source(before, place.topic)].leave(place)
            if leader is not None:
                self._led_by[place] = leader
                self._sessions.setdefault(Source(leader, place.topic), FetchSession(_WAIT_MS, lasting=self._lasting))
                self._want(place)
        # A broker that leads nothing any more is not asked, so nobody would hear that it is back.
        for node in self._away.keys() - self._led_by.values():
            del self._away[node]

    async def _connect(self, source: Source) -> None:
        await self._link.connection(*source)
