"""Keeps one teller for each webhook that is enabled: the webhooks are a fold of their topic, so whoever is given a partition goes on."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from commands.ports import LogAway
from commands.webhooks import WEBHOOKS, Webhook
from events.codec import BrokenBody
from events.headers import Kind
from events.positions import Position
from events.recorded import Recorded
from events.records import AdmittedBatch, recorded
from events.registry import UnknownEvent
from events.sealing import KeyErased
from events.streams import InvalidStreamName, StreamId, topic_of
from events.webhooks import WebhookChanged, WebhookRewound
from stream_processors.ports import LogReader
from stream_processors.webhooks.ports import World
from stream_processors.webhooks.telling import Earlier, Teller, Told

log = structlog.get_logger()
_AGAIN_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_CHANGES_KNOWN = 16


@dataclass(frozen=True, slots=True)
class _Standing:
    webhook: Webhook | None
    added_at: datetime
    earlier: tuple[Earlier, ...] = ()

    def after(self, fact: Recorded[Any]) -> "_Standing":
        earlier, webhook = self.earlier, self.webhook
        if isinstance(fact.fact, WebhookRewound):
            # What is ordered again is what is wanted by now, whenever it happened.
            earlier = ()
        elif isinstance(fact.fact, WebhookChanged) and webhook is not None and webhook.types != fact.fact.types:
            earlier = (*earlier, Earlier(webhook.types, fact.appended_at))[-_CHANGES_KNOWN:]
        return _Standing(WEBHOOKS.evolve(webhook, fact.fact), self.added_at, earlier)


class Deliverer:
    """Sends events to addresses. Two that send to one do no harm but to send some twice: the log lets only one say how far it is.

    Each sends a stream's events in order and leaves none out, so whatever comes to the address for the first time comes in order, too.
    """

    def __init__(self, reader: LogReader, world: World, *, topic_of: Callable[[str], str] = topic_of) -> None:
        self._reader = reader
        self._world = world
        self._topic = topic_of(WEBHOOKS.room)
        self._standing: dict[StreamId, _Standing] = {}
        self._telling: dict[StreamId, tuple[Teller, asyncio.Task[None]]] = {}
        self._reached: dict[tuple[str, int], int] = {}
        self.caught_up = asyncio.Event()

    async def run(self, places: Collection[tuple[str, int]] | None = None) -> None:
        """Until cancelled. `places`: the partitions of webhooks that are ours, instead of all. Begins anew each time it is called."""
        self._standing, self._telling, self._reached = {}, {}, {}
        self.caught_up.clear()
        ends = await self._reader.end_offsets([self._topic])
        goal = {place: end for place, end in ends.items() if places is None or place in places}
        async with asyncio.TaskGroup() as tasks:
            await self._look_whether_caught_up(goal, tasks)
            async with aclosing(self._reader.batches([self._topic], {}, places=places)) as batches:
                async for batch in batches:
                    touched = self._take(batch)
                    if self.caught_up.is_set():
                        for stream in touched:
                            await self._tend(stream, tasks)
                    else:
                        await self._look_whether_caught_up(goal, tasks)

    def telling(self, position: Position) -> bool:
        """Whether what stands at a position of the topic is known here, and acted on."""
        return self.caught_up.is_set() and self._reached.get((position.topic, position.partition), 0) > position.offset

    async def _look_whether_caught_up(self, goal: Mapping[tuple[str, int], int], tasks: asyncio.TaskGroup) -> None:
        if all(self._reached.get(place, 0) >= end for place, end in goal.items()):
            self.caught_up.set()
            for stream in list(self._standing):
                await self._tend(stream, tasks)

    def _take(self, batch: AdmittedBatch) -> set[StreamId]:
        touched = set()
        for raw in batch.records:
            if raw.kind is not Kind.EVENT:
                continue
            try:
                fact = recorded(raw, self._reader.codec)
            except (UnknownEvent, BrokenBody, InvalidStreamName) as cause:
                log.warning("fact-broken", topic=raw.topic, partition=raw.partition, offset=raw.offset, reason=str(cause))
                continue
            known = self._standing.get(fact.stream) or _Standing(None, fact.appended_at)
            self._standing[fact.stream] = known.after(fact)
            touched.add(fact.stream)
        self._reached[batch.topic, batch.partition] = batch.next_offset
        return touched

    async def _tend(self, stream: StreamId, tasks: asyncio.TaskGroup) -> None:
        """Have the stream's address told from where it stands, or not any more."""
        webhook, telling = self._standing[stream].webhook, self._telling.get(stream)
        on = webhook is not None and webhook.enabled
        if telling is not None:
            teller, task = telling
            if webhook is not None and on and teller.turn >= webhook.turn and not task.done():
                before, teller.webhook = teller.webhook, webhook
                if before.secret != webhook.secret:
                    teller.changed.set()
                return
            del self._telling[stream]
            task.cancel()
            await asyncio.wait([task])
        if webhook is None or webhook.removed:
            del self._standing[stream]
        elif on:
            teller = self._teller(stream, webhook, self._standing[stream])
            self._telling[stream] = teller, tasks.create_task(self._keep(stream, teller), name=f"tell {stream.id}")

    def _teller(self, stream: StreamId, webhook: Webhook, standing: _Standing) -> Teller:
        return Teller(self._world, stream, webhook, standing.added_at, standing.earlier)

    async def _keep(self, stream: StreamId, teller: Teller) -> None:
        """Tell until it is disabled; from where the log says that it is after each time that somebody else told it, or the log was away."""
        failures, erased = 0, False
        while not erased:
            try:
                await teller.run()
            except* KeyErased:
                log.warning("webhook-secret-erased", webhook=stream.id)
                erased = True
            except* (Told, LogAway) as causes:
                log.info("webhook-told-anew", webhook=stream.id, reason=str(causes.exceptions))
            await asyncio.sleep(_AGAIN_SECONDS[min(failures, len(_AGAIN_SECONDS) - 1)])
            failures += 1
            standing = self._standing.get(stream)
            if standing is None or standing.webhook is None or not standing.webhook.enabled:
                return
            teller = self._teller(stream, standing.webhook, standing)
            own = asyncio.current_task()
            if own is not None:
                self._telling[stream] = teller, own
