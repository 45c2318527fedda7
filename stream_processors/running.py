"""The loop of the process managers: read the log, fold their states, send what is due until its effect is on the log."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

import structlog

from commands.decider import CommandRefused
from commands.dispatch import CommandIdReused, CommitInDoubt, CommitTooLarge, Dispatch, LogUnavailable, Order
from events.codec import BrokenBody
from events.headers import Kind
from events.positions import Position
from events.recorded import Recorded
from events.records import AdmittedBatch, RawRecord, recorded
from events.registry import Fact, UnknownEvent, known_types
from events.sealing import digest_of
from events.streams import InvalidStreamName, topic_of
from stream_processors.manager import DEEPEST, Due, ProcessManager, States
from stream_processors.ports import LogReader

log = structlog.get_logger()

_AT_ONCE = 32
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Processors:
    """Runs process managers over one read of the log, from its beginning: their states are a function of the log.

    While the history that was there at the start is read, nothing is sent; most of what was due then has its effect further on.
    Two processes that run the same managers do no harm: their commands have the same ids.
    """

    def __init__(
        self,
        reader: LogReader,
        dispatch: Dispatch,
        managers: Sequence[ProcessManager[Any]],
        now: Callable[[], datetime],
        *,
        topic_of: Callable[[str], str] = topic_of,
    ) -> None:
        self._reader = reader
        self._dispatch = dispatch
        self._now = now
        self._managers = managers
        self._states: list[States[Any]] = []
        self._topics = sorted({topic_of(room) for manager in managers for room in manager.rooms})
        self._wanted = {kind.name for kind in known_types() if any(kind.cls in manager.facts for manager in managers)}
        self._reached: dict[tuple[str, int], int] = {}
        self._touched: dict[tuple[States[Any], str], None] = {}
        self._sent: dict[tuple[States[Any], str], set[bytes]] = {}
        self._work = asyncio.Event()
        self._settled = asyncio.Condition()
        self._sending = False
        self.caught_up = asyncio.Event()
        self.broken_facts = 0

    async def run(self) -> None:
        """Until cancelled. Begins anew each time it is called."""
        self._states = [States(manager) for manager in self._managers]
        self.caught_up.clear()
        for known in (self._reached, self._touched, self._sent):
            known.clear()
        goal = await self._reader.end_offsets(self._topics)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(goal), name="processors: read and fold")
            tasks.create_task(self._send(), name="processors: send")

    async def wait_for(self, positions: Sequence[Position], timeout_seconds: float) -> bool:
        """Wait until the positions were read and what they made due was answered; False when that was not in time."""
        wanted = [each for each in positions if each.topic in self._topics]

        def done() -> bool:
            read = all(self._reached.get((each.topic, each.partition), 0) > each.offset for each in wanted)
            return read and self.caught_up.is_set() and not self._touched and not self._sending

        try:
            async with asyncio.timeout(timeout_seconds), self._settled:
                await self._settled.wait_for(done)
        except TimeoutError:
            return False
        return True

    async def _read(self, goal: Mapping[tuple[str, int], int]) -> None:
        await self._look_whether_caught_up(goal)
        async with aclosing(self._reader.batches(self._topics, {})) as batches:
            async for batch in batches:
                self._take(batch)
                if not self.caught_up.is_set():
                    await self._look_whether_caught_up(goal)
                elif self._touched:
                    self._work.set()
                async with self._settled:
                    self._settled.notify_all()

    async def _look_whether_caught_up(self, goal: Mapping[tuple[str, int], int]) -> None:
        if all(self._reached.get(place, 0) >= end for place, end in goal.items()):
            self._touched = dict.fromkeys((states, key) for states in self._states for key in states.keys)
            self.caught_up.set()
            self._work.set()

    def _take(self, batch: AdmittedBatch) -> None:
        for raw in batch.records:
            fact = self._decoded(raw)
            if fact is None:
                continue
            for states in self._states:
                key = states.take(fact)
                if key is not None and self.caught_up.is_set():
                    self._touched[states, key] = None
        self._reached[batch.topic, batch.partition] = batch.next_offset

    def _decoded(self, raw: RawRecord) -> Recorded[Fact] | None:
        """None for what no manager wants, and for what cannot be read: no decision rests on it."""
        # By name, whatever the version: an old one becomes today's when it is decoded.
        if raw.kind is not Kind.EVENT or raw.ce_type.rpartition(".v")[0] not in self._wanted:
            return None
        try:
            return recorded(raw, self._reader.codec)
        except (UnknownEvent, BrokenBody, InvalidStreamName) as cause:
            self.broken_facts += 1
            log.warning("fact-broken", topic=raw.topic, partition=raw.partition, offset=raw.offset, reason=str(cause))
            return None

    async def _send(self) -> None:
        failures = 0
        while True:
            await self._work.wait()
            self._work.clear()
            while self._touched:
                some = list(self._touched)[:_AT_ONCE]
                for each in some:
                    del self._touched[each]
                self._sending = True
                again: list[tuple[States[Any], str]] = []
                async with asyncio.TaskGroup() as tasks:
                    for states, key in some:
                        tasks.create_task(self._send_due(states, key, again), name=f"{states.manager.name} {key}")
                self._touched |= dict.fromkeys(again)
                failures = failures + 1 if again else 0
                if again:
                    await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1])
            self._sending = False
            async with self._settled:
                self._settled.notify_all()

    async def _send_due(self, states: States[Any], key: str, again: list[tuple[States[Any], str]]) -> None:
        """Send what is due and was not answered yet; note in `again` a key of which something has to be sent again."""
        name = states.manager.name
        due = {each.command_id(name): each for each in states.due(key)}
        answered = self._sent.get((states, key), set()) & due.keys()
        for command_id, each in due.items():
            if command_id in answered:
                continue
            if each.cause.depth >= DEEPEST:
                log.error("causation-cut", processor=name, stream=str(each.stream), kind=each.kind)
                answered.add(command_id)
            elif await self._dispatched(name, command_id, each):
                answered.add(command_id)
            else:
                again.append((states, key))
        if answered:
            self._sent[states, key] = answered
        else:
            self._sent.pop((states, key), None)

    async def _dispatched(self, name: str, command_id: bytes, due: Due) -> bool:
        """Whether it was answered for good."""
        order = Order(
            command_id=command_id, digest=digest_of(command_id), actor=f"processor/{name}", occurred_at=self._now(),
            correlation_id=due.cause.correlation_id, causation=due.cause.event_id, depth=due.cause.depth + 1,
        )  # fmt: skip
        try:
            await self._dispatch(due.decider, due.stream, due.command, order)
        except (LogUnavailable, CommitInDoubt) as cause:
            log.warning("command-sent-again", processor=name, stream=str(due.stream), kind=due.kind, reason=str(cause))
            return False
        except CommandRefused as refusal:
            log.info("command-refused", processor=name, stream=str(due.stream), kind=due.kind, code=refusal.code)
        except (CommandIdReused, CommitTooLarge) as cause:
            log.warning("command-impossible", processor=name, stream=str(due.stream), kind=due.kind, reason=str(cause))
        return True
