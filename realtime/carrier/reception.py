"""A ring at the door: whose number it is, which call of ours it becomes, and what the carrier is told to do."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from commands.calls.deciding import CALL_SIDS, CALLS
from commands.calls.orders import EndCall, FindCallSid, NoteTransferLeg, ReceiveCall, ReserveCallSid
from commands.calls.refusals import CallSidReservedAlready
from commands.decider import CommandRefused, Decider
from commands.dispatch import CommitInDoubt, Committed, Dispatch, LogUnavailable, Order
from commands.numbers import NUMBERS, NoteUnassignedCall
from events.calls.ending import EndedBy, Stage
from events.identifiers import derived_id
from events.positions import Position
from events.sealing import KeyRing, digest_of
from events.streams import PLATFORM, StreamId
from realtime.carrier import twiml
from realtime.carrier.routes import Route, Routes
from realtime.carrier.tokens import Tokens
from realtime.loop.facts_queue import Sender
from realtime.loop.tracing import trace_of

log = structlog.get_logger()

_NOT_IN_SERVICE = "The number you have dialled is not in service. Goodbye."
NOT_NOW = "We are sorry, we cannot take your call at the moment. Please call again in a few minutes. Goodbye."
_RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ringing:
    """A call that was received and whose media stream has not come yet."""

    stream: StreamId
    call_sid: str
    caller: str
    caller_ref: str
    route: Route
    rang_at: datetime | None = None

    @property
    def subject(self) -> str:
        """Whose key seals what this caller says."""
        return f"{self.stream.tenant}/{self.caller_ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """How the carrier reaches us: `public_url` without a slash at its end, `media_url` of the media socket."""

    public_url: str
    media_url: str

    def leg_url(self, call: StreamId) -> str:
        """Where the carrier tells of the leg to whom the caller of this call was put through."""
        return f"{self.public_url}/twilio/leg?call={call.id}&of={call.tenant}"

    def stream_url(self, call: StreamId) -> str:
        """Where the carrier tells what becomes of a media stream of this call."""
        return f"{self.public_url}/twilio/stream?call={call.id}&of={call.tenant}"

    def next_url(self, call: StreamId, received: Position | None = None) -> str:
        """`received`: from where on the log has anything of the call."""
        at = "" if received is None else f"&at={received.offset}.{received.fence.term}.{received.fence.claim_id.hex()}"
        return f"{self.public_url}/twilio/voice/next?call={call.id}&of={call.tenant}{at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptionPorts:
    """`new_call_id` makes the id of an organisation's next call, of which this process owns the partition where it owns any."""

    dispatch: Dispatch
    routes: Routes
    keyring: KeyRing
    tokens: Tokens
    addresses: Addresses
    now: Callable[[], datetime]
    new_call_id: Callable[[str], str]
    answer_within_seconds: float = 5.0


