"""Looks for calls whose worker is dead or frozen while the carrier has not noticed, and for those of whose end nothing was told."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from commands.calls.deciding import CALLS
from events.calls.ending import Stage
from events.streams import StreamId
from projections.queries import RowsUnavailable
from realtime.carrier.moving import Moving, address_in
from realtime.carrier.ports import CallsUnderWay, UnderWay

log = structlog.get_logger()

_LOOKS_TO_BE_DEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchfulness:
    """A look each `every_seconds`, and each `closely_every_seconds` for `closely_seconds` after partitions of calls came to us.

    A call that rings, or whose worker cannot be asked, is asked for once it is `quiet_seconds` old.
    """

    every_seconds: float = 60.0
    closely_seconds: float = 15.0
    closely_every_seconds: float = 1.0
    quiet_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whom:
    """`bring`: whose worker is dead. `ask`: of whom the carrier may know more than we do."""

    bring: Sequence[UnderWay]
    ask: Sequence[UnderWay]


def whom(calls: Sequence[UnderWay], dead: Collection[str], now: datetime, quiet_seconds: float) -> Whom:
    """Which calls that this process decides about, and does not hold, something is to be done for."""
    old = now - timedelta(seconds=quiet_seconds)
    return Whom(
        bring=[each for each in calls if each.worker is not None and address_in(each.worker) in dead],
        ask=[each for each in calls if each.received_at <= old and not (each.worker and address_in(each.worker))],
    )


@dataclass(slots=True, kw_only=True)
class Lookout:
    """`owns`: whether this process decides about a call; `owned`: the partitions of calls that it has now."""

    moving: Moving
    under_way: CallsUnderWay
    owns: Callable[[str, StreamId], bool]
    owned: Callable[[], frozenset[object]]
    now: Callable[[], datetime]
    watchfulness: Watchfulness = Watchfulness()
    _silent: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Until cancelled. While the tables are away it looks again and again."""
        loop, every = asyncio.get_running_loop(), self.watchfulness
        had: frozenset[object] = frozenset()
        next_look, closely_until = loop.time() + every.every_seconds, 0.0
        while True:
            have = self.owned()
            if have - had:
                closely_until = loop.time() + every.closely_seconds
            had = have
            if loop.time() < closely_until or loop.time() >= next_look:
                looked = await self.look()
                next_look = loop.time() + (every.every_seconds if looked else every.closely_every_seconds)
            await asyncio.sleep(every.closely_every_seconds)

    async def look(self) -> bool:
        """Once; False while the tables are away."""
        try:
            found = await self.under_way()
        except RowsUnavailable as cause:
            self.moving.counters["lookouts-without-tables"] += 1
            log.info("nobody knows which calls have lost their worker", cause=str(cause))
            return False
        calls = [each for each in found if self.owns(CALLS.room, each.stream) and not self.moving.holds(each.stream.id)]
        dead = await self._dead({address_in(each.worker) for each in calls if each.worker} - {""})
        for_whom = whom(calls, dead, self.now(), self.watchfulness.quiet_seconds)
        async with asyncio.TaskGroup() as tasks:
            for call in for_whom.bring:
                worker = call.worker
                moved = self.moving.bring(call.stream, str(worker), lambda last: address_in(last.worker) in dead)
                tasks.create_task(moved, name=f"bring call {call.stream.id}")
            for call in for_whom.ask:
                stage = Stage.RINGING if call.worker is None else Stage.CONVERSATION
                tasks.create_task(self.moving.ask(call.stream, call.call_sid, stage), name=f"ask for call {call.stream.id}")
        return True

    async def _dead(self, addresses: Collection[str]) -> Collection[str]:
        """Who has not answered twice in a row."""
        silent: Counter[str] = Counter()
        for address in sorted(addresses):
            if not await self.moving.lives(address):
                silent[address] = self._silent[address] + 1
        self._silent = silent
        return {address for address, times in silent.items() if times >= _LOOKS_TO_BE_DEAD}
