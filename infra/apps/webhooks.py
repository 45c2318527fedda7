"""Webhooks in a process, wired: facts as the feed has them, sent to addresses by those processes that share the work."""

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias

from api.cloudevents import as_json, cloud_event
from commands.dispatch import Dispatch
from commands.ports import LogAway, Place
from events.admission import Fence
from events.positions import Cursor
from events.rooms import ROOMS
from events.sealing import KeyRing
from events.streams import topic_of
from infra.adapters.kafka.reader import ClaimIndex, KafkaLogReader
from infra.adapters.webhook_post import opened_post
from infra.apps.alongside import alongside
from infra.apps.read_side import Shared
from infra.apps.sharing import keep, share
from projections.feed import Feed, FeedFull, Heard
from projections.feed_names import Spot, name_of, resume_at, whole
from projections.ports import TopicOf
from stream_processors.webhooks.deliverer import Deliverer
from stream_processors.webhooks.ports import Post, World
from stream_processors.webhooks.schedule import WAITS_SECONDS

_BEAT_SECONDS = 1.0
_VECTORS_HELD = 512
_AT_ONCE = 8
_NOTED_SECONDS = 15.0
_PLACES_NOTED = 20
Standing: TypeAlias = Callable[[], Awaitable[Mapping[Spot, tuple[int, Fence]]]]


class HeldVectors:
    """`projections.feed_names.Vectors`, in memory: the newest few, each used soon after it was kept or written out whole."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, str] = OrderedDict()

    async def keep(self, name: str, vector: str) -> None:
        self._held[name] = vector
        while len(self._held) > _VECTORS_HELD:
            self._held.popitem(last=False)

    async def find(self, name: str) -> str | None:
        return self._held.get(name)


class FactsOfTheFeed:
    """`stream_processors.webhooks.ports.Facts`. `run` notes from time to time where the tables stand: places of times that just passed."""

    def __init__(self, feed: Feed, reader: KafkaLogReader, topics: Sequence[str], standing: Standing, claims: ClaimIndex | None) -> None:
        self._feed = feed
        self._reader = reader
        self._topics = topics
        self._standing = standing
        self._claims = claims
        self._noted: deque[tuple[datetime, Mapping[Spot, tuple[int, Fence]]]] = deque(maxlen=_PLACES_NOTED)

    async def run(self) -> None:
        """Until cancelled. Raises what `standing` raises."""
        while True:
            now = datetime.now(UTC)
            self._noted.append((now, await self._standing()))
            await asyncio.sleep(_NOTED_SECONDS)

    async def follow(self, organisation: str, place: str) -> AsyncGenerator[Heard | None, None]:
        at = await resume_at(place, self._feed.vectors)
        try:
            async with aclosing(self._feed.follow(organisation, at, beat_seconds=_BEAT_SECONDS)) as facts:
                async for fact in facts:
                    yield fact
        except FeedFull as cause:
            raise LogAway(str(cause)) from cause

    async def at(self, time: datetime) -> str:
        before = [places for noted_at, places in self._noted if noted_at <= time]
        if before:
            return name_of(Cursor(before[-1]))
        reached: dict[Spot, tuple[int, Fence]] = {}
        turns = asyncio.Semaphore(_AT_ONCE)

        async def find(topic: str, partition: int, offset: int) -> None:
            async with turns:
                reached[topic, partition] = await self._reader.position_at(topic, partition, offset, self._claims)

        async with asyncio.TaskGroup() as tasks:
            for topic in self._topics:
                for (_, partition), offset in (await self._reader.first_since(topic, time)).items():
                    if offset:
                        tasks.create_task(find(topic, partition, offset), name=f"find a time in {topic}/{partition}")
        return name_of(Cursor(reached))

    async def lasting(self, name: str) -> str:
        try:
            return await whole(name, self._feed.vectors)
        except LookupError as cause:
            raise LogAway("the place was forgotten; go on from the last one on the log") from cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How webhooks are sent here. `private`: also to addresses of one's own network. `opened`: who sends them, while it is open."""

    keyring: KeyRing
    opened: Callable[..., AbstractAsyncContextManager[Post]] = opened_post
    private: bool = False
    waits_seconds: Sequence[float] = WAITS_SECONDS


@asynccontextmanager
async def running_webhooks(
    reader: KafkaLogReader, dispatch: Dispatch, standing: Standing, sending: Sending, *, claims: ClaimIndex | None = None,
    topic_of: TopicOf = topic_of, shared: Shared | None = None,
) -> AsyncIterator[Deliverer]:  # fmt: skip
    """A bug of a part ends the whole. `standing`: where the tables stand; `claims`: where to look for a time that passed long ago."""
    keyring, topics = sending.keyring, [topic_of(room) for room in ROOMS]
    feed = Feed(reader, topics, standing, HeldVectors())
    facts = FactsOfTheFeed(feed, reader, topics, standing, claims)

    def now() -> datetime:
        return datetime.now(UTC)

    async with sending.opened(now, private=sending.private) as post:
        world = World(
            facts=facts, dispatch=dispatch, post=post, now=now, draw=secrets.token_bytes, waits_seconds=sending.waits_seconds,
            envelope=lambda recorded: as_json(cloud_event(keyring, recorded)),
            opened=lambda organisation, box: keyring.open_bytes(organisation, box).decode(),
        )  # fmt: skip
        deliverer = Deliverer(reader, world, topic_of=topic_of)
        members = None if shared is None else shared("webhooks", [topic_of("webhooks")])

        async def send(places: Collection[Place] | None) -> None:
            await keep(partial(deliverer.run, places))

        work = {
            "webhooks: feed": partial(keep, feed.run), "webhooks: places": partial(keep, facts.run),
            "webhooks: deliverer": partial(share, members, send),
        }  # fmt: skip
        async with alongside(work):
            yield deliverer
