"""Rows over many streams: their parts give the same whole in any order and any grouping, and shapes that would not are refused."""

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.calls.ringing import CallReceived
from projections.folding import fold
from projections.partial import Combine, PartialAggregate
from projections.ports import named
from projections.summaries import CALL_SUMMARIES, CallSummary, CallUnderWay
from projections.table import BadShape
from tests.projections.facts import CALL, answered, ended, received
from tests.projections.histories import history
from tests.projections.paper import PaperReader
from tests.projections.test_folding import sorted_through
from tests.projections.told import AYB

AT = st.none() | st.datetimes(timezones=st.just(UTC))
COUNT, LARGEST = st.integers(0, 9), st.none() | st.integers(0, 9)
PARTS = st.lists(
    st.builds(
        CallSummary, tenant=st.sampled_from(["a", "b"]), agent_id=st.sampled_from(["x", "y"]), number_ref=st.sampled_from(["m", "n"]),
        calls=COUNT, answered=COUNT, ended=COUNT, short=COUNT, billable=COUNT, transferred=COUNT, callbacks=COUNT, interruptions=COUNT,
        failures=COUNT, duration_ms=COUNT, longest_ms=LARGEST, answers=COUNT, response_ms=COUNT, slowest_ms=LARGEST, first_call_at=AT,
        last_call_at=AT,
    ),
    max_size=12,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Loose:
    """What cannot be kept true in one way or another."""

    tenant: str
    agent_id: str
    share: float = 0.0
    name: str = ""
    at: datetime | None = None
    count: int | None = None


def aggregate(row: type[Any], combined: Mapping[str, Combine]) -> PartialAggregate[Any, Any]:
    return PartialAggregate(
        name="loose", version=1, room="calls", category="calls", row=row, memory=CallUnderWay, combined=combined, moved_by=(CallReceived,),
        evolve=lambda _seen, _recorded: (None, ()),
    )  # fmt: skip


class TestCombine:
    @given(parts=PARTS, seed=st.integers(0, 2**32), cut=st.integers(1, 12))
    def test_gives_the_same_in_any_order_and_any_grouping(self, parts: list[CallSummary], seed: int, cut: int) -> None:
        whole = CALL_SUMMARIES.combine(parts)
        shuffled = random.Random(seed).sample(parts, len(parts))
        groups = [CALL_SUMMARIES.combine(shuffled[at : at + cut]) for at in range(0, len(parts), cut)]
        assert CALL_SUMMARIES.combine(row for group in groups[::-1] for row in group) == whole

    @given(parts=PARTS)
    def test_over_less_of_the_key_leaves_nothing_out(self, parts: list[CallSummary]) -> None:
        by_agent = CALL_SUMMARIES.combine(parts, ["agent_id"])
        assert {row.number_ref for row in by_agent} <= {""}
        assert CALL_SUMMARIES.combine(by_agent, []) == CALL_SUMMARIES.combine(parts, [])
        assert sum(row.calls for row in by_agent) == sum(row.calls for row in parts)


class TestShapes:
    @pytest.mark.parametrize(
        ("combined", "why"),
        [
            ({"share": Combine.SUM, "name": Combine.MAX, "at": Combine.MAX, "count": Combine.MAX}, "share cannot be summed"),
            ({"share": Combine.MAX, "name": Combine.MAX, "at": Combine.MAX, "count": Combine.MAX}, "share has no largest"),
            ({"at": Combine.MAX, "count": Combine.MAX}, "share is of the key"),
            ({}, "something to combine"),
        ],
    )
    def test_whose_whole_would_hang_on_an_order_are_refused(self, combined: Mapping[str, Combine], why: str) -> None:
        with pytest.raises(BadShape, match=why):
            aggregate(Loose, combined)

    def test_that_combine_a_column_that_there_is_not_are_refused(self) -> None:
        with pytest.raises(BadShape, match="has no calm"):
            aggregate(CallSummary, {**CALL_SUMMARIES.combined, "calm": Combine.SUM})

    def test_keep_what_they_remember_in_their_own_schema(self) -> None:
        assert named(CALL_SUMMARIES.memories) == named(CALL_SUMMARIES)


class TestParts:
    @given(seed=st.integers(0, 2**32), cut=st.integers(1, 50))
    def test_of_any_batches_are_what_each_stream_adds_alone(self, seed: int, cut: int) -> None:
        reader = PaperReader(seed=seed, largest_batch=cut)
        for stream, facts in history(seed, commits=30):
            reader.append(stream, *facts)
        wanted = sorted_through(reader, (CALL_SUMMARIES,)).wanted
        rows: defaultdict[Any, dict[Any, Any]] = defaultdict(dict)
        added: list[CallSummary] = []
        for at in range(0, len(wanted), cut):
            outcome = fold(wanted[at : at + cut], rows, set(), {})
            for table, changed in outcome.rows.items():
                rows[table] |= {key: each.row for key, each in changed.items()}
            added += [row for streams in outcome.added.values() for each in streams.values() for row in each.rows]
        alone: defaultdict[Any, list[Any]] = defaultdict(list)
        for each in wanted:
            alone[each.key].append(each.fact)
        assert CALL_SUMMARIES.combine(added) == CALL_SUMMARIES.combine(
            row for told in alone.values() for row in CALL_SUMMARIES.fold(told)
        )  # fmt: skip

    def test_that_no_column_has_room_for_are_parked_with_their_stream(self) -> None:
        reader = PaperReader()
        for fact in (received(), answered(), ended(duration_ms=2**60)):
            reader.append(CALL, fact)
        outcome = fold(sorted_through(reader, (CALL_SUMMARIES,)).wanted, defaultdict(dict), set(), {})
        assert [each.reason for each in outcome.parked] == ["ValueError: duration_ms cannot be so large"]
        ((key, each),) = outcome.added[CALL_SUMMARIES].items()
        assert (key, [row.calls for row in each.rows]) == ((AYB, CALL.id), [1, 0])
