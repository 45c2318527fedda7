"""What a call tells the log, in order, without ever making the talk wait for it.

While the log is away, or slow, facts wait here and in the process's spool, so that a crash does not lose them. Where the spool is full
or its disk fails, as many as fit wait here alone; the oldest and least needed are dropped, and counted. Commands whose outcome the talk
depends on are declined in time instead.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, assert_never

import structlog

from commands.calls.deciding import CALLS
from commands.calls.orders import CallCommand, EndCall, StartRecording, Witness
from commands.calls.refusals import ResumedElsewhere
from commands.consents import CONSENTS, ConsentCommand, GrantConsent, RevokeConsent
from commands.decider import CommandRefused, Decider
from commands.dispatch import CommandIdReused, CommitInDoubt, CommitTooLarge, Dispatch, LogUnavailable, Order
from commands.spool.late import as_late
from commands.spool.spool import Kept, Spool
from events.calls.ending import FactsLost
from events.identifiers import derived_id
from events.positions import Position
from events.recorded import Recorded
from events.registry import Fact
from events.sealing import digest_of
from events.streams import StreamId
from realtime.loop.tracing import root_of, trace_of
from realtime.machine import signals

log = structlog.get_logger()

_RETRY_DOUBT_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """`facts` are what the command brought about, as far as they are at hand; the log confirmed them at `position`."""

    version: int
    facts: tuple[Recorded[Fact], ...] = field(default=(), compare=False)
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """The log did not answer in time."""


Outcome = Accepted | Declined | Away
Told = Callable[[Outcome], None]


def told_as(outcome: Outcome, request: int, at_ms: int) -> signals.Signal:
    """The signal by which the machine hears what came of what it asked for."""
    match outcome:
        case Accepted(version=version):
            return signals.CommandAccepted(at_ms=at_ms, request=request, version=version)
        case Declined(code=code):
            return signals.CommandDeclined(at_ms=at_ms, request=request, code=code)
        case Away():
            return signals.LogAway(at_ms=at_ms, request=request)
        case _:
            assert_never(outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """`capacity`: commands that wait in memory alone. `spool_after_seconds`, `spool_above`: what is slow, and how many waiting are many."""

    capacity: int = 400
    decline_after_seconds: float = 2.0
    spool_after_seconds: float = 0.5
    spool_above: int = 50


@dataclass(slots=True, kw_only=True, eq=False)
class _Item:
    command: CallCommand | ConsentCommand
    order: Order
    sequence: int
    essential: bool
    told: Told | None = None
    declinable: bool = False
    deadline: asyncio.TimerHandle | None = None
    kept: Kept | None = None

    def tell(self, outcome: Outcome) -> None:
        """Tell once; whoever waited waits no more."""
        if self.deadline is not None:
            self.deadline.cancel()
        told, self.told = self.told, None
        if told is not None:
            told(outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Whose facts these are. `incarnation` tells this worker's commands from those of another that had the call before."""

    call: StreamId
    consents: StreamId
    incarnation: str
    actor: str
    now: Callable[[], datetime]