class Reception:
    """Answers the carrier within its patience, with or without the log."""

    def __init__(self, ports: ReceptionPorts, counters: Counter[str]) -> None:
        self._ports, self._counters = ports, counters

    async def ring(self, call_sid: str, caller: str, number: str) -> tuple[str, Ringing | None]:
        """The document for a ring, and the call that it announces. A repeated ring gets the same call."""
        try:
            async with asyncio.timeout(self._ports.answer_within_seconds):
                return await self._ring(call_sid, caller, number)
        except (LogUnavailable, CommitInDoubt, TimeoutError) as cause:
            self._counters["rings-without-log"] += 1
            log.warning("a call could not be taken: the log is away", cause=str(cause))
            return twiml.say_and_hang_up(NOT_NOW), None

    async def _ring(self, call_sid: str, caller: str, number: str) -> tuple[str, Ringing | None]:
        ports, rang_at = self._ports, self._ports.now()
        number_ref = ports.keyring.reference(PLATFORM, number)
        route = ports.routes.route(number_ref)
        if route is None:
            return await self._nobody(call_sid, number_ref), None
        stream = await self._reserved(call_sid, route.organisation_id)
        caller_ref = ports.keyring.reference(stream.tenant, caller)
        ringing = Ringing(stream=stream, call_sid=call_sid, caller=caller, caller_ref=caller_ref, route=route, rang_at=rang_at)
        receive = ReceiveCall(
            call_sid=call_sid, caller=ports.keyring.seal(ringing.subject, caller), caller_ref=caller_ref,
            number=ports.keyring.seal(stream.tenant, number), number_ref=number_ref, agent_id=route.agent_id,
            agent_version=route.agent_version, agent_version_hash=route.version_hash, flags=dict(route.flags),
            environment=route.environment,
        )  # fmt: skip
        received = await self._send(CALLS, stream, receive, "receive")
        token = ports.tokens.issue(stream.id, call_sid, ports.now().timestamp())
        at = ports.addresses
        return twiml.connect(at.media_url, token, at.next_url(stream, received.position), at.stream_url(stream)), ringing

    async def _nobody(self, call_sid: str, number_ref: str) -> str:
        self._counters["rings-to-nobody"] += 1
        stream = StreamId(PLATFORM, NUMBERS.category, number_ref)
        try:
            await self._send(NUMBERS, stream, NoteUnassignedCall(call_sid=call_sid), "unassigned")
        except CommandRefused as refusal:
            # It has an owner by now, or an agent that cannot take calls yet: the caller hears the same.
            log.info("a number without an answering agent was rung", code=refusal.code)
        return twiml.say_and_hang_up(_NOT_IN_SERVICE)

    async def _reserved(self, call_sid: str, organisation_id: str) -> StreamId:
        call_id = self._ports.new_call_id(organisation_id)
        reserve = ReserveCallSid(call_id=call_id, organisation_id=organisation_id)
        try:
            await self._send(CALL_SIDS, StreamId(PLATFORM, CALL_SIDS.category, call_sid), reserve, call_id)
        except CallSidReservedAlready as held:
            return StreamId(held.organisation_id, CALLS.category, held.call_id)
        return StreamId(organisation_id, CALLS.category, call_id)

    def sender(self, ringing: Ringing, stream_sid: str, worker: str) -> Sender:
        """In whose name the facts of one media stream are sent."""
        consents = StreamId(ringing.stream.tenant, "consents", ringing.caller_ref)
        return Sender(call=ringing.stream, consents=consents, incarnation=stream_sid, actor=f"worker/{worker}", now=self._ports.now)

    async def never_connected(self, ringing: Ringing, reason: str, ended_by: EndedBy) -> None:
        """A call that rang and has no media stream is over. Where the log is away, the next who asks says so again."""
        await self.end(ringing.stream, reason, ended_by, Stage.RINGING)

    async def worker_lost(self, stream: StreamId) -> None:
        """The worker that had the call is gone, and left its end unsaid."""
        await self.end(stream, "worker-lost", EndedBy.PLATFORM, Stage.CONVERSATION)

    async def found(self, call_sid: str) -> StreamId | None:
        """Our call of the carrier's name; None where there is none, or the log is away."""
        try:
            async with asyncio.timeout(self._ports.answer_within_seconds):
                await self._send(CALL_SIDS, StreamId(PLATFORM, CALL_SIDS.category, call_sid), FindCallSid(), "find")
        except CallSidReservedAlready as held:
            return StreamId(held.organisation_id, CALLS.category, held.call_id)
        except (LogUnavailable, CommitInDoubt, TimeoutError, CommandRefused) as cause:
            log.warning("a call of the carrier's is not known", call_sid=call_sid, cause=str(cause))
        return None

    async def end_unseen(self, call_sid: str) -> None:
        """The carrier's call is over; whoever had it has not said so."""
        if (stream := await self.found(call_sid)) is not None:
            await self.end(stream, "carrier-reported-end", EndedBy.CARRIER, Stage.CONVERSATION)

    async def leg(self, stream: StreamId, told: NoteTransferLeg) -> None:
        """Put on the log what the carrier tells of a leg; where it is away, the carrier's next word says more."""
        try:
            async with asyncio.timeout(self._ports.answer_within_seconds):
                await self._send(CALLS, stream, told, f"leg {told.leg_sid} {told.status} {told.sequence}")
        except (LogUnavailable, CommitInDoubt, TimeoutError, CommandRefused) as cause:
            log.warning("what became of a leg could not be put on the log", stream=str(stream), cause=str(cause))

    async def end(
        self, stream: StreamId, reason: str, ended_by: EndedBy, stage: Stage, *, stream_sid: str = "", duration_ms: int = 0
    ) -> None:  # fmt: skip
        """Put an end on the log that no worker could put there. The first end counts; a call never received has none.

        `stream_sid`: only where this media stream was the call's last.
        """
        end = EndCall(
            reason=reason, ended_by=ended_by, stage=stage, billable=False, duration_ms=duration_ms, recognition_ms=0, stream_sid=stream_sid
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._ports.answer_within_seconds):
                await self._send(CALLS, stream, end, reason)
        except (LogUnavailable, CommitInDoubt, TimeoutError, CommandRefused) as cause:
            log.warning("the end of a call could not be put on the log", stream=str(stream), cause=str(cause))

    async def _send(self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, what: str) -> Committed:
        """Send until it is known how it went; the id makes a repeat harmless. Raises CommandRefused or LogUnavailable."""
        order = Order(
            command_id=derived_id("reception", str(stream), what), digest=digest_of(repr(command).encode()), actor="carrier",
            occurred_at=self._ports.now(), correlation_id=trace_of(stream.id), trace_id=trace_of(stream.id),
        )  # fmt: skip
        while True:
            try:
                return await self._ports.dispatch(decider, stream, command, order)
            except CommitInDoubt:
                await asyncio.sleep(_RETRY_SECONDS)
