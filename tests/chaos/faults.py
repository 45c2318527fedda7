"""What goes wrong, one thing after the other, drawn from a seed; and how long each affected partition gave no answer."""

import asyncio
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from commands.dispatch import Committed
from tests.chaos.cluster import Broker
from tests.chaos.stage import Stage, Worker
from tests.simulator.history import Attempt

CALM_SECONDS = 2.5
_RECOVERED_SECONDS = 60.0
_LONGER_THAN_A_SESSION = 5.0
_LONGER_THAN_A_REQUEST = 7.0
_HOUR_MS = 3_600_000
_SPOOLED = 150
_SPOOL_SECONDS = 20.0
_FULL_BYTES = 64
_NEVER = 1 << 60


@dataclass(slots=True, kw_only=True)
class Fault:
    """`places` are the partitions whose writer or leader was hit; `recovered` says after how many seconds each took a commit again."""

    name: str
    begun: float
    healed: float = 0.0
    places: Sequence[int] = ()
    recovered: dict[int, float] = field(default_factory=dict)


async def _an_owner(stage: Stage, draw: Random) -> tuple[Worker, Sequence[int]]:
    """A process that owns partitions, and which."""
    owning = [(worker, owned) for worker in stage.workers if (owned := await stage.owned_by(worker))]
    return draw.choice(owning)


async def _a_leader(stage: Stage, draw: Random) -> tuple[Broker, Sequence[int]]:
    """A broker that leads partitions, and which: one that was started again leads none for a while."""
    leading = [(broker, led) for broker in stage.cluster.brokers if (led := await stage.led_by(broker))]
    return draw.choice(leading)


async def owner_killed(stage: Stage, draw: Random, fault: Fault) -> None:
    worker, fault.places = await _an_owner(stage, draw)
    fault.begun = stage.now()
    await worker.kill()
    await asyncio.sleep(2.0)
    await worker.start()


async def owner_frozen(stage: Stage, draw: Random, fault: Fault) -> None:
    worker, fault.places = await _an_owner(stage, draw)
    fault.begun = stage.now()
    worker.freeze()
    await asyncio.sleep(_LONGER_THAN_A_SESSION)
    worker.thaw()


async def owner_stopped(stage: Stage, draw: Random, fault: Fault) -> None:
    """And started again with a clock that is an hour wrong, as a machine's may be."""
    worker, fault.places = await _an_owner(stage, draw)
    fault.begun = stage.now()
    await worker.stop()
    worker.skew_ms = draw.choice((-_HOUR_MS, 0, _HOUR_MS))
    await worker.start()


async def leader_killed(stage: Stage, draw: Random, fault: Fault) -> None:
    broker, fault.places = await _a_leader(stage, draw)
    fault.begun = stage.now()
    await broker.kill()
    await asyncio.sleep(3.0)
    await broker.start()
    await broker.ready()


async def leader_frozen(stage: Stage, draw: Random, fault: Fault) -> None:
    broker, fault.places = await _a_leader(stage, draw)
    fault.begun = stage.now()
    broker.freeze()
    await asyncio.sleep(_LONGER_THAN_A_REQUEST)
    broker.thaw()


async def broker_restarted(stage: Stage, draw: Random, fault: Fault) -> None:
    broker, fault.places = await _a_leader(stage, draw)
    fault.begun = stage.now()
    await broker.stop()
    await broker.start()
    await broker.ready()


async def all_brokers_away(stage: Stage, _: Random, fault: Fault) -> None:
    """Longer than any request is waited for."""
    fault.places = range(stage.partitions)
    fault.begun = stage.now()
    for broker in stage.cluster.brokers:
        await broker.kill()
    await asyncio.sleep(_LONGER_THAN_A_REQUEST)
    for broker in stage.cluster.brokers:
        await broker.start()
    for broker in stage.cluster.brokers:
        await broker.ready()


async def owner_killed_while_a_leader_is_frozen(stage: Stage, draw: Random, fault: Fault) -> None:
    (broker, led), (worker, owned) = await _a_leader(stage, draw), await _an_owner(stage, draw)
    fault.places = sorted({*led, *owned})
    fault.begun = stage.now()
    broker.freeze()
    await worker.kill()
    await asyncio.sleep(_LONGER_THAN_A_SESSION)
    broker.thaw()
    await worker.start()


