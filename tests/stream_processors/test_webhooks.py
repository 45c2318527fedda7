"""Webhooks on the real log, to a real receiver: each event at least once, in order within its stream, whatever comes between."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web

from commands.webhooks import (
    AddWebhook,
    ChangeWebhook,
    DisableWebhook,
    EnableWebhook,
    PingWebhook,
    RewindWebhook,
    RotateWebhookSecret,
    WebhookCommand,
)
from events.admission import Fence
from events.flags import FlagRemoved, FlagSet
from events.records import AdmittedBatch
from events.rooms import prepared_codec
from events.sealing import KeyRing
from events.streams import StreamId
from events.webhooks import WebhookDeliveriesMade, WebhookDisabled
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.keyfile import open_key_ring
from infra.apps.webhooks import Sending, running_webhooks
from stream_processors.webhooks.schedule import WAITS_SECONDS, wait_seconds
from tests.projections.log import TestLog, open_log
from tests.projections.told import AYB
from tests.stream_processors.receiving import Receiver, receiver, takes

SECRET, OTHER_SECRET = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0", "whsec_" + "b3RoZXJzZWNyZXRzZWNyZXRz"
WEBHOOK = StreamId(AYB, "webhooks", "webhook_1")
SOON = (0.01, 0.01, 0.01, 0.01)
_COUNT = itertools.count()


async def nowhere() -> Mapping[tuple[str, int], tuple[int, Fence]]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A log of the test's own, and somebody who receives what is sent."""

    log: TestLog
    receiver: Receiver
    ring: KeyRing

    async def add(self, *types: str, url: str = "", stream: StreamId = WEBHOOK) -> None:
        secret = self.ring.seal_bytes(stream.tenant, SECRET.encode())
        await self.log.do(stream, AddWebhook(url=url or self.receiver.url, types=types, description="", secret=secret))

    async def do(self, command: WebhookCommand) -> None:
        await self.log.do(WEBHOOK, command)

    async def happen(self, *names: str, tenant: str = AYB) -> None:
        for name in names:
            stream = StreamId(tenant, "flags", name)
            await self.log.append(stream, FlagSet(enabled=True, variant=f"v{next(_COUNT)}"))

    async def said(self, kind: type[Any]) -> Sequence[Any]:
        """Facts of a kind about the webhook, so far."""
        found = []
        async for batch in self.log.reader.batches([self.log.topic_of("webhooks")], {}, stop_at_end=True):
            facts = [self.log.codec.decode(raw.value) for raw in batch.records if raw.key == WEBHOOK.key and raw.value]
            found += [fact for fact in facts if isinstance(fact, kind)]
        return found

    @asynccontextmanager
    async def sending(self, waits: Sequence[float] = SOON) -> AsyncIterator[None]:
        sending = Sending(keyring=self.ring, private=True, waits_seconds=waits)
        async with running_webhooks(self.log.reader, self.log.dispatch, nowhere, sending, topic_of=self.log.topic_of):
            yield


@pytest_asyncio.fixture
async def post(kafka: str, unique: str, tmp_path: Path) -> AsyncIterator[Post]:
    ring, store = open_key_ring(tmp_path / "wrapping.key")
    try:
        async with open_log(kafka, unique) as log, receiver() as receiving:
            yield Post(log=log, receiver=receiving, ring=ring)
    finally:
        store.close()


