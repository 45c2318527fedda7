"""A run: faults under load for a while, then every answer held against the log."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from commands.dispatch import Committed
from commands.ports import Place
from events.records import RawRecord
from tests.chaos.checker import Checked, Seen, check
from tests.chaos.faults import CALM_SECONDS, Fault, inflict
from tests.chaos.stage import Stage
from tests.simulator.history import Attempt

_WARM_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened, for the checker and for people."""

    seconds: float
    faults: Sequence[Fault]
    attempts: Sequence[Attempt]
    promised: Sequence[Attempt]
    logs: Mapping[Place, Sequence[RawRecord]]
    tails: Mapping[str, Mapping[Place, Sequence[Seen]]]

    def checked(self) -> Checked:
        return check(self.logs, self.tails, self.attempts, promised=self.promised)

    def answers(self) -> Mapping[str, int]:
        return Counter(_kind(attempt) for attempt in self.attempts)

    def recovery(self) -> Mapping[str, Sequence[tuple[float, float]]]:
        """Until each partition that a fault hit took commits again: seconds from its begin, and from its end (or 0), by kind of fault."""
        by_name: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for fault in self.faults:
            lasted = fault.healed - fault.begun
            by_name[fault.name] += [(fault.recovered[place], max(0.0, fault.recovered[place] - lasted)) for place in fault.places]
        return {name: sorted(seconds) for name, seconds in by_name.items()}


def _kind(attempt: Attempt) -> str:
    told = attempt.outcome
    if isinstance(told, Committed):
        return "repeated" if told.repeated else "committed"
    return "no answer" if told is None else type(told).__name__


async def play(stage: Stage, draw: Random, plan: Iterable[str], told: Callable[[Fault], None] = lambda _fault: None) -> Story:
    """Inflict the faults of the plan, one after the other."""
    begun, faults = stage.now(), list[Fault]()
    await _every_partition_taken(stage)
    for name in plan:
        await asyncio.sleep(CALM_SECONDS * (0.5 + draw.random()))
        faults.append(await inflict(stage, draw, name))
        told(faults[-1])
    await asyncio.sleep(CALM_SECONDS)
    logs = await stage.finish()
    return Story(
        seconds=stage.now() - begun, faults=faults, attempts=stage.load.attempts, promised=stage.load.promised, logs=logs, tails=stage.tails
    )


async def _every_partition_taken(stage: Stage) -> None:
    async with asyncio.timeout(_WARM_SECONDS):
        while (
            len({each.outcome.position.partition for each in stage.load.attempts if isinstance(each.outcome, Committed)}) < stage.partitions
        ):
            await asyncio.sleep(0.05)
