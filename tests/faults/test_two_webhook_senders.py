"""Two send to one address, for one was frozen while its work was given to another: the address misses nothing, and one of them counts."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from commands.webhooks import WEBHOOKS, AddWebhook, RewindWebhook, Webhook
from events.flags import FlagSet
from events.registry import Fact
from events.sealing import KeyRing
from events.streams import StreamId
from events.webhooks import WebhookDeliveriesMade
from infra.adapters.keyfile import open_key_ring
from infra.apps.webhooks import HeldVectors, Sending, running_webhooks
from projections.feed_names import resume_at
from tests.faults.frozen_sender import FrozenSender
from tests.faults.sending_webhooks import SECRET, nowhere
from tests.projections.log import TestLog, open_log
from tests.projections.told import AYB
from tests.stream_processors.receiving import Receiver, receiver, takes

WEBHOOK = StreamId(AYB, "webhooks", "webhook_1")
STREAMS = 4
# One that sends says how far it is after so many.
REPORTED = 100


@dataclass(slots=True)
class Scene:
    log: TestLog
    ring: KeyRing
    receiver: Receiver
    happened: int = 0

    async def happen(self, times: int) -> None:
        for _ in range(times):
            stream = StreamId(AYB, "flags", f"flag{self.happened % STREAMS}")
            await self.log.append(stream, FlagSet(enabled=True, variant=f"v{self.happened}"))
            self.happened += 1

    async def facts(self) -> list[Fact]:
        """All that the log has about the webhook."""
        found = []
        async for batch in self.log.reader.batches([self.log.topic_of("webhooks")], {}, stop_at_end=True):
            found += [self.log.codec.decode(raw.value) for raw in batch.records if raw.key == WEBHOOK.key and raw.value]
        return found

    async def webhook(self) -> Webhook:
        webhook = None
        for fact in await self.facts():
            webhook = WEBHOOKS.evolve(webhook, fact)  # type: ignore[arg-type]  # of this topic
        assert webhook is not None
        return webhook

    async def said(self) -> list[WebhookDeliveriesMade]:
        """How far it was said to be, each time."""
        return [fact for fact in await self.facts() if isinstance(fact, WebhookDeliveriesMade)]

    @asynccontextmanager
    async def another(self) -> AsyncIterator[None]:
        """Another sender, who believes the same."""
        sending = Sending(keyring=self.ring, private=True)
        async with running_webhooks(self.log.reader, self.log.dispatch, nowhere, sending, topic_of=self.log.topic_of):
            yield

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.receiver.taken}

    def must_be_whole(self) -> None:
        """Every event came, for the first time in its order within its stream, and each time as the same message."""
        assert len(self.names) == self.happened
        first = dict(reversed(self.receiver.taken))
        assert all(event == first[name] for name, event in self.receiver.taken)
        versions: defaultdict[str, list[int]] = defaultdict(list)
        for name, event in self.receiver.taken:
            if name in first:
                versions[event["subject"]].append(first.pop(name)["aybizaversion"])
        assert all(each == list(range(1, len(each) + 1)) for each in versions.values())


@pytest_asyncio.fixture
async def scene(kafka: str, unique: str, tmp_path: Path) -> AsyncIterator[Scene]:
    ring, store = open_key_ring(tmp_path / "wrapping.key")
    try:
        async with open_log(kafka, unique) as log, receiver() as receiving:
            sealed = ring.seal_bytes(AYB, SECRET.encode())
            await log.do(WEBHOOK, AddWebhook(url=receiving.url, types=("flag-set",), description="", secret=sealed))
            yield Scene(log=log, ring=ring, receiver=receiving)
    finally:
        store.close()


async def hangs(_request: web.Request, _event: dict[str, Any]) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


class TestSenderThatWasFrozen:
    async def test_goes_on_beside_the_one_who_took_over_and_nothing_is_missed(self, scene: Scene) -> None:
        frozen = FrozenSender(scene.log, scene.ring)
        async with frozen.sending(), AsyncExitStack() as over:
            await scene.happen(30)
            await scene.receiver.until(lambda: len(scene.names) == scene.happened)
            with frozen.frozen():
                await over.enter_async_context(scene.another())
                await scene.happen(REPORTED)
                await scene.receiver.until(lambda: len(scene.names) == scene.happened)
            # From here on both are alive, and both believe that the address is theirs.
            for _ in range(3):
                await scene.happen(REPORTED // 2)
            await scene.receiver.until(lambda: len(scene.names) == scene.happened)
        scene.must_be_whole()
        reached = [at for said in await scene.said() if (at := await resume_at(said.after, HeldVectors())) is not None]
        assert len(reached) > 1
        for place in reached[-1].cursor:
            offsets = [at.next_offset(place) for at in reached]
            assert offsets == sorted(offsets)

    @pytest.mark.parametrize("fenced", [True, False])
    async def test_does_not_take_back_how_far_the_one_is_who_took_over(self, scene: Scene, fenced: bool) -> None:
        frozen = FrozenSender(scene.log, scene.ring, fenced=fenced)
        async with frozen.sending():
            await scene.happen(30)
            await scene.receiver.until(lambda: len(scene.names) == scene.happened)
            with frozen.frozen():
                await scene.happen(REPORTED)
                async with scene.another():
                    await scene.receiver.until(lambda: len(scene.names) == scene.happened)
                reached = (await scene.webhook()).after
                scene.receiver.behaves = hangs
            await frozen.until_answered()
            # Where everybody may say how far they are, the address is back where it was: the test can tell.
            assert (frozen.answers[0], (await scene.webhook()).after == reached) == (not fenced, fenced)
            scene.receiver.behaves = takes
            await scene.happen(1)
            await scene.receiver.until(lambda: len(scene.names) == scene.happened)
        scene.must_be_whole()

    @pytest.mark.parametrize("fenced", [True, False])
    async def test_does_not_undo_what_was_ordered_meanwhile(self, scene: Scene, fenced: bool) -> None:
        frozen = FrozenSender(scene.log, scene.ring, fenced=fenced)
        async with frozen.sending():
            await scene.happen(30)
            await scene.receiver.until(lambda: len(scene.names) == scene.happened)
            with frozen.frozen():
                await scene.log.do(WEBHOOK, RewindWebhook(order="again", since=datetime(2020, 1, 1, tzinfo=UTC)))
                scene.receiver.behaves = hangs
            await frozen.until_answered()
            # Whoever goes on now begins where the log says: at the order, or, where that is undone, behind all that was to come again.
            assert (frozen.answers[0], (await scene.webhook()).after == "") == (not fenced, fenced)
            scene.receiver.behaves = takes
            if fenced:
                await scene.receiver.until(lambda: len(scene.receiver.taken) >= 2 * scene.happened)
        scene.must_be_whole()