class TestWebhooks:
    async def test_tell_what_happens_signed_and_by_name(self, post: Post) -> None:
        await post.happen("before")
        await post.add("flag-set")
        async with post.sending():
            await post.happen("one", "two")
            await post.happen("theirs", tenant="AYB-ELSE-ELSE-ELSE")
            await post.do(PingWebhook(ping="p"))
            await post.receiver.until(lambda: len(post.receiver.taken) == 3)
        told = {event["type"]: (name, event) for name, event in post.receiver.taken}
        assert sorted(post.receiver.subjects) == ["flags/one", "flags/two", "webhooks/webhook_1"]
        name, event = told["flag-set.v1"]
        assert name == event["id"]
        assert post.receiver.headers[-1]["Content-Type"] == "application/cloudevents+json"
        assert post.receiver.verifies(SECRET)
        assert told["webhook-ping-asked.v1"][1]["data"] == {"ping": "p"}

    async def test_carry_two_signatures_while_a_secret_is_changed(self, post: Post) -> None:
        await post.add()
        sealed = post.ring.seal_bytes(AYB, OTHER_SECRET.encode())
        await post.do(RotateWebhookSecret(secret=sealed, old_until=datetime(2999, 1, 1, tzinfo=UTC)))
        async with post.sending():
            await post.happen("one")
            await post.receiver.until(lambda: len(post.receiver.taken) == 1)
            assert post.receiver.verifies(SECRET)
            assert post.receiver.verifies(OTHER_SECRET)
            await post.do(
                RotateWebhookSecret(secret=post.ring.seal_bytes(AYB, SECRET.encode()), old_until=datetime(2000, 1, 1, tzinfo=UTC))
            )
            # Until the sender has read of it, one more may have both.
            while len(post.receiver.headers[-1]["webhook-signature"].split()) > 1:
                await post.happen("again")
                await post.receiver.until(lambda: len(post.receiver.taken) == len(post.receiver.asked) > 1)

    async def test_go_on_where_they_were_though_the_sender_was_away(self, post: Post) -> None:
        await post.add("flag-set")
        async with post.sending():
            await post.happen("one")
            await post.receiver.until(lambda: len(post.receiver.taken) == 1)
        assert (await post.said(WebhookDeliveriesMade))[-1].delivered == 1
        await post.happen("two", "three")
        async with post.sending():
            await post.receiver.until(lambda: len(post.receiver.taken) == 3)
        # A stop that is none of a crash has nothing sent twice.
        assert sorted(post.receiver.subjects) == ["flags/one", "flags/three", "flags/two"]

    async def test_are_sent_again_from_a_time_on_under_the_same_names(self, post: Post) -> None:
        await post.add("flag-set")
        async with post.sending():
            await post.happen("one", "two")
            await post.receiver.until(lambda: len(post.receiver.taken) == 2)
            first = dict(post.receiver.taken)
            since = min(event["aybizaappended"] for event in first.values())
            await post.do(RewindWebhook(order="o", since=datetime.fromisoformat(since)))
            await post.receiver.until(lambda: len(post.receiver.taken) == 4)
        assert dict(post.receiver.taken[2:]) == first

    async def test_wait_for_who_fails_and_lose_nothing(self, post: Post) -> None:
        failing = iter([500, 503, 302])

        async def fails_at_first(request: web.Request, event: dict[str, Any]) -> web.Response:
            status = next(failing, None)
            if status is None:
                return await takes(request, event)
            # Somewhere that nobody but us may reach: it is not followed.
            return web.Response(status=status, headers={"Location": f"{post.receiver.url}/inside"})

        post.receiver.behaves = fails_at_first
        await post.add("flag-set")
        async with post.sending():
            await post.happen("one", "one", "one")
            await post.receiver.until(lambda: len(post.receiver.taken) == 3)
        assert [event["aybizaversion"] for _, event in post.receiver.taken] == [1, 2, 3]
        assert [each["aybizaversion"] for each in post.receiver.asked][:4] == [1, 1, 1, 1]
        attempts = [each for made in await post.said(WebhookDeliveriesMade) for each in made.attempts]
        assert [(each.status, each.failure) for each in attempts[:4]] == [
            (500, "refused"),
            (503, "refused"),
            (302, "redirected"),
            (204, ""),
        ]

    async def test_are_disabled_when_nobody_takes_them_and_go_on_when_enabled(self, post: Post) -> None:
        async def refuses(_request: web.Request, _event: dict[str, Any]) -> web.Response:
            return web.Response(status=500)

        post.receiver.behaves = refuses
        await post.add("flag-set")
        async with post.sending():
            await post.happen("one")
            while not await post.said(WebhookDisabled):
                await asyncio.sleep(0.05)
            assert (await post.said(WebhookDisabled))[-1].because == "failing"
            assert len(post.receiver.asked) == len(SOON) + 1
            await post.happen("two")
            post.receiver.behaves = takes
            await post.do(EnableWebhook())
            await post.receiver.until(lambda: len(post.receiver.taken) == 2)
        assert sorted(post.receiver.subjects) == ["flags/one", "flags/two"]

    async def test_are_disabled_at_once_where_they_are_told_to(self, post: Post) -> None:
        async def is_gone(_request: web.Request, _event: dict[str, Any]) -> web.Response:
            return web.Response(status=410)

        post.receiver.behaves = is_gone
        await post.add("flag-set")
        async with post.sending():
            await post.happen("one")
            while not await post.said(WebhookDisabled):
                await asyncio.sleep(0.05)
        assert (await post.said(WebhookDisabled))[-1].because == "gone"
        assert len(post.receiver.asked) == 1

    async def test_to_one_who_hangs_hold_nobody_else_up(self, post: Post) -> None:
        async def hangs(_request: web.Request, _event: dict[str, Any]) -> web.Response:
            await asyncio.Event().wait()
            raise AssertionError

        async with receiver() as slow:
            slow.behaves = hangs
            await post.add("flag-set", url=slow.url, stream=StreamId(AYB, "webhooks", "webhook_slow"))
            await post.add("flag-set")
            async with post.sending():
                await post.happen("one")
                await slow.until(lambda: len(slow.asked) == 1)
                await post.happen("two", "three")
                await post.receiver.until(lambda: len(post.receiver.taken) == 3)

    async def test_go_to_another_address_and_stop_when_that_is_said(self, post: Post) -> None:
        await post.add("flag-set", url="http://127.0.0.1:1/closed")
        async with post.sending(waits=[3600.0]):
            await post.happen("one")
            while not (made := await post.said(WebhookDeliveriesMade)):
                await asyncio.sleep(0.05)
            assert (made[-1].failures, made[-1].attempts[-1].failure) == (1, "unreachable")
            # Nobody waits an hour for what was mended.
            await post.do(ChangeWebhook(url=post.receiver.url))
            await post.receiver.until(lambda: len(post.receiver.taken) == 1)
            await post.do(DisableWebhook(because="asked"))


