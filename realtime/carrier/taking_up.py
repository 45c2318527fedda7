"""A call that lost its worker comes to this one: whether it goes on, with what it was, and who had it before."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from commands.calls.deciding import CALLS
from commands.calls.orders import AskToResume, CallCommand, ResumeCall
from commands.decider import CommandRefused
from commands.dispatch import CommitInDoubt, Committed, Order
from commands.ports import HistoryLost, LogAway
from events.calls.ringing import CallAnswered, CallReceived, CallResumed
from events.identifiers import derived_id
from events.positions import InvalidPosition, Position
from events.recorded import Recorded
from events.registry import Fact
from events.sealing import KeyErased, Sealed, digest_of
from events.streams import StreamId
from realtime.carrier import twiml
from realtime.carrier.ports import CallHistory
from realtime.carrier.reception import ReceptionPorts, Ringing
from realtime.carrier.routes import Route, RouteOfThen
from realtime.loop.facts_queue import Accepted, Away, FactsQueue, Outcome
from realtime.machine import resuming
from realtime.machine.briefing import Briefing
from realtime.machine.resuming import Past

log = structlog.get_logger()

_DOUBT_SECONDS = 0.05
# Before the caller hears us again; a log that is slower is told while we talk.
_TAKE_OVER_SECONDS = 1.0


class NothingToTakeUp(Exception):
    """The carrier's question has another answer; `reason` is a refusal's code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Returning:
    """A call that was asked for and whose new media stream has not come yet."""

    ringing: Ringing
    facts: Sequence[Recorded[Fact]]
    answered_at: datetime
    since: Position | None

    @property
    def stream_sid(self) -> str:
        """The media stream that had the call last."""
        return next(each.fact.stream_sid for each in reversed(self.facts) if isinstance(each.fact, CallAnswered | CallResumed))

    def age_ms(self, now: datetime) -> int:
        """Call time, by the clock of whoever has the call now; never before what is on the record."""
        return max(int((now - self.answered_at).total_seconds() * 1000), self.past_ms)

    @property
    def past_ms(self) -> int:
        return max((at for each in self.facts if isinstance(at := getattr(each.fact, "at_ms", None), int)), default=0)


