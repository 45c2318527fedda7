"""The voice worker: takes rings and media sockets, and holds the calls that are under way in this process."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import APIRouter

from commands.spool.spool import Spool
from events.calls.ending import EndedBy, Stage
from events.streams import StreamId
from realtime.carrier import twiml
from realtime.carrier.media_socket import MediaSocket, StartRefused, Transport
from realtime.carrier.media_streams import Start
from realtime.carrier.reception import NOT_NOW, Reception, ReceptionPorts, Ringing
from realtime.carrier.status import leg_in, was_answered
from realtime.carrier.webhook import SignatureCheck, router
from realtime.hearing import vad
from realtime.loop.conductor import CallInHand, Conductor, Engines
from realtime.loop.facts_queue import FactsQueue, Sender
from realtime.machine import briefing as briefings
from realtime.machine.briefing import Briefing
from realtime.ports import Tools
from realtime.thinking.guardrails import guardrails
from realtime.thinking.models import rules

log = structlog.get_logger()

_NOBODY_ANSWERED = "We are sorry, nobody can take your call at the moment. Please call again later. Goodbye."
_SORRY = "We are sorry, our connection broke. Please call again. Goodbye."
# The carrier asks what follows within seconds of a stream's end.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPorts:
    """`tools` and `models` are made from an organisation's id and an agent's configuration; `models`: logical name to provider's id.

    `spool` is where facts wait on disk for a log that is away; without one they wait in memory alone.
    """

    engines: Engines
    reception: ReceptionPorts
    tools: Callable[[str, Mapping[str, Any]], Tools]
    models: Callable[[Mapping[str, Any]], Mapping[str, str]]
    signed: SignatureCheck
    spool: Spool | None = None


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
        self._draining = False

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

    def health(self) -> Mapping[str, int]:
        """Figures for an operator: calls under way, rings without a stream yet, and everything counted so far."""
        spool = self._ports.spool
        return {"live-calls": len(self._live), "ringing": len(self._ringing), **self.counters, **(spool.health() if spool else {})}

    # --- the webhook's questions ---

    async def ring(self, call_sid: str, caller: str, number: str) -> str:
        taken = any(each.call_sid == call_sid for each in self._ringing.values())
        if not self.takes_calls and not taken:
            self.counters["rings-without-spool"] += 1
            return twiml.say_and_hang_up(NOT_NOW)
        document, ringing = await self._reception.ring(call_sid, caller, number)
        if ringing is None:
            return document
        call_id = ringing.stream.id
        if call_id in self._ended:
            return twiml.HANG_UP
        if call_id not in self._ringing and call_id not in self._live:
            self.counters["rings"] += 1
            asyncio.get_running_loop().call_later(self._settings.connect_within_seconds, self._never_connected, call_id)
        self._ringing[call_id] = ringing
        return document

    async def next(self, call_id: str, organisation_id: str) -> str:
        if call_id in self._ended:
            words = self._ended[call_id]
            return twiml.say_and_hang_up(words) if words else twiml.HANG_UP
        if ringing := self._ringing.pop(call_id, None):
            await self._reception.never_connected(ringing, "media-never-started", EndedBy.CARRIER)
        elif live := self._live.get(call_id):
            live.conductor.media_ended("media-lost", EndedBy.CARRIER, billable=False)
            live.socket.shut("the carrier asks what follows")
        elif organisation_id:
            await self._reception.worker_lost(StreamId(organisation_id, "calls", call_id))
        self.counters["streams-lost"] += 1
        return twiml.say_and_hang_up(_SORRY)

    async def over(self, call_sid: str) -> None:
        for call_id, ringing in list(self._ringing.items()):
            if ringing.call_sid == call_sid:
                del self._ringing[call_id]
                await self._reception.never_connected(ringing, "caller-hung-up", EndedBy.CALLER)
                return
        # Whoever has the call says why it ended, and says so first. Where nobody does any more, this is all that is known.
        asyncio.get_running_loop().call_later(self._settings.end_grace_seconds, self._carrier_ended, call_sid)

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
        ringing = self._ringing.pop(call_id, None)
        if ringing is None:
            raise StartRefused("call-unknown")
        call, sender = self._in_hand(ringing, start.start.stream_sid), self._sender(ringing, start.start.stream_sid)
        facts = FactsQueue(ports.dispatch, sender, self.counters, spool=self._ports.spool)
        conductor = Conductor(call, self._ports.engines, facts, socket, self.counters)
        task = self._spawn(conductor.run(), f"call {call_id}")
        task.add_done_callback(lambda done: self._call_done(call_id, done))
        self._live[call_id] = _Live(conductor=conductor, facts=facts, socket=socket, task=task)
        self.counters["calls"] += 1
        return conductor

    def closing(self, call_id: str, words: str) -> None:
        """The call has closed its stream; the carrier will ask what follows."""
        self._ended[call_id] = words
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    async def idle(self) -> None:
        """Wait until nothing of any call is left to be done."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """End the calls under way, and give what they have to say to the log as much time as it is allowed."""
        self._draining = True
        for call_id, live in list(self._live.items()):
            self.closing(call_id, _SORRY)
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
        await self._settle_spool()

    async def _settle_spool(self) -> None:
        if self._ports.spool is None:
            return
        try:
            async with asyncio.timeout(self._settings.stop_within_seconds):
                await self._ports.spool.settled()
        except TimeoutError:
            log.exception("facts of calls were lost: neither the log nor the spool takes them")

    # --- within ---

    def _in_hand(self, ringing: Ringing, stream_sid: str) -> CallInHand:
        configuration = ringing.route.configuration
        tools = self._ports.tools(ringing.stream.tenant, configuration)
        language = briefings.section(configuration, "language")
        vocabulary = configuration.get("vocabulary")
        return CallInHand(
            briefing=self._briefing(ringing, tools), stream=ringing.stream, call_sid=ringing.call_sid, stream_sid=stream_sid,
            language=str(language.get("primary") or "en-US"), voice=briefings.voice(configuration), tools=tools,
            vocabulary=tuple(map(str, vocabulary)) if isinstance(vocabulary, list) else (), hearing=_hearing(configuration),
            subject=ringing.subject, told_at=self._ports.reception.addresses.leg_url(ringing.stream),
            agent_version_hash=ringing.route.version_hash, flags=ringing.route.flags,
        )  # fmt: skip

    def _briefing(self, ringing: Ringing, tools: Tools) -> Briefing:
        route, engines, keyring = ringing.route, self._ports.engines, self._ports.reception.keyring
        configuration = route.configuration
        automation, recording = briefings.section(configuration, "automation"), briefings.section(configuration, "recording")
        subject, keypad = ringing.subject, briefings.section(configuration, "keypad")
        return Briefing(
            call_id=ringing.stream.id, caller_ref=ringing.caller_ref, caller=keyring.seal(subject, ringing.caller),
            worker=self._settings.name, recogniser=engines.recogniser.name, model_provider=engines.model.name, voice=engines.voice.name,
            embedded=engines.recogniser.embedded or engines.model.embedded or engines.voice.embedded,
            system_prompt=briefings.system_prompt(configuration), thresholds=briefings.thresholds(configuration),
            wording=briefings.wording(configuration, route.organisation_name, route.flags), models=self._ports.models(configuration),
            seal=lambda text: keyring.seal(subject, text), tools=tuple(tools.offered()) if automation.get("tools_enabled", True) else (),
            digits_as_words=bool(keypad.get("words", False)),
            captures_digits=bool(keypad.get("capture", False)) and engines.digits is not None,
            destinations=briefings.destinations(configuration),
            rules=rules(configuration), guardrails=guardrails(configuration),
            ask_to_record=bool(recording.get("ask", True)), code_execution=bool(automation.get("code_execution", False)),
        )  # fmt: skip

    def _sender(self, ringing: Ringing, stream_sid: str) -> Sender:
        consents = StreamId(ringing.stream.tenant, "consents", ringing.caller_ref)
        return Sender(
            call=ringing.stream, consents=consents, incarnation=stream_sid, actor=f"worker/{self._settings.name}",
            now=self._ports.reception.now,
        )  # fmt: skip

    def _call_done(self, call_id: str, task: asyncio.Task[None]) -> None:
        live = self._live.pop(call_id, None)
        if task.cancelled():
            return
        if (fault := task.exception()) is not None:
            # One call's bug is that call's end: the carrier asks what follows and hears that we are sorry.
            self.counters["calls-crashed"] += 1
            log.error("a call crashed", call_id=call_id, exc_info=fault)
            if live is not None:
                self.closing(call_id, _SORRY)
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
        if not self._draining:
            self._spawn(self._end_unseen(call_sid), f"end of the carrier's call {call_sid}")

    async def _end_unseen(self, call_sid: str) -> None:
        if (stream := await self._reception.found(call_sid)) is not None:
            await self._reception.end(stream, "carrier-reported-end", EndedBy.CARRIER, Stage.CONVERSATION)

    def _never_connected(self, call_id: str) -> None:
        if ringing := self._ringing.pop(call_id, None):
            self.counters["rings-without-stream"] += 1
            ended = self._reception.never_connected(ringing, "media-never-started", EndedBy.CARRIER)
            self._spawn(ended, f"end of call {call_id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _hearing(configuration: Mapping[str, Any]) -> vad.Thresholds:
    given = briefings.thresholds(configuration)
    return vad.Thresholds(
        start_probability=given.interruption_threshold, start_ms=given.speech_start_ms, stop_ms=given.speech_stop_ms + vad.ALONE_MS,
        quiet_ms=given.speech_stop_ms,
    )  # fmt: skip