class Late(KafkaLogReader):
    """A reader that may be kept from hearing of changes to webhooks for a while, as a process is that was stopped, or has much to do."""

    hears: asyncio.Event

    async def batches(self, topics: Sequence[str], start: Any, **how: Any) -> AsyncGenerator[AdmittedBatch, None]:
        async with aclosing(super().batches(topics, start, **how)) as batches:
            async for batch in batches:
                if len(topics) == 1:
                    await self.hears.wait()
                yield batch


class TestSenderWhoHearsOfAChangeLate:
    async def test_leaves_out_nothing_that_was_wanted_when_it_happened(self, post: Post) -> None:
        log, flag = post.log, StreamId(AYB, "flags", "one")
        await post.add("flag-set")
        async with KafkaLog(log.kafka) as link:
            late = Late(log.kafka, SchemaTopic(link, prepared_codec(), f"{log.prefix}.schemas"))
            late.hears = asyncio.Event()
            late.hears.set()
            sending = Sending(keyring=post.ring, private=True)
            async with running_webhooks(late, log.dispatch, nowhere, sending, topic_of=log.topic_of):
                await post.happen("one")
                await log.append(flag, FlagRemoved())
                await post.happen("one")
                await post.receiver.until(lambda: len(post.receiver.taken) == 2)
                late.hears.clear()
                await post.do(ChangeWebhook(types=("flag-set", "flag-removed")))
                await log.append(flag, FlagRemoved())
                await post.happen("one")
                # It has passed over what it did not know to be wanted.
                await post.receiver.until(lambda: len(post.receiver.taken) == 3)
                late.hears.set()
                await post.receiver.until(lambda: any(event["type"] == "flag-removed.v1" for _, event in post.receiver.taken))
        # The first time that it was removed nobody wanted to know.
        assert {event["aybizaversion"] for _, event in post.receiver.taken} == {1, 3, 4, 5}

    async def test_goes_on_at_the_new_address_from_what_is_on_record(self, post: Post) -> None:
        async with receiver() as new:
            await post.add("flag-set")
            async with post.sending():
                await post.happen("one")
                await post.receiver.until(lambda: len(post.receiver.taken) == 1)
                await post.do(ChangeWebhook(url=new.url))
                await post.happen("two")
                await new.until(lambda: "flags/two" in new.subjects)


class TestSchedule:
    def test_waits_longer_each_time_and_gives_up_after_days(self) -> None:
        waits = [wait_seconds(at, "e", WAITS_SECONDS) for at in range(1, len(WAITS_SECONDS) + 2)]
        assert waits.pop() is None
        assert [each for each in waits if each is not None] == sorted(each for each in waits if each is not None)
        assert 2 * 86_400 < sum(each or 0 for each in waits) < 4.5 * 86_400

    def test_is_the_same_for_whoever_takes_over_and_another_for_other_events(self) -> None:
        assert wait_seconds(3, "e", WAITS_SECONDS) == wait_seconds(3, "e", WAITS_SECONDS)
        assert len({wait_seconds(3, f"e{at}", WAITS_SECONDS) for at in range(20)}) == 20

    def test_heeds_what_the_address_asks_for_within_reason(self) -> None:
        assert wait_seconds(1, "e", WAITS_SECONDS, asked=100) == 100
        assert wait_seconds(1, "e", WAITS_SECONDS, asked=1e7) == 3_600
