"""The short form of `make chaos`: three brokers and three owner processes, a few faults, and a checker that misses nothing."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
import uvloop

from commands.dispatch import Committed
from commands.ports import Place
from events.admission import Fence
from events.records import RawRecord
from infra.settings import Settings
from tests.chaos.checker import Seen, check, every_record
from tests.chaos.cluster import Cluster
from tests.chaos.load import Manners
from tests.chaos.run import Story, play
from tests.chaos.stage import opened
from tests.simulator.history import Attempt

_SEED = 4
_PLAN = ("owner kill -9", "leader kill -9", "owner SIGSTOP 5 s")
# They give up before a commit can be answered.
_HASTY = Manners(callers=8, patience_seconds=0.004, doubts="new-id")


@dataclass(frozen=True, slots=True)
class Evening:
    """What happened under faults, and what happened to callers who take no answer for a failure."""

    faults: Story
    hasty: Story


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Evening:
    folder = tmp_path_factory.mktemp("chaos")

    async def spend() -> Evening:
        async with Cluster(folder, settings.cache_dir) as cluster:
            async with opened(cluster, folder, Random(_SEED)) as stage:
                faults = await play(stage, Random(_SEED), _PLAN)
            async with opened(cluster, folder, Random(_SEED + 1), workers=1, manners=_HASTY) as stage:
                return Evening(faults, await play(stage, Random(_SEED), ()))

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return uvloop.run(spend())


@pytest.fixture(scope="module")
def story(evening: Evening) -> Story:
    return evening.faults


class TestFaults:
    def test_lose_double_and_skip_nothing(self, story: Story) -> None:
        assert story.checked().found == []
        assert story.answers()["committed"] > 100

    def test_are_over_for_every_partition_that_they_hit(self, story: Story) -> None:
        assert [fault.name for fault in story.faults] == [*_PLAN]
        for fault in story.faults:
            assert fault.places
            assert fault.recovered.keys() >= set(fault.places)


def changed(story: Story, raw: RawRecord, *instead: RawRecord) -> Mapping[Place, Sequence[RawRecord]]:
    """The log with other records in the place of one, numbered anew."""
    place = Place(raw.topic, raw.partition)
    raws = [each for record in story.logs[place] for each in (instead if record is raw else (record,))]
    return {**story.logs, place: [numbered(record, offset) for offset, record in enumerate(raws)]}


def numbered(raw: RawRecord, offset: int) -> RawRecord:
    return raw if raw.offset == offset else RawRecord(raw.topic, raw.partition, offset, *raw[3:])


def of_another_owner(raw: RawRecord) -> RawRecord:
    """As somebody would have written it whom a newer claim had superseded."""
    assert raw.header is not None
    return RawRecord(*raw[:7], raw.header._replace(term=0, claim_id=bytes(16)))


def committed(story: Story) -> RawRecord:
    """A record that somebody was told of, late enough for others before it."""
    told = [attempt.outcome for attempt in story.attempts if isinstance(attempt.outcome, Committed)]
    position = told[len(told) // 2].position
    return story.logs[Place(position.topic, position.partition)][position.offset]


class TestChecker:
    """Each of these is what the run was for: were it so, the checker would say it."""

    def test_finds_what_a_superseded_owner_wrote_when_readers_do_not_know_the_rule(self, story: Story) -> None:
        assert story.checked().dropped > 0
        assert check(story.logs, story.tails, story.attempts, every_record).found

    def test_finds_the_same_wish_twice_where_callers_take_no_answer_for_a_failure(self, evening: Evening) -> None:
        assert any("DOUBLED" in sentence for sentence in evening.hasty.checked().found)

    def test_finds_an_acknowledged_record_that_does_not_count(self, story: Story) -> None:
        raw = committed(story)
        assert any("LOST" in sentence for sentence in check(changed(story, raw, of_another_owner(raw)), story.tails, story.attempts).found)

    def test_finds_a_record_that_counts_twice(self, story: Story) -> None:
        raw = committed(story)
        found = check(changed(story, raw, raw, raw), story.tails, story.attempts).found
        assert any("took effect at" in sentence for sentence in found)

    def test_finds_a_record_that_a_reader_skipped(self, story: Story) -> None:
        raw = committed(story)
        place = Place(raw.topic, raw.partition)
        for name, tail in story.tails.items():
            short: Sequence[Seen] = [seen for seen in tail[place] if seen.raw.offset != raw.offset]
            found = check(story.logs, {**story.tails, name: {**tail, place: short}}, story.attempts).found
            assert any("SKIPPED" in sentence for sentence in found)

    def test_finds_an_answer_that_the_log_does_not_give(self, story: Story) -> None:
        number, told = next((at, each.outcome) for at, each in enumerate(story.attempts) if isinstance(each.outcome, Committed))
        for wrong in (told._replace(version=told.version + 1), told._replace(position=told.position._replace(fence=Fence()))):
            attempts: list[Attempt] = [*story.attempts]
            attempts[number] = replace(attempts[number], outcome=wrong)
            assert any("was told of" in sentence for sentence in check(story.logs, story.tails, attempts).found)

    def test_finds_a_commit_that_nobody_was_told_of(self, story: Story) -> None:
        first = next(each for each in story.attempts if isinstance(each.outcome, Committed))
        others = [each for each in story.attempts if each.order.command_id != first.order.command_id]
        found = check(story.logs, story.tails, others).found
        assert any("nobody gave" in sentence for sentence in found)
