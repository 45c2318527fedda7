"""Calls that go on and have no media stream: taken up for the carrier who asks, waited for, and ended where nobody comes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from commands.calls.refusals import CallOver
from commands.decider import NotFound
from commands.dispatch import LogUnavailable
from commands.ports import LogAway
from events.calls.ending import EndedBy, Stage
from events.streams import StreamId
from realtime.carrier import twiml
from realtime.carrier.reception import NOT_NOW, Addresses, Reception
from realtime.carrier.taking_up import NothingToTakeUp, Returning, TakingUp
from realtime.loop.conductor import Conductor
from realtime.loop.facts_queue import FactsQueue
from realtime.loop.in_hand import CallInHand, TakesOver

log = structlog.get_logger()

SORRY = "We are sorry, our connection broke. Please call again. Goodbye."


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a stream is waited for, and how often the carrier is sent on before we say that we are sorry."""

    connect_within_seconds: float
    most_redirects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """The last media stream of the call was `stream_sid`; `returning`: it was asked for, and another is to come."""

    stream: StreamId
    call_sid: str
    stream_sid: str
    age_ms: int
    returning: Returning | None = None


class Streamless:
    """`spawn` runs what nobody waits for. Without `taking_up` no call is taken up."""

    def __init__(
        self, reception: Reception, taking_up: TakingUp | None, spawn: Callable[[Coroutine[Any, Any, None], str], object],
        counters: Counter[str], *, addresses: Addresses, patience: Patience,
    ) -> None:  # fmt: skip
        self._reception, self._taking_up, self._spawn, self._counters = reception, taking_up, spawn, counters
        self._addresses, self._patience = addresses, patience
        self._waiting: dict[str, _Waiting] = {}

    @property
    def resumes(self) -> bool:
        return self._taking_up is not None

    def __contains__(self, call_id: object) -> bool:
        return call_id in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    async def take_up(self, stream: StreamId, hint: str, asked: int, *, elsewhere: bool) -> str:
        """The document for a carrier that asks what follows. `elsewhere`: another worker is to answer that."""
        again = f"{self._addresses.next_url(stream)}{f'&at={hint}' if hint else ''}&"
        if elsewhere or self._taking_up is None:
            return self._send_on(again, asked, SORRY)
        try:
            returning = await self._taking_up.find(stream, hint)
        except NothingToTakeUp as nothing:
            return await self._nothing(stream, nothing.reason)
        except (LogUnavailable, LogAway, TimeoutError) as cause:
            log.warning("a call waits for the log", call_id=stream.id, cause=str(cause))
            return self._send_on(again, max(asked, 1), SORRY)
        self._wait(_Waiting(
            stream=stream, call_sid=returning.ringing.call_sid, stream_sid=returning.stream_sid, returning=returning,
            age_ms=returning.age_ms(self._taking_up.ports.now()),
        ))  # fmt: skip
        return self._taking_up.document(returning)

    async def _nothing(self, stream: StreamId, reason: str) -> str:
        if reason == CallOver.code:
            return twiml.HANG_UP
        self._counters["streams-lost"] += 1
        log.info("a call cannot be taken up", call_id=stream.id, reason=reason)
        if reason != NotFound.code:
            await self._reception.worker_lost(stream)
        return twiml.say_and_hang_up(SORRY)

    def ring_elsewhere(self, asked: int, *, wait: bool) -> str:
        """Have the carrier ring again: whoever answers then may be another, or there may be a place. Not for ever."""
        return self._send_on(f"{self._addresses.public_url}/twilio/voice?", asked, NOT_NOW, wait=wait)

    def _send_on(self, url: str, asked: int, sorry: str, *, wait: bool = False) -> str:
        self._counters["sent-on"] += 1
        if asked >= self._patience.most_redirects:
            return twiml.say_and_hang_up(sorry)
        return twiml.ask_again(f"{url}again={asked + 1}", 1 if asked or wait else 0)

    def started(self, call_id: str) -> Returning | None:
        """A media stream of the call has come."""
        waiting = self._waiting.pop(call_id, None)
        return None if waiting is None else waiting.returning

    def takes_over(self, returning: Returning, call: CallInHand, facts: FactsQueue) -> TakesOver | None:
        if self._taking_up is None:
            return None
        return partial(self._taking_up.take_over, returning, call.briefing, call.stream_sid, facts, call.began_ms)

    def left(self, conductor: Conductor) -> None:
        """The call was let go of; the carrier will ask what follows, here or elsewhere."""
        self._wait(_Waiting(
            stream=conductor.stream, call_sid=conductor.call_sid, stream_sid=conductor.stream_sid, age_ms=conductor.now_ms()
        ))  # fmt: skip

    async def over(self, call_sid: str) -> None:
        """The carrier says that its call is over."""
        for call_id, waiting in list(self._waiting.items()):
            if waiting.call_sid == call_sid:
                del self._waiting[call_id]
                await self._end(waiting, "caller-hung-up", EndedBy.CALLER)

    def _wait(self, waiting: _Waiting) -> None:
        self._waiting[waiting.stream.id] = waiting
        asyncio.get_running_loop().call_later(self._patience.connect_within_seconds, self._never_came, waiting)

    def _never_came(self, waiting: _Waiting) -> None:
        call_id = waiting.stream.id
        if self._waiting.get(call_id) is waiting:
            del self._waiting[call_id]
            self._spawn(self._end(waiting, "media-lost", EndedBy.CARRIER), f"end of call {call_id}")

    async def _end(self, waiting: _Waiting, reason: str, ended_by: EndedBy) -> None:
        """Where another worker has the call meanwhile, nothing is ended."""
        await self._reception.end(
            waiting.stream, reason, ended_by, Stage.CONVERSATION, stream_sid=waiting.stream_sid, duration_ms=waiting.age_ms
        )
