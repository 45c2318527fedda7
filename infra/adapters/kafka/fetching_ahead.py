"""Fetches under way, one per broker: the next records come while the last ones are dealt with, and never more than those."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import structlog
from aiokafka.errors import KafkaError, for_code

from commands.ports import Place
from infra.adapters.kafka.admitting import Passage
from infra.adapters.kafka.fetching import Fetched, TryElsewhere, given
from infra.adapters.kafka.link import Link, NotAsked
from infra.adapters.kafka.sessions import FetchAnswer, FetchSession

# None: only the connection was made.
Fetch: TypeAlias = asyncio.Future[FetchAnswer] | asyncio.Future[None]

log = structlog.get_logger()

_WAIT_MS = 500
_RETRY_SECONDS = 0.1


class FetchingAhead:
    """Asks the brokers that lead the partitions of some passages. `away` is told which of them do not answer."""

    def __init__(self, link: Link, passages: Mapping[Place, Passage], away: dict[int, str]) -> None:
        self._link = link
        self._passages = passages
        self._away = away
        self._sessions: dict[int, FetchSession] = {}
        self._led_by: dict[Place, int] = {}
        # Brokers remember many sessions, but not for every short reading that there was.
        self._lasting = any(passage.stop is None for passage in passages.values())
        self._knowledge = -1
        self._leaderless = False
        self._dealt_with: Sequence[Fetched] = ()
        self._fetches: dict[int, Fetch] = {}

    async def next(self) -> Sequence[Fetched]:
        """What the first broker to answer gave. Whoever asks again has dealt with it."""
        await self.ask()
        if not self._fetches:
            await asyncio.sleep(_RETRY_SECONDS)
            return ()
        await asyncio.wait(self._fetches.values(), return_when=asyncio.FIRST_COMPLETED)
        for node, fetch in list(self._fetches.items()):
            if fetch.done():
                del self._fetches[node]
                try:
                    fetched = self._fetched(node, fetch)
                except TryElsewhere as error:
                    self._sessions[node].begin_anew()
                    if node not in self._away:
                        log.warning("kafka-read-retried", broker=node, reason=str(error))
                    self._away[node] = str(error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    self._dealt_with = fetched
                    return fetched
        return ()

    def _fetched(self, node: int, fetch: Fetch) -> Sequence[Fetched]:
        try:
            answer = fetch.result()
        except (NotAsked, KafkaError) as error:
            self._link.outdated()
            raise TryElsewhere(f"{type(error).__name__}: {error}") from error
        session = self._sessions[node]
        if answer is None or not session.answered(answer):
            return ()
        if answer.code:
            raise TryElsewhere(for_code(answer.code).__name__)
        found = given(self._link, answer.parts, session.told)
        self._away.pop(node, None)
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
        for node, session in self._sessions.items():
            if session.wanted and node not in self._fetches:
                connection = self._link.connected(node)
                if connection is None:
                    self._fetches[node] = asyncio.create_task(self._connect(node), name=f"connect to broker {node} to read")
                else:
                    self._fetches[node] = self._link.post(connection, session.request())

    def _want(self, place: Place) -> None:
        node, passage = self._led_by.get(place), self._passages[place]
        if node is not None and passage.done:
            self._sessions[node].leave(place)
        elif node is not None:
            self._sessions[node].want(place, passage.offset)

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
                self._sessions[before].leave(place)
            if leader is not None:
                self._led_by[place] = leader
                self._sessions.setdefault(leader, FetchSession(_WAIT_MS, lasting=self._lasting))
                self._want(place)
        # A broker that leads nothing any more is not asked, so nobody would hear that it is back.
        for node in self._away.keys() - self._led_by.values():
            del self._away[node]

    async def _connect(self, node: int) -> None:
        await self._link.connection(node)