class FactsQueue:
    """One call's way to the log."""

    def __init__(
        self, dispatch: Dispatch, sender: Sender, counters: Counter[str], *, spool: Spool | None = None, limits: QueueLimits | None = None
    ) -> None:
        self._dispatch = dispatch
        self._call, self._consents = sender.call, sender.consents
        self._sender = sender
        self._counters = counters
        self._spool, self._limits = spool, limits or QueueLimits()
        self._items: deque[_Item] = deque()
        self._kept_waiting = 0
        self._sent: _Item | None = None
        self._filled, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()
        self._sequence = 0
        self._lost = 0
        self._away = self._spooling = self._refused = False
        # One trace for all that a call does, and a span of its own for what it does over this stream.
        self._trace, self._span = trace_of(sender.call.id), root_of(sender.call.id, sender.incarnation)

    def note(self, command: CallCommand | ConsentCommand, *, essential: bool) -> None:
        """Send it in its turn, however long the log is away."""
        self._add(self._item(command, essential=essential))

    def commit(self, command: CallCommand | ConsentCommand, told: Told, *, declinable: bool) -> None:
        """Send it in its turn and say how it went. A declinable one is not sent any more once it was answered with Away."""
        item = self._item(command, essential=True)
        item.told, item.declinable = told, declinable
        if declinable:
            # Somebody is finding out whether the log is back; without that, this command does.
            if self._away and self.waiting:
                item.tell(Away())
                return
            item.deadline = asyncio.get_running_loop().call_later(self._limits.decline_after_seconds, self._decline, item)
        self._add(item)

    async def run(self) -> None:
        """Send until cancelled. What is left then is in the spool, for the next process or for `send_rest`."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                while not self._items:
                    self._empty.set()
                    self._filled.clear()
                    await self._filled.wait()
                item = self._sent = self._items.popleft()
                self._kept_waiting -= item.kept is not None
                slow = loop.call_later(self._limits.spool_after_seconds, self._spool_all)
                try:
                    await self._send(item)
                finally:
                    slow.cancel()
                self._sent = None
                self._done(item)
        finally:
            self._spool_all()
            if self._sent is not None:
                self._items.appendleft(self._sent)
                self._kept_waiting += self._sent.kept is not None
                self._sent = None

    async def send_rest(self) -> None:
        """Send what was left when `run` ended, but for what the talk waited for: there is no talk any more."""
        for item in list(self._items):
            item.told = None
            if item.declinable:
                self._decline(item)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self.run(), name="rest of the facts")
            if self._items:
                await self.drained()
            sending.cancel()

    async def drained(self) -> None:
        """Wait until all that was given has been sent."""
        await self._empty.wait()

    @property
    def waiting(self) -> int:
        """How many commands are not on the log yet."""
        return len(self._items) + (self._sent is not None)

    async def _send(self, item: _Item) -> None:
        decider, stream = self._destination(item.command)
        while True:
            try:
                committed = await self._dispatch(decider, stream, item.command, item.order)
            except LogUnavailable as away:
                self._went_away()
                if item.declinable:
                    item.tell(Away())
                    return
                await asyncio.sleep(min(away.retry_after_ms / 1000, _LONGEST_RETRY_SECONDS))
            except CommitInDoubt:
                # Whether it is there is known only when the same command is answered: the talk does not wait, we do.
                self._went_away()
                if item.declinable:
                    item.tell(Away())
                await asyncio.sleep(_RETRY_DOUBT_SECONDS)
            except CommandRefused as refusal:
                self._counters["commands-refused"] += 1
                log.info("command refused", stream=str(stream), command=type(item.command).__name__, code=refusal.code)
                item.tell(Declined(code=refusal.code))
                late = as_late(item.command, self._sender.incarnation, item.sequence)
                if late is item.command or (item.kept is None and not isinstance(refusal, ResumedElsewhere)):
                    return
                # It happened, however long it took to be told: what may no longer be decided by it is still on the record.
                item.command = late
            except (CommitTooLarge, CommandIdReused) as cause:
                self._lose(1)
                log.exception("command cannot be sent", stream=str(stream), command=type(item.command).__name__, cause=type(cause).__name__)
                item.tell(Declined(code="not-sent"))
                return
            else:
                self._came_back()
                item.tell(Accepted(version=committed.version, facts=committed.facts, position=committed.position))
                return

    def _went_away(self) -> None:
        if not self._away:
            log.warning("the log is away; facts of the call wait", stream=str(self._call), waiting=self.waiting)
        self._away = True
        self._spool_all()
        for item in [item for item in self._items if item.declinable]:
            self._decline(item)

    def _came_back(self) -> None:
        self._away = self._spooling = False
        if self._lost:
            lost, self._lost = self._lost, 0
            self._items.appendleft(self._item(Witness(fact=FactsLost(count=lost)), essential=True))
            self._empty.clear()

    def _decline(self, item: _Item) -> None:
        """Nobody waits for it any more. One that is under way is seen through, so that its fate is known."""
        if item in self._items:
            self._items.remove(item)
        item.tell(Away())

    def _add(self, item: _Item) -> None:
        # The spool is brought home in the order in which it was filled: nobody passes one who found no room in it.
        if self._spooling and (not self._refused or self._spool_all()):
            self._keep(item)
        if item.kept is None and len(self._items) - self._kept_waiting >= self._limits.capacity:
            self._make_room()
        self._items.append(item)
        self._kept_waiting += item.kept is not None
        self._empty.clear()
        self._filled.set()
        if not self._spooling and len(self._items) > self._limits.spool_above:
            self._spool_all()

    def _spool_all(self) -> bool:
        """The log is not quick enough: from now on, until it answers, nothing waits in memory alone that must not be lost.

        Whether all found room in the spool; else it is tried again, from the first that did not, as soon as something is added.
        """
        self._spooling, self._refused = True, False
        if self._sent is not None:
            self._keep(self._sent)
        for item in self._items:
            if self._refused:
                break
            if item.kept is None:
                self._keep(item)
                self._kept_waiting += item.kept is not None
        return not self._refused

    def _keep(self, item: _Item) -> None:
        if self._spool is not None and item.kept is None and not item.declinable:
            _, stream = self._destination(item.command)
            item.kept = self._spool.keep(stream, self._sender.incarnation, item.sequence, item.order, item.command)
            self._refused = self._refused or item.kept is None

    def _done(self, item: _Item) -> None:
        if self._spool is not None and item.kept is not None:
            self._spool.confirm(item.kept)

    def _make_room(self) -> None:
        loose = [item for item in self._items if item.kept is None]
        spare = next((item for item in loose if not item.essential), None)
        spare = spare or next((item for item in loose if isinstance(item.command, Witness)), None)
        if spare is not None:
            self._items.remove(spare)
            self._lose(1)

    def _lose(self, count: int) -> None:
        self._lost += count
        self._counters["facts-lost"] += count

    def _destination(self, command: CallCommand | ConsentCommand) -> tuple[Decider[Any, Any, Any], StreamId]:
        if isinstance(command, GrantConsent | RevokeConsent):
            return CONSENTS, self._consents
        return CALLS, self._call

    def _item(self, command: CallCommand | ConsentCommand, *, essential: bool) -> _Item:
        self._sequence += 1
        if isinstance(command, Witness | StartRecording | EndCall):
            command = replace(command, stream_sid=self._sender.incarnation)
        order = Order(
            command_id=derived_id("call", self._call.id, self._sender.incarnation, str(self._sequence)),
            digest=digest_of(repr(command).encode()), actor=self._sender.actor, occurred_at=self._sender.now(),
            correlation_id=self._trace, trace_id=self._trace, span_id=self._span,
        )  # fmt: skip
        return _Item(command=command, order=order, sequence=self._sequence, essential=essential)