async def spool_disk_full(stage: Stage, _: Random, fault: Fault) -> None:
    """A process's disk is full for a while, then it is killed; who brings its spool home is killed in mid-drain, and a third ends it."""
    folder = stage.workers[0].folder / f"spools-{int(fault.begun * 1000)}"
    said = {**stage.workers[0].said, "spools": str(folder)}
    keeper, *drains = [
        Worker(f"{name}-{folder.name}", {**said, "role": role}, stage.workers[0].folder, "tests.chaos.keeper")
        for name, role in (("1", "keep"), ("2", "bring-home"), ("3", "bring-home"))
    ]
    async with stage.joined(keeper):
        answers = await _spooled(stage, keeper, _SPOOLED, patience_seconds=_SPOOL_SECONDS)
        keeper.limit_files(_FULL_BYTES)
        # The first are taken before anybody knows, and wait; once it is known, the spool takes none.
        answers += await _spooled(stage, keeper, _SPOOLED, patience_seconds=1.0)
        answers += await _spooled(stage, keeper, 1, patience_seconds=1.0)
        keeper.limit_files(resource.RLIM_INFINITY)
        while (await _spooled(stage, keeper, 1, patience_seconds=_SPOOL_SECONDS)) != ["kept"]:
            await asyncio.sleep(0.05)
        answers += await _spooled(stage, keeper, _SPOOLED, patience_seconds=_SPOOL_SECONDS)
        await keeper.kill()
    for drain, enough in zip(drains, (1, _NEVER), strict=True):
        async with stage.joined(drain):
            while (folder / keeper.name).exists():
                answer = await drain.line.ask({"what": "drained"}, 1.0)
                if answer is not None and answer.get("drained", 0) >= enough:
                    break
                await asyncio.sleep(0.005)
            await drain.kill()
    if {*answers} != {"kept", "full", "no answer"}:
        raise AssertionError(f"the disk was not full: {Counter(answers)}")


async def _spooled(stage: Stage, keeper: Worker, count: int, *, patience_seconds: float) -> list[str]:
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(stage.load.spooled(keeper.name, keeper.line, patience_seconds=patience_seconds)) for _ in range(count)]
    return [each.result() for each in asking]


FAULTS: Mapping[str, Callable[[Stage, Random, Fault], Awaitable[None]]] = {
    "owner kill -9": owner_killed,
    "owner SIGSTOP 5 s": owner_frozen,
    "owner stopped, back with another clock": owner_stopped,
    "leader kill -9": leader_killed,
    "leader SIGSTOP 7 s": leader_frozen,
    "broker restarted": broker_restarted,
    "all brokers away 7 s": all_brokers_away,
    "spool: disk full, kill -9, kill -9 in mid-drain": spool_disk_full,
    "owner kill -9, a leader SIGSTOP": owner_killed_while_a_leader_is_frozen,
}


async def inflict(stage: Stage, draw: Random, name: str) -> Fault:
    """One fault from its begin to its end, and until every partition that it hit takes commits again."""
    fault = Fault(name=name, begun=stage.now())
    await FAULTS[name](stage, draw, fault)
    fault.healed = stage.now()
    async with asyncio.timeout(_RECOVERED_SECONDS):
        while not (fault.places and recovered(fault, stage.load.attempts).keys() >= set(fault.places)) and fault.places:
            await asyncio.sleep(0.05)
    return fault


def recovered(fault: Fault, attempts: Sequence[Attempt]) -> Mapping[int, float]:
    """From the fault to the first answer that a command got which was asked for after it, by partition."""
    for attempt in reversed(attempts):
        if attempt.ended is not None and attempt.ended < fault.begun:
            break
        told = attempt.outcome
        if attempt.begun >= fault.begun and isinstance(told, Committed) and not told.repeated and attempt.ended is not None:
            partition, seconds = told.position.partition, attempt.ended - fault.begun
            fault.recovered[partition] = min(fault.recovered.get(partition, seconds), seconds)
    return fault.recovered
