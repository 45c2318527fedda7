"""Fetches under way, one per broker: the next records come while the last ones are dealt with, and never more than those."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from commands.ports import Place
from infra.adapters.kafka.admitting import Passage
from infra.adapters.kafka.fetching import Fetched, TryElsewhere, fetch
from infra.adapters.kafka.link import Link

log = structlog.get_logger()

_WAIT_MS = 500
_RETRY_SECONDS = 0.1


class FetchingAhead:
    """Asks the brokers that lead the partitions of some passages. `away` is told which of them do not answer."""

    def __init__(self, link: Link, passages: Mapping[Place, Passage], away: dict[int, str]) -> None:
        self._link = link
        self._passages = passages
        self._away = away
        self._fetches: dict[int, asyncio.Task[Sequence[Fetched]]] = {}
        self._answers = 0

    async def next(self) -> Sequence[Fetched]:
        """What the first broker to answer gave."""
        await self.ask()
        if not self._fetches:
            await asyncio.sleep(_RETRY_SECONDS)
            return ()
        await asyncio.wait(self._fetches.values(), return_when=asyncio.FIRST_COMPLETED)
        for node, task in list(self._fetches.items()):
            if task.done():
                del self._fetches[node]
                try:
                    fetched = task.result()
                except TryElsewhere as error:
                    if node not in self._away:
                        log.warning("kafka-read-retried", broker=node, reason=str(error))
                    self._away[node] = str(error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    self._away.pop(node, None)
                    self._answers += 1
                    for part in fetched:
                        self._passages[part.place].served = self._answers
                    return fetched
        return ()

    async def cancel(self) -> None:
        for task in self._fetches.values():
            task.cancel()
        if self._fetches:
            await asyncio.wait(self._fetches.values())

    async def ask(self) -> None:
        """Begin the fetches that are not under way."""
        idle: defaultdict[int, dict[Place, int]] = defaultdict(dict)
        leaders = set()
        # A broker fills its answer in the order of the request: who was served last comes last.
        for place, passage in sorted(self._passages.items(), key=lambda item: item[1].served):
            if not passage.done:
                leader = await self._link.leader_of(*place)
                leaders.add(leader)
                if leader is not None and leader not in self._fetches:
                    idle[leader][place] = passage.offset
        # A broker that leads nothing any more is not asked, so nobody would hear that it is back.
        for node in self._away.keys() - leaders:
            del self._away[node]
        for node, wanted in idle.items():
            self._fetches[node] = asyncio.create_task(fetch(self._link, node, wanted, wait_ms=_WAIT_MS), name=f"fetch from broker {node}")