@dataclass(slots=True)
class TakingUp:
    """Finds out what a call was, and puts it on the log that it goes on here."""

    ports: ReceptionPorts
    history: CallHistory
    counters: Counter[str]
    actor: str
    _asked: int = field(default=0)

    async def find(self, stream: StreamId, hint: str, *, anyhow: bool = False) -> Returning:
        """`anyhow`: also a call that lost its worker too often. Raises NothingToTakeUp, LogUnavailable, LogAway, or TimeoutError."""
        async with asyncio.timeout(self.ports.answer_within_seconds):
            try:
                confirmed = await self._ask(stream, AskToResume(anyhow=anyhow))
            except CommandRefused as refusal:
                raise NothingToTakeUp(refusal.code) from refusal
            since = _position(stream, confirmed.position, hint)
            try:
                facts = await self.history(stream, confirmed.position, confirmed.version, since)
            except HistoryLost as lost:
                log.exception("a call cannot be taken up", stream=str(stream), cause=str(lost))
                raise NothingToTakeUp("history-lost") from lost
        return self._returning(stream, facts, since)

    async def _ask(self, stream: StreamId, command: AskToResume) -> Committed:
        self._asked += 1
        order = Order(
            command_id=derived_id("resume", str(stream), self.actor, self.ports.now().isoformat(), str(self._asked)),
            digest=digest_of(repr(command).encode()), actor=self.actor, occurred_at=self.ports.now(),
            correlation_id=derived_id("call", stream.id),
        )  # fmt: skip
        while True:
            try:
                return await self.ports.dispatch(CALLS, stream, command, order)
            except CommitInDoubt:
                await asyncio.sleep(_DOUBT_SECONDS)

    def _returning(self, stream: StreamId, facts: Sequence[Recorded[Fact]], since: Position | None) -> Returning:
        received = next(each.fact for each in facts if isinstance(each.fact, CallReceived))
        answered = next(each for each in facts if isinstance(each.fact, CallAnswered))
        route = self.ports.routes.route(received.number_ref)
        if route is None or route.organisation_id != stream.tenant:
            raise NothingToTakeUp("number-unassigned")
        ringing = Ringing(
            stream=stream, call_sid=received.call_sid, caller=self._opened(received.caller), caller_ref=received.caller_ref,
            route=self._as_it_rang(stream, received, route),
        )  # fmt: skip
        return Returning(ringing=ringing, facts=facts, answered_at=answered.occurred_at, since=since)

    def _as_it_rang(self, stream: StreamId, received: CallReceived, live: Route) -> Route:
        """What was published or switched since is for calls that ring since."""
        version_hash = received.agent_version_hash
        configuration = self.ports.routes.configuration(stream.tenant, received.agent_id, version_hash)
        if configuration is None:
            self.counters["resumes-with-another-version"] += 1
            log.warning(
                "a call goes on with the live version: the one it rang with is not known any more", stream=str(stream),
                rang_with=version_hash, live=live.version_hash,
            )  # fmt: skip
            return live
        return RouteOfThen(
            organisation_id=stream.tenant, organisation_name=live.organisation_name, agent_id=received.agent_id,
            agent_version=received.agent_version, version_hash=version_hash, configuration=configuration, flags=received.flags,
            environment=received.environment,
        )  # fmt: skip

    def document(self, returning: Returning) -> str:
        """Open another media stream for the call."""
        stream, ports = returning.ringing.stream, self.ports
        token = ports.tokens.issue(stream.id, returning.ringing.call_sid, ports.now().timestamp())
        at = ports.addresses
        return twiml.connect(at.media_url, token, at.next_url(stream, returning.since), at.stream_url(stream))

    def fold(self, facts: Sequence[Recorded[Fact]], briefing: Briefing) -> Past:
        """What the call was, in clear."""
        others = [tongue.wording for tongue in briefing.tongues.values() if tongue.wording != briefing.wording]
        return resuming.fold(((each.version, each.fact) for each in facts), briefing.wording, self._opened, others)

    async def take_over(self, returning: Returning, briefing: Briefing, stream_sid: str, queue: FactsQueue, at_ms: int) -> Past | None:
        """The call is this stream's from here: returns what it was up to there, None where it is another's, or over.

        While the log is away the call goes on from what was known when the carrier asked.
        """
        known = self.fold(returning.facts, briefing)
        command = ResumeCall(
            after=known.stream_sid, stream_sid=stream_sid, worker=briefing.worker, recogniser=briefing.recogniser,
            model_provider=briefing.model_provider, voice=briefing.voice, embedded=briefing.embedded, at_ms=at_ms, cause=known.cause,
        )  # fmt: skip
        outcome = await _committed(queue, command)
        if isinstance(outcome, Away):
            self.counters["calls-resumed-without-log"] += 1
            return known
        if not isinstance(outcome, Accepted):
            self.counters["resumes-refused"] += 1
            return None
        self.counters["calls-resumed"] += 1
        facts = [*returning.facts, *outcome.facts]
        if not outcome.facts or facts[-1].version != len(facts):
            # Somebody spoke of the call between the carrier's question and our answer to it.
            facts = list(await self._whole(returning, outcome) or facts)
        return self.fold(facts, briefing)

    async def _whole(self, returning: Returning, outcome: Accepted) -> Sequence[Recorded[Fact]]:
        stream = returning.ringing.stream
        if outcome.position is None:
            return ()
        try:
            async with asyncio.timeout(_TAKE_OVER_SECONDS):
                return await self.history(stream, outcome.position, outcome.version, returning.facts[0].position)
        except (LogAway, HistoryLost, TimeoutError) as cause:
            log.warning("a call goes on from what was known when it was asked for", stream=str(stream), cause=str(cause))
            return ()

    def _opened(self, sealed: Sealed[str]) -> str:
        try:
            return self.ports.keyring.open(sealed)
        except KeyErased:
            return ""


async def _committed(queue: FactsQueue, command: CallCommand) -> Outcome:
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    queue.commit(command, lambda outcome: None if told.done() else told.set_result(outcome), declinable=False)
    try:
        async with asyncio.timeout(_TAKE_OVER_SECONDS):
            outcome: Outcome = await told
            return outcome
    except TimeoutError:
        return Away()


def _position(stream: StreamId, confirmed: Position, hint: str) -> Position | None:
    """Where the call was received, as the address says that the carrier asked at."""
    try:
        return Position.parse(f"{confirmed.topic}/{confirmed.partition}/{hint.replace('.', '/')}") if hint else None
    except InvalidPosition:
        log.warning("a call's address has no position", stream=str(stream))
        return None
