"""Commands in one batch: how full it may be, before anything of it is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commands.decider import Decider
from commands.dispatch import CommitTooLarge, Order
from commands.ownership.groups import Group, Limits, Submission
from commands.ownership.streams import Streams
from commands.ports import NewRecord, Place
from events.admission import Fence
from events.flags import FlagSet
from events.registry import Fact, known_types
from events.rooms import prepared_codec
from events.streams import StreamId
from infra.adapters.kafka.writer import KafkaLog
from tests.instances import instances

FENCE = Fence(2**63, b"c" * 16)
CODEC = prepared_codec()
FLAG = FlagSet(enabled=True, variant="on", description="x" * 90)
facts_of_any_kind: st.SearchStrategy[tuple[str, Any]] = st.sampled_from(list(known_types())).flatmap(
    lambda kind: st.tuples(st.just(kind.room), instances(kind.cls))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Bring these facts about."""

    facts: Sequence[Fact]


def sayer(room: str) -> Decider[Any, Any, Any]:
    return Decider(room=room, category="said", initial=None, decide=lambda command, _: command.facts, evolve=lambda _, fact: fact)


def submission(room: str, facts: Sequence[Fact], number: int, actor: str = "tester") -> Submission:
    wanted = Order(command_id=number.to_bytes(16, "big"), digest=b"d" * 16, actor=actor, occurred_at=datetime(2026, 11, 20, tzinfo=UTC))
    return Submission(sayer(room), StreamId("AYB-TEST-TEST-TEST", "said", "s" * 100), Say(facts=facts), wanted, None, number)


def group_of(limits: Limits) -> Group:
    return Group(Place("aybiza.said.v1", 0), FENCE, Streams({}, CODEC), limits, timestamp_ms=1_763_600_000_000, commits=0)


def bytes_of(records: Sequence[NewRecord]) -> int:
    """What the log's adapter makes of them."""
    return len(KafkaLog("nowhere:1").batch(records))


class TestSize:
    @settings(max_examples=150)
    @given(
        st.lists(st.tuples(facts_of_any_kind, st.integers(0, 40), st.text(max_size=60)), min_size=1, max_size=6),
        st.integers(1_000, 30_000),
        st.integers(1_000, 30_000),
    )
    def test_is_never_more_than_was_allowed(
        self, wanted: list[tuple[tuple[str, Fact], int, str]], group_bytes: int, batch_bytes: int
    ) -> None:
        group = group_of(Limits(group_bytes=group_bytes, batch_bytes=batch_bytes))
        for number, ((room, fact), count, actor) in enumerate(wanted):
            group.add(submission(room, [fact] * count, number, actor))
        if group.records:
            assert bytes_of(group.records) <= max(group_bytes, batch_bytes)

    def test_is_not_much_less_than_was_allowed(self) -> None:
        group, number = group_of(Limits(group_bytes=100_000, group_commands=10_000)), 0
        while group.add(submission("flags", [FLAG], number)):
            number += 1
        assert 80_000 < bytes_of(group.records) <= 100_000

    def test_of_one_command_alone_may_fill_a_batch(self) -> None:
        limits = Limits(group_bytes=5_000, batch_bytes=20_000)
        alone = group_of(limits)
        assert alone.add(submission("flags", [FLAG] * 30, 0))
        assert len(alone.records) == 30
        later = group_of(limits)
        assert later.add(submission("flags", [FLAG], 0))
        assert not later.add(submission("flags", [FLAG] * 30, 1))

    def test_of_one_command_beyond_a_batch_is_refused_before_anything_is_sent(self) -> None:
        group = group_of(Limits(batch_bytes=20_000))
        assert group.add(submission("flags", [FLAG] * 60, 0))
        assert not group.records
        assert [type(answer.outcome) for answer in group.answers] == [CommitTooLarge]
