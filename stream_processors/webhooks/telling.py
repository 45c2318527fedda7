"""Tells one address what happens: every event at least once, in order within its stream, until it is taken.

What is not taken is sent again, and what follows waits: an address misses nothing because it was away. How far it is goes on the
log from time to time, in one fact for many events, so after a crash some are sent again, under the same names.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from commands.decider import CommandRefused
from commands.dispatch import CommitInDoubt, LogUnavailable, Order
from commands.webhooks import WEBHOOKS, DisableWebhook, RecordDeliveries, Webhook, WebhookCommand
from events.recorded import Recorded
from events.registry import Fact, type_of
from events.sealing import digest_of
from events.streams import StreamId
from events.webhooks import Attempt, WebhookPingAsked
from stream_processors.webhooks.ports import Heard, Message, World
from stream_processors.webhooks.schedule import wait_seconds

log = structlog.get_logger()
ACTOR = "processor/webhooks"
# Streams at once that one address is told of.
_AT_ONCE = 16
_REPORT_ATTEMPTS = 100
_REPORT_AFTER = timedelta(seconds=10)
# Facts that the address did not want, after which its place is kept all the same; or, where it stops, after fewer of them.
_PASSED_OVER = 20_000
_WORTH_A_FACT = 1_000
_AGAIN_SECONDS = 0.5
_LAST_WORDS_SECONDS = 2.0


class Told(Exception):
    """Somebody else tells this address now, or nobody shall: the log said so."""


class Earlier(NamedTuple):
    """What a webhook wanted before it was changed."""

    types: tuple[str, ...]
    until: datetime


class Teller:
    """Tells the address of one webhook. `webhook` is replaced as facts about it come; `turn` is the last one that it knows of."""

    def __init__(
        self, world: World, stream: StreamId, webhook: Webhook, added_at: datetime, earlier: Sequence[Earlier] = ()
    ) -> None:  # fmt: skip
        self.webhook = webhook
        self.turn = webhook.turn
        self.changed = asyncio.Event()
        self._world = world
        self._stream = stream
        self._since = webhook.since or added_at
        self._earlier = earlier
        self._place = webhook.after
        self._name = ""
        self._failures = webhook.failures
        self._failing_since = webhook.failing_since
        self._attempts: list[Attempt] = []
        self._delivered = 0
        self._passed = 0
        self._asked_to_wait = 0.0
        self._gone = False

    async def run(self) -> None:
        """Until cancelled, or nothing is to be told any more. Raises Told, and LogAway."""
        try:
            if not self._place:
                self._place = await self._world.facts.at(self._since)
            while True:
                left = await self._told_until_refused()
                while left:
                    await self._wait_for_another_try(left[0])
                    left = await self._tell(left)
                    await self._report()
        except asyncio.CancelledError:
            try:
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await self._report()
            except (TimeoutError, Told):
                pass
            raise

    async def _told_until_refused(self) -> list[Recorded[Fact]]:
        """What was not taken at first."""
        coming: asyncio.Queue[Heard | None] = asyncio.Queue(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._pump(coming), name=f"read for {self._stream.id}")
            try:
                while True:
                    heard = [await coming.get()]
                    while not coming.empty():
                        heard.append(coming.get_nowait())
                    facts = [each for each in heard if each is not None]
                    left = await self._tell([each.recorded for each in facts if self._is_wanted(each.recorded)])
                    if facts:
                        self._name = facts[-1].name
                        self._passed += len(facts)
                    if left:
                        # What was not taken is in hand; the place behind it counts only when it has been.
                        return left
                    if self._is_time_to_report():
                        await self._report()
            finally:
                pump.cancel()

    async def _pump(self, coming: asyncio.Queue[Heard | None]) -> None:
        place = await self._reached()
        async with aclosing(self._world.facts.follow(self._stream.tenant, place)) as facts:
            async for fact in facts:
                await coming.put(fact)

    def _is_wanted(self, recorded: Recorded[Fact]) -> bool:
        kind = type_of(recorded.fact)
        if kind.room == WEBHOOKS.room:
            # What is told of telling would never end.
            return isinstance(recorded.fact, WebhookPingAsked) and recorded.stream == self._stream and recorded.appended_at >= self._since
        # Wanted by now, and when it happened: what was not is not sent because it lies behind the place from which to go on.
        then = next((each.types for each in self._earlier if recorded.appended_at < each.until), ())
        wanted = all(not types or kind.ce_type in types or kind.name in types for types in (self.webhook.types, then))
        return wanted and recorded.appended_at >= self._since

    async def _tell(self, facts: Sequence[Recorded[Fact]]) -> list[Recorded[Fact]]:
        """Tell of the facts, of each stream in order, and give back those that were not taken."""
        streams: dict[StreamId, list[Recorded[Fact]]] = {}
        for fact in facts:
            streams.setdefault(fact.stream, []).append(fact)
        taken: set[int] = set()
        self._asked_to_wait = 0.0
        async with asyncio.TaskGroup() as tasks:
            for each in streams.values():
                tasks.create_task(self._tell_of_a_stream(each, taken), name=f"tell {self._stream.id}")
        if self._gone:
            await self._give_up("gone")
        left = [fact for fact in facts if id(fact) not in taken]
        if left:
            self._failing_since = self._failing_since or self._world.now()
            self._failures += 1
        elif facts:
            self._failures, self._failing_since = 0, None
        return left

    async def _tell_of_a_stream(self, facts: Sequence[Recorded[Fact]], taken: set[int]) -> None:
        for fact in facts:
            name, at = str(fact.event_id), self._world.now()
            message = Message(name=name, body=self._world.envelope(fact), secrets=self._secrets(at))
            answer = await self._world.post(self.webhook.url, message)
            self._attempts.append(Attempt(event=name, at=at, took_ms=answer.took_ms, status=answer.status, failure=answer.failure))
            if answer.failure:
                self._asked_to_wait = max(self._asked_to_wait, answer.wait_seconds)
                self._gone = self._gone or answer.gone
                return
            self._delivered += 1
            taken.add(id(fact))

    def _secrets(self, at: datetime) -> tuple[str, ...]:
        webhook, tenant = self.webhook, self._stream.tenant
        if webhook.old_secret is None or webhook.old_until is None or webhook.old_until <= at:
            return (self._world.opened(tenant, webhook.secret),)
        return self._world.opened(tenant, webhook.secret), self._world.opened(tenant, webhook.old_secret)

    async def _wait_for_another_try(self, first: Recorded[Fact]) -> None:
        """Returns when the address may be asked again: its time has come, or somebody changed something about it."""
        wait = wait_seconds(self._failures, str(first.event_id), self._world.waits_seconds, asked=self._asked_to_wait)
        if wait is None:
            await self._give_up("failing")
            return
        await self._report(in_hand=True)
        self.changed.clear()
        try:
            async with asyncio.timeout(wait):
                await self.changed.wait()
        except TimeoutError:
            return

    async def _give_up(self, because: str) -> None:
        await self._report(in_hand=True)
        log.warning("webhook-disabled", tenant_id=self._stream.tenant, webhook=self._stream.id, because=because)
        await self._send(DisableWebhook(because=because, turn=self.turn))
        raise Told

    def _is_time_to_report(self) -> bool:
        if len(self._attempts) >= _REPORT_ATTEMPTS or self._passed >= _PASSED_OVER:
            return True
        return bool(self._attempts) and self._world.now() - self._attempts[0].at >= _REPORT_AFTER

    async def _reached(self) -> str:
        """The place behind everything that was dealt with, for ever."""
        if self._name:
            self._place, self._name = await self._world.facts.lasting(self._name), ""
        return self._place

    async def _report(self, *, in_hand: bool = False) -> None:
        """Say on the log what became of the events, and how far the address is, unless some that it was not given yet are `in_hand`."""
        if not self._attempts and self._passed < _WORTH_A_FACT:
            return
        after = "" if in_hand or self._failures else await self._reached()
        command = RecordDeliveries(
            turn=self.turn, after=after, delivered=self._delivered, failures=self._failures, failing_since=self._failing_since,
            attempts=tuple(self._attempts),
        )  # fmt: skip
        self._attempts, self._delivered = [], 0
        if after:
            self._passed = 0
        await self._send(command)

    async def _send(self, command: WebhookCommand) -> None:
        world = self._world
        order = Order(command_id=world.draw(16), digest=digest_of(repr(command).encode()), actor=ACTOR, occurred_at=world.now())
        # Its own fact may be read before the answer is.
        self.turn += 1
        while True:
            try:
                committed = await world.dispatch(WEBHOOKS, self._stream, command, order)
            except (LogUnavailable, CommitInDoubt):
                await asyncio.sleep(_AGAIN_SECONDS)
            except CommandRefused as refusal:
                log.info("webhook-told-by-another", webhook=self._stream.id, code=refusal.code)
                raise Told from refusal
            else:
                if not committed.facts and not committed.repeated:
                    self.turn -= 1
                return
