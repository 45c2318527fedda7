"""Dispatch and Watch keep their contract: the owners on a real broker, and the log in memory that call tests run on."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from commands.decider import NotFound
from commands.dispatch import CommandIdReused, Dispatch, ExpectedVersionMismatch, Watch
from commands.flags import FLAGS, RemoveFlag, SetFlag
from events.flags import FlagSet
from events.recorded import Recorded
from events.registry import Fact
from infra.adapters.kafka.writer import KafkaLog
from tests.kafka_corner import corner, order, stream
from tests.realtime.world import MemoryLog

ON = SetFlag(enabled=True, variant="on")
OFF = SetFlag(enabled=False, variant="off")


@dataclass(frozen=True, slots=True)
class Way:
    """A way to a log."""

    dispatch: Dispatch
    watch: Watch


@pytest.fixture(params=["memory", "kafka"])
async def way(request: pytest.FixtureRequest, kafka: str, unique: str) -> AsyncIterator[Way]:
    if request.param == "memory":
        log = MemoryLog()
        yield Way(log, log.watch)
        return
    here = await corner(kafka, unique)
    async with KafkaLog(here.bootstrap) as kafka_log, here.owners(kafka_log) as owners:
        yield Way(owners, owners.watch)


class TestDispatch:
    async def test_answers_with_the_facts_and_the_version_after_them(self, way: Way) -> None:
        first = await way.dispatch(FLAGS, stream(), ON, order("one"))
        second = await way.dispatch(FLAGS, stream(), OFF, order("two"))
        assert (first.version, second.version) == (1, 2)
        assert [recorded.fact for recorded in second.facts] == [FlagSet(enabled=False, variant="off")]
        assert [recorded.version for recorded in second.facts] == [2]

    async def test_answers_a_command_that_changes_nothing_with_no_facts(self, way: Way) -> None:
        await way.dispatch(FLAGS, stream(), ON, order("one"))
        again = await way.dispatch(FLAGS, stream(), ON, order("two"))
        assert (again.version, again.facts, again.repeated) == (1, (), False)

    async def test_gives_a_repeat_the_first_answer(self, way: Way) -> None:
        first = await way.dispatch(FLAGS, stream(), ON, order("one"))
        await way.dispatch(FLAGS, stream(), OFF, order("two"))
        repeat = await way.dispatch(FLAGS, stream(), ON, order("one"))
        assert (repeat.version, repeat.position, repeat.repeated) == (first.version, first.position, True)

    async def test_refuses_an_id_with_another_body(self, way: Way) -> None:
        await way.dispatch(FLAGS, stream(), ON, order("one"))
        with pytest.raises(CommandIdReused):
            await way.dispatch(FLAGS, stream(), OFF, order("one", "another"))

    async def test_refuses_what_a_rule_forbids(self, way: Way) -> None:
        with pytest.raises(NotFound):
            await way.dispatch(FLAGS, stream(), RemoveFlag(), order("one"))

    async def test_refuses_another_version_than_expected(self, way: Way) -> None:
        await way.dispatch(FLAGS, stream(), ON, order("one"), expected_version=0)
        with pytest.raises(ExpectedVersionMismatch) as raised:
            await way.dispatch(FLAGS, stream(), OFF, order("two"), expected_version=0)
        assert (raised.value.expected, raised.value.found) == (0, 1)


class TestWatch:
    async def test_tells_every_fact_of_its_stream_in_order_until_it_is_ended(self, way: Way) -> None:
        seen: list[Recorded[Fact]] = []
        end = way.watch(stream(), seen.append)
        first = await way.dispatch(FLAGS, stream(), ON, order("one"))
        await way.dispatch(FLAGS, stream("other"), ON, order("elsewhere"))
        second = await way.dispatch(FLAGS, stream(), OFF, order("two"))
        end()
        await way.dispatch(FLAGS, stream(), ON, order("three"))
        assert [(recorded.fact, recorded.version) for recorded in seen] == [
            (recorded.fact, recorded.version) for recorded in (*first.facts, *second.facts)
        ]
