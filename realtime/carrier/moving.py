"""A call that nobody has and of which the carrier does not ask what follows: it is made to ask, or ended by the carrier's word."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from commands.calls.control import LEG_IS_OVER
from commands.dispatch import LogUnavailable
from commands.ports import LogAway
from events.calls.control import CallTransferred
from events.calls.ending import EndedBy, Stage
from events.calls.ringing import CallAnswered, CallResumed
from events.streams import StreamId
from realtime.carrier.ports import LiveCarrier
from realtime.carrier.reception import Reception
from realtime.carrier.taking_up import NothingToTakeUp, Returning, TakingUp
from realtime.ports import EngineUnavailable

log = structlog.get_logger()
_V = TypeVar("_V")

IN_PROGRESS = "in-progress"
_STREAM_IS_OVER = frozenset({"stream-stopped", "stream-error"})
_REMEMBERED = 10_000
_AT_ONCE = 8


def named(node: str, address: str, pid: int) -> str:
    """A worker's name in each call's record: by it others know where to ask whether it lives."""
    return f"{node}@{address}-{pid}"


def address_in(worker: str) -> str:
    """Where the process of that name answers others; empty where its name does not say."""
    return worker.partition("@")[2].rpartition("-")[0]


async def lives_for_all_we_know(_address: str) -> bool:
    """Where nobody can be asked, nobody is taken for dead."""
    return True


@dataclass(slots=True, kw_only=True)
class Moving:
    """`lives` asks the process at an address; `holds`: whether a call's media stream, or the next one, is this process's.

    A call is moved once for each media stream that it lost. `grace_seconds`: how long the carrier usually needs to ask by itself.
    """

    reception: Reception
    taking_up: TakingUp
    carrier: LiveCarrier
    counters: Counter[str]
    holds: Callable[[str], bool]
    lives: Callable[[str], Awaitable[bool]]
    grace_seconds: float = 3.0
    ask_again_seconds: float = 30.0
    _asked: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _moved: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def told(self, stream: StreamId, fields: Mapping[str, str]) -> None:
        """The carrier tells of a media stream. One that is over leads to a question of the carrier's, or the call is moved."""
        stream_sid = fields.get("StreamSid", "")
        if fields.get("StreamEvent") not in _STREAM_IS_OVER or not stream_sid or self.holds(stream.id):
            return
        await asyncio.sleep(self.grace_seconds)
        await self.bring(stream, stream_sid, lambda last: last.stream_sid == stream_sid)

    async def bring(self, stream: StreamId, why: str, lost: Callable[[CallAnswered | CallResumed], bool]) -> None:
        """Move the call, or end it, if by its facts `lost` holds of whoever had it last. `why`: what is asked once in a while only."""
        if self.holds(stream.id) or not self._again(f"{stream.id}/{why}"):
            return
        async with self._room:
            try:
                # One that was taken up too often is brought as well: to whoever tells it that we are sorry.
                returning = await self.taking_up.find(stream, "", anyhow=True)
                await self._bring(returning, lost)
            except NothingToTakeUp:
                return
            except (LogUnavailable, LogAway, TimeoutError, EngineUnavailable) as cause:
                self._put_off(f"{stream.id}/{why}", stream, cause)

    async def _bring(self, returning: Returning, lost: Callable[[CallAnswered | CallResumed], bool]) -> None:
        ringing, facts = returning.ringing, [each.fact for each in returning.facts]
        last = next(fact for fact in reversed(facts) if isinstance(fact, CallAnswered | CallResumed))
        if not lost(last) or any(isinstance(fact, CallTransferred) for fact in facts):
            return
        if (address := address_in(last.worker)) and await self.lives(address):
            return
        status = await self.carrier.standing(ringing.call_sid)
        if status in LEG_IS_OVER:
            self.counters["calls-ended-unheard"] += 1
            await self.reception.end(
                ringing.stream, "carrier-reported-end", EndedBy.CARRIER, Stage.CONVERSATION, stream_sid=last.stream_sid,
                duration_ms=returning.past_ms,
            )  # fmt: skip
        elif status == IN_PROGRESS and last.stream_sid not in self._moved and not self.holds(ringing.stream.id):
            _remember(self._moved, last.stream_sid, None)
            try:
                moved = await self.carrier.move(ringing.call_sid, self.taking_up.ports.addresses.next_url(ringing.stream, returning.since))
            except EngineUnavailable:
                del self._moved[last.stream_sid]
                raise
            self.counters["calls-moved" if moved else "moves-too-late"] += 1
            log.info("a call was moved: its worker is silent", call_id=ringing.stream.id, worker=last.worker, moved=moved)

    async def ask(self, stream: StreamId, call_sid: str, stage: Stage) -> None:
        """End a call of which nothing is heard any more, if the carrier says that it is over."""
        if self.holds(stream.id) or not self._again(stream.id):
            return
        async with self._room:
            try:
                status = await self.carrier.standing(call_sid)
            except EngineUnavailable as cause:
                self._put_off(stream.id, stream, cause)
                return
        if status in LEG_IS_OVER:
            self.counters["calls-ended-unheard"] += 1
            await self.reception.end(stream, "carrier-reported-end", EndedBy.CARRIER, stage)

    def _again(self, key: str) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._asked.get(key, -self.ask_again_seconds) < self.ask_again_seconds:
            return False
        _remember(self._asked, key, now)
        return True

    def _put_off(self, key: str, stream: StreamId, cause: Exception) -> None:
        self._asked.pop(key, None)
        self.counters["moves-put-off"] += 1
        log.warning("a call without a worker waits", call_id=stream.id, cause=type(cause).__name__)


def _remember(known: OrderedDict[str, _V], key: str, value: _V) -> None:
    known[key] = value
    while len(known) > _REMEMBERED:
        known.popitem(last=False)


def moving_where_possible(
    reception: Reception, taking_up: TakingUp | None, carrier: LiveCarrier | None, counters: Counter[str],
    holds: Callable[[str], bool], lives: Callable[[str], Awaitable[bool]],
) -> Moving | None:  # fmt: skip
    """None where no call is taken up, or the carrier takes no orders."""
    if taking_up is None or carrier is None:
        return None
    return Moving(reception=reception, taking_up=taking_up, carrier=carrier, counters=counters, holds=holds, lives=lives)
