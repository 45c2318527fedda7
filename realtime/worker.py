"""The voice worker: takes rings and media sockets, and holds the calls that are under way in this process."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import APIRouter

from commands.spool.spool import Spool
from events.calls.ending import EndedBy
from events.streams import StreamId
from realtime.carrier import twiml
from realtime.carrier.admission import Door
from realtime.carrier.media_socket import MediaSocket, StartRefused, Transport
from realtime.carrier.media_streams import Start
from realtime.carrier.moving import lives_for_all_we_know, moving_where_possible
from realtime.carrier.ports import CallHistory, LiveCarrier
from realtime.carrier.reception import NOT_NOW, Reception, ReceptionPorts, Ringing
from realtime.carrier.status import leg_in, was_answered
from realtime.carrier.streamless import SORRY, Patience, Streamless
from realtime.carrier.taking_up import TakingUp
from realtime.carrier.webhook import SignatureCheck, router
from realtime.loop.conductor import Conductor, Engines
from realtime.loop.facts_queue import FactsQueue
from realtime.loop.preparing import Preparing
from realtime.loop.settling import settled
from realtime.ports import Tools

log = structlog.get_logger()

_NOBODY_ANSWERED = "We are sorry, nobody can take your call at the moment. Please call again later. Goodbye."
# The carrier asks what follows within seconds of a stream's end.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPorts:
    """`tools` and `models` are made from an organisation's id and an agent's configuration; `models`: logical name to provider's id.

    `spool` is where facts wait on disk for a log that is away; without one they wait in memory alone. With `history` calls that lost
    their worker are taken up. `others`: whether another worker would take up what this one hands over.
    """

    engines: Engines
    reception: ReceptionPorts
    tools: Callable[[str, Mapping[str, Any]], Tools]
    models: Callable[[Mapping[str, Any]], Mapping[str, str]]
    signed: SignatureCheck
    spool: Spool | None = None
    history: CallHistory | None = None
    others: Callable[[], bool] = lambda: False
    carrier: LiveCarrier | None = None
    lives: Callable[[str], Awaitable[bool]] = lives_for_all_we_know
    door: Door = field(default_factory=Door)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """`name` stands in each call's record. A socket has to start, and a ring to become a stream, within these times.

    `end_grace_seconds`: how long after the carrier said so an end is put on the log that nobody else has put there.
    """

    name: str
    start_within_seconds: float = 5.0
    connect_within_seconds: float = 60.0
    stop_within_seconds: float = 10.0
    end_grace_seconds: float = 5.0
    drain_within_seconds: float = 30.0
    most_redirects: int = 5

    @property
    def patience(self) -> Patience:
        return Patience(connect_within_seconds=self.connect_within_seconds, most_redirects=self.most_redirects)


@dataclass(slots=True, kw_only=True)
class _Live:
    conductor: Conductor
    facts: FactsQueue
    socket: MediaSocket
    task: asyncio.Task[None]


class CallWorker:
    """`router` for the web application, `accept` for each media socket, `stop` at the end."""

    def __init__(self, ports: WorkerPorts, settings: WorkerSettings) -> None:
        self.counters: Counter[str] = Counter()
        self._ports, self._settings = ports, settings
        self._reception = Reception(ports.reception, self.counters)
        self._ringing: dict[str, Ringing] = {}
        self._live: dict[str, _Live] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        reception = ports.reception
        taking_up = None if ports.history is None else TakingUp(reception, ports.history, self.counters, f"worker/{settings.name}")
        self._streamless = Streamless(
            self._reception, taking_up, self._spawn, self.counters, addresses=reception.addresses, patience=settings.patience,
        )  # fmt: skip
        self.moving = moving_where_possible(self._reception, taking_up, ports.carrier, self.counters, self.holds, ports.lives)
        self._preparing = Preparing(
            engines=ports.engines, keyring=reception.keyring, tools=ports.tools, models=ports.models, worker=settings.name,
            leg_url=reception.addresses.leg_url, resumable=taking_up is not None,
        )  # fmt: skip

    @property
    def router(self) -> APIRouter:
        """Twilio's webhooks."""
        return router(self, self._ports.signed, self._ports.reception.addresses.public_url, self.counters)

    @property
    def live_calls(self) -> int:
        return len(self._live)

    @property
    def takes_calls(self) -> bool:
        """Not while the facts of a new call could not be kept, should the log go away."""
        return self._ports.spool is None or self._ports.spool.accepts_calls

    def holds(self, call_id: str) -> bool:
        return call_id in self._live or call_id in self._ringing or call_id in self._streamless

    def health(self) -> Mapping[str, int]:
        """Figures for an operator: calls under way, rings without a stream, facts not on the log yet, and all that was counted."""
        facts, spool = sum(live.facts.waiting for live in self._live.values()), self._ports.spool.health() if self._ports.spool else {}
        return {"live-calls": len(self._live), "ringing": len(self._ringing), "facts-waiting": facts, **self.counters, **spool}

    # --- the webhook's questions ---

    async def ring(self, call_sid: str, caller: str, number: str, asked: int = 0) -> str:
        taken = any(each.call_sid == call_sid for each in self._ringing.values())
        if not taken and (self.draining or not self._ports.door.admits(call_sid, self.counters)):
            return self._streamless.ring_elsewhere(asked, wait=not self.draining)
        if not self.takes_calls and not taken:
            self.counters["rings-without-spool"] += 1
            return twiml.say_and_hang_up(NOT_NOW)
        document, ringing = await self._reception.ring(call_sid, caller, number)
        if ringing is None:
            self._ports.door.left(call_sid)
            return document
        call_id = ringing.stream.id
        if call_id in self._ended:
            return twiml.HANG_UP
        if call_id not in self._ringing and call_id not in self._live:
            self.counters["rings"] += 1
            asyncio.get_running_loop().call_later(self._settings.connect_within_seconds, self._never_connected, call_id)
        self._ringing[call_id] = ringing
        return document

    async def next(self, call_id: str, organisation_id: str, hint: str = "", asked: int = 0) -> str:
        if call_id in self._ended:
            return self._after(call_id)
        live, ringing = self._live.get(call_id), self._ringing.pop(call_id, None)
        if ringing is not None:
            self._ports.door.left(ringing.call_sid)
            await self._reception.never_connected(ringing, "media-never-started", EndedBy.CARRIER)
        elif not self._streamless.resumes:
            await self._lost(live, StreamId(organisation_id, "calls", call_id))
        else:
            if live is not None:
                # The carrier knows before we do that its stream is gone.
                live.conductor.leave("media-lost")
                live.socket.shut("the carrier asks what follows")
                await asyncio.wait([live.task], timeout=self._ports.reception.answer_within_seconds)
            if call_id in self._ended:
                return self._after(call_id)
            return await self._streamless.take_up(StreamId(organisation_id, "calls", call_id), hint, asked, elsewhere=self.draining)
        self.counters["streams-lost"] += 1
        return twiml.say_and_hang_up(SORRY)

    def _after(self, call_id: str) -> str:
        return self._ended[call_id]

    async def _lost(self, live: _Live | None, stream: StreamId) -> None:
        if live is not None:
            live.conductor.media_ended("media-lost", EndedBy.CARRIER, billable=False)
            live.socket.shut("the carrier asks what follows")
        elif stream.tenant:
            await self._reception.worker_lost(stream)

    async def over(self, call_sid: str) -> None:
        for call_id, ringing in list(self._ringing.items()):
            if ringing.call_sid == call_sid:
                del self._ringing[call_id]
                self._ports.door.left(call_sid)
                await self._reception.never_connected(ringing, "caller-hung-up", EndedBy.CALLER)
                return
        await self._streamless.over(call_sid)
        # Whoever has the call says why it ended, and says so first. Where nobody does any more, this is all that is known.
        asyncio.get_running_loop().call_later(self._settings.end_grace_seconds, self._carrier_ended, call_sid)

    async def stream(self, call_id: str, organisation_id: str, fields: Mapping[str, str]) -> None:
        if self.moving is not None and call_id not in self._ended and not self.draining:
            self._spawn(self.moving.told(StreamId(organisation_id, "calls", call_id), fields), f"stream of call {call_id}")

    async def leg(self, call_id: str, organisation_id: str, fields: Mapping[str, str]) -> str:
        if (told := leg_in(fields)) is not None:
            await self._reception.leg(StreamId(organisation_id, "calls", call_id), told)
        return twiml.HANG_UP if was_answered(fields) else twiml.say_and_hang_up(_NOBODY_ANSWERED)

    # --- media sockets ---

    def accept(self, transport: Transport) -> MediaSocket:
        """A socket of the carrier's; what it receives is to be given to the answer."""
        return MediaSocket(transport, self, self.counters, start_within_seconds=self._settings.start_within_seconds)

    def begin(self, start: Start, socket: MediaSocket) -> Conductor:
        """Raises TokenRefused or StartRefused."""
        ports = self._ports.reception
        token = start.start.custom_parameters.get("token", "")
        call_id = ports.tokens.redeem(token, start.start.call_sid, ports.now().timestamp())
        if call_id in self._live:
            raise StartRefused("call-has-a-stream")
        returning = self._streamless.started(call_id)
        ringing = self._ringing.pop(call_id, None) or (None if returning is None else returning.ringing)
        if ringing is None:
            raise StartRefused("call-unknown")
        stream_sid = start.start.stream_sid
        call = self._preparing.in_hand(ringing, stream_sid, began_ms=0 if returning is None else returning.age_ms(ports.now()))
        sender = self._reception.sender(ringing, stream_sid, self._settings.name)
        facts = FactsQueue(ports.dispatch, sender, self.counters, spool=self._ports.spool)
        takes_over = None if returning is None else self._streamless.takes_over(returning, call, facts)
        conductor = Conductor(call, self._ports.engines, facts, socket, self.counters, takes_over)
        task = self._spawn(conductor.run(), f"call {call_id}")
        task.add_done_callback(lambda done: self._call_done(call_id, done))
        self._live[call_id] = _Live(conductor=conductor, facts=facts, socket=socket, task=task)
        self.counters["calls"] += 1
        return conductor

    def closing(self, call_id: str, words: str, language: str = "") -> None:
        """The call has closed its stream; the carrier will ask what follows."""
        self._ended[call_id] = twiml.say_and_hang_up(words, language) if words else twiml.HANG_UP
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    async def idle(self) -> None:
        """Wait until nothing of any call is left to be done."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def drain(self) -> None:
        """Take no more calls, and finish those under way within their time; what is left is handed over, where somebody is there for it."""
        self.draining = True
        if not self._streamless.resumes or not self._ports.others():
            return
        if self._live:
            await asyncio.wait([each.task for each in self._live.values()], timeout=self._settings.drain_within_seconds)
        for each in self._live.values():
            self.counters["calls-handed-over"] += 1
            each.conductor.leave("worker-stops")
            each.socket.shut("the worker stops")

    async def stop(self) -> None:
        """Drain, end what nobody takes up, and give it all as much time on its way to the log as it is allowed."""
        await self.drain()
        for call_id, live in [(name, each) for name, each in self._live.items() if not each.conductor.goes_on]:
            self.closing(call_id, SORRY)
            live.conductor.media_ended("worker-stopped", EndedBy.PLATFORM, billable=False)
            live.socket.shut("the worker stops")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.stop_within_seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            log.error("calls were cut off before the log had all of them", calls=len(left))
            await asyncio.wait(left)
        if self._ports.spool is not None:
            await settled(self._ports.spool, self._settings.stop_within_seconds)

    # --- within ---

    def _call_done(self, call_id: str, task: asyncio.Task[None]) -> None:
        live = self._live.pop(call_id, None)
        if live is not None:
            self._ports.door.left(live.conductor.call_sid)
        if task.cancelled():
            return
        if live is not None and live.conductor.goes_on:
            # Whoever has it now, or will have it, says what follows.
            self._ended.pop(call_id, None)
            if not self.draining:
                self._streamless.left(live.conductor)
            return
        if (fault := task.exception()) is not None:
            # One call's bug is that call's end: the carrier asks what follows and hears that we are sorry.
            self.counters["calls-crashed"] += 1
            log.error("a call crashed", call_id=call_id, exc_info=fault)
            if live is not None:
                self.closing(call_id, SORRY)
                live.socket.shut("internal error")
                self._spawn(self._end_crashed(live), f"end of call {call_id}")
        elif call_id not in self._ended:
            self.closing(call_id, "")

    async def _end_crashed(self, live: _Live) -> None:
        # What it had to say comes before its end, unless the log is away: then it comes late.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._ports.reception.answer_within_seconds):
                await live.facts.send_rest()
        await self._reception.end(live.conductor.stream, "worker-crashed", EndedBy.PLATFORM, live.conductor.state.stage)
        await live.facts.send_rest()

    def _carrier_ended(self, call_sid: str) -> None:
        for live in list(self._live.values()):
            if live.conductor.call_sid == call_sid:
                live.conductor.media_ended("carrier-reported-end", EndedBy.CARRIER, billable=True)
                live.socket.shut("the carrier's call is over")
                return
        if not self.draining:
            self._spawn(self._reception.end_unseen(call_sid), f"end of the carrier's call {call_sid}")

    def _never_connected(self, call_id: str) -> None:
        if ringing := self._ringing.pop(call_id, None):
            self._ports.door.left(ringing.call_sid)
            self.counters["rings-without-stream"] += 1
            ended = self._reception.never_connected(ringing, "media-never-started", EndedBy.CARRIER)
            self._spawn(ended, f"end of call {call_id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
