"""The simulated world keeps the contracts of the real one: the very tests that the real adapters pass, in drawn time."""

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from commands.ports import AppendInDoubt, LogAway, Place
from tests.contracts import test_log as contract
from tests.simulator.log import Cluster, Fate, SimulatedLog
from tests.simulator.loop import Scheduler
from tests.simulator.story import Story

PLACE = Place("aybiza.flags.v1", 3)
CONTRACT = (
    contract.TestAppend().test_returns_where_the_batch_begins,
    contract.TestAppend().test_of_too_much_sends_nothing,
    contract.TestRead().test_gives_the_records_between_two_offsets,
    contract.TestRead().test_gives_them_as_they_were_appended,
    contract.TestRead().test_waits_for_an_offset_that_is_still_to_come,
    contract.TestRead().test_beyond_the_end_is_lost_history,
)


class World:
    """A log that one process appends to. `play` runs it until something is done."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.cluster = Cluster([PLACE], self.scheduler, Random(1), Story(self.scheduler))
        self.loop = self.scheduler.loop("A.1")
        self.log = SimulatedLog(self.cluster, self.loop)

    def play(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = self.loop.create_task(coroutine)
        assert self.scheduler.run(task.done, 100_000), "it never ends"
        return task.result()


class TestSimulatedLog:
    @pytest.mark.parametrize("promise", CONTRACT)
    def test_keeps_the_contract(self, promise: Callable[[SimulatedLog, Place], Coroutine[Any, Any, None]]) -> None:
        world = World()
        world.play(promise(world.log, PLACE))
        assert world.log.misuse == []

    def test_lands_late_what_was_given_up(self) -> None:
        world = World()
        partition = world.cluster.partitions[PLACE]
        partition.mishaps.append(Fate.LATE)
        with pytest.raises(AppendInDoubt):
            world.play(world.log.append(PLACE, contract.commit(0, 2)))
        world.play(world.log.sever(PLACE))
        assert partition.records == []
        assert world.play(world.log.append(PLACE, contract.commit(1, 1))) == 0
        world.scheduler.run(lambda: not world.cluster.under_way, 100_000)
        assert len(partition.records) == 3

    def test_notices_who_does_not_sever(self) -> None:
        world = World()
        world.cluster.partitions[PLACE].mishaps.append(Fate.LOST)
        with pytest.raises(AppendInDoubt):
            world.play(world.log.append(PLACE, contract.commit(0, 1)))
        world.play(world.log.append(PLACE, contract.commit(0, 1)))
        assert len(world.log.misuse) == 1

    def test_gives_up_in_time(self) -> None:
        world = World()
        world.cluster.partitions[PLACE].leaderless_until = 60.0
        with pytest.raises(LogAway):
            world.play(world.log.end_offset(PLACE))
        with pytest.raises((AppendInDoubt, LogAway)):
            world.play(world.log.append(PLACE, contract.commit(0, 1)))
        assert world.scheduler.now < 5


class TestScheduler:
    def test_runs_nothing_of_the_dead_and_everything_of_the_frozen_later(self) -> None:
        scheduler, heard = Scheduler(), list[str]()
        frozen, dead, alive = (scheduler.loop(name) for name in ("frozen", "dead", "alive"))
        for loop in (frozen, dead, alive):
            loop.call_later(1.0, heard.append, loop.name)
        frozen.pause()
        dead.dead = True
        scheduler.run(lambda: scheduler.now >= 1.0 and "alive" in heard, 100)
        assert heard == ["alive"]
        frozen.resume()
        scheduler.run(lambda: len(heard) == 2, 100)
        assert heard == ["alive", "frozen"]

    def test_strikes_between_two_awaits(self) -> None:
        scheduler, struck = Scheduler(), list[float]()
        loop = scheduler.loop("A")
        for second in range(5):
            loop.call_later(float(second), lambda: None)
        loop.fuse, loop.burnt = 3, lambda: struck.append(scheduler.now)
        scheduler.run(lambda: False, 100)
        assert struck == [2.0]
