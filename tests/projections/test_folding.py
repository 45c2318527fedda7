"""The pure middle of the runner: sorting by who wants what, folding by key, poison set aside. In any batches, the same."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.calls.talking import AgentHeard, Spent
from events.calls.thinking import AnswerAccounted, AnswerSpeculated, GuardrailApplied
from events.flags import FlagSet
from events.rooms import ROOMS
from events.streams import StreamId, topic_of
from projections.calls import CALL_TIMELINE, CALLS
from projections.flags import FLAGS
from projections.folding import Outcome, fold
from projections.journal import JOURNAL
from projections.measures import CALL_MEASURES, TURN_MEASURES
from projections.ports import Checkpoint, Mark, Place, Projection, named
from projections.registry import SERIES, STORED, TABLES
from projections.sorting import Plan, Sorted, Sorter, decoded
from projections.table import Key, Table
from tests.projections.facts import CALL, received, sealed, whole_call
from tests.projections.histories import history
from tests.projections.paper import FENCE, PaperReader
from tests.projections.told import AYB

FLAG = StreamId(AYB, "flags", "greeting")
NOTHING: Mapping[Mark, Checkpoint] = {}
SPENT = Spent(model="m", output_tokens=20)
_ASIDES = (
    AnswerSpeculated(turn=2, attempt=1, outcome="went-on", words=sealed("and"), asked_ms=1, settled_ms=2, spent=SPENT),
    AnswerAccounted(turn=1, at_ms=1, estimate=SPENT, spent=SPENT),
    GuardrailApplied(turn=1, rule="r", action="block", written=sealed("a"), said=sealed("b"), at_ms=1),
    AgentHeard(turn=1, heard=sealed("a"), to_come=sealed("b"), complete=True, at_ms=1),
)
SET = FlagSet(enabled=True, variant="v")


def sorted_through(
    reader: PaperReader,
    projections: tuple[Projection, ...],
    seen: Mapping[Mark, Checkpoint] = NOTHING,
    stop_at: Mapping[Mark, Checkpoint] = NOTHING,
) -> Sorted:
    """All that a reader has, through one sorter."""
    plan = Plan(projections, topic_of, ROOMS)
    places = [Place(topic, number) for topic in plan.topics for number in range(2)]
    marks = {(named(each), place): Checkpoint() for each, place in plan.marks(places)}
    sorter = Sorter(plan, marks | dict(seen), reader.codec, stop_at)
    whole = Sorted()

    async def read() -> None:
        async for batch in reader.batches(plan.topics, {}, stop_at_end=True):
            whole.add(sorter.sort(batch))

    asyncio.run(read())
    return whole


def folded(wanted: Sorted) -> Outcome:
    return fold(wanted.wanted, defaultdict(dict), set(), {})


class TestAnyBatches:
    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 2**32), cut=st.integers(1, 50))
    def test_give_the_rows_that_each_stream_gives_alone(self, seed: int, cut: int) -> None:
        reader = PaperReader(seed=seed, largest_batch=cut)
        for stream, facts in history(seed):
            reader.append(stream, *facts)
        parts, rows, entries = [], defaultdict[Table[Any], dict[Key, Any]](dict), defaultdict[str, list[Any]](list)
        whole = sorted_through(reader, STORED)
        # Cut again, as transactions are cut: rows go from one to the next.
        for at in range(0, len(whole.wanted), cut):
            parts.append(whole.wanted[at : at + cut])
            outcome = fold(parts[-1], rows, set(), {})
            for table, changed in outcome.rows.items():
                rows[table] |= {key: each.row for key, each in changed.items()}
            for series, added in outcome.entries.items():
                entries[series.name] += added
        for table in TABLES:
            alone: defaultdict[Key, Any] = defaultdict(lambda: None)
            for each in whole.wanted:
                if each.projection is table:
                    fact, _ = decoded(each.raw, reader.codec)
                    assert fact is not None
                    key = (fact.stream.tenant, fact.stream.id)
                    alone[key] = table.fold([fact], alone[key])
            assert rows[table] == alone
        for series in SERIES:
            keys = [(entry.id, entry.version, entry.n) for entry in entries[series.name]]
            assert len(keys) == len(set(keys))

    def test_journal_every_record_as_it_was(self) -> None:
        reader = PaperReader(largest_batch=3)
        for stream, facts in history(7):
            reader.append(stream, *facts)
        whole = sorted_through(reader, (JOURNAL,))
        assert whole.wanted == []
        ends = asyncio.run(reader.end_offsets([topic_of(room) for room in ROOMS]))
        assert len(whole.journal) == sum(ends.values()) - len(ends)
        assert {raw.offset for raw in whole.journal} == {raw.offset for raw in reader.all_records()}


class TestSorting:
    def test_leaves_out_what_a_projection_has_folded_already(self) -> None:
        reader = PaperReader(largest_batch=2)
        for _ in range(10):
            reader.append(FLAG, SET)
        place = Place(topic_of("flags"), reader.put_back(FLAG, "flags").partition)
        whole = sorted_through(reader, (JOURNAL, FLAGS), {(named(FLAGS), place): Checkpoint(6, FENCE)})
        assert [each.raw.offset for each in whole.wanted] == [6, 7, 8, 9, 10]
        assert len(whole.journal) == 10

    def test_goes_no_further_than_it_is_told(self) -> None:
        reader = PaperReader(largest_batch=4)
        for _ in range(10):
            reader.append(FLAG, SET)
        place = Place(topic_of("flags"), reader.put_back(FLAG, "flags").partition)
        stop = Checkpoint(6, FENCE)
        whole = sorted_through(reader, (FLAGS,), stop_at={(named(FLAGS), place): stop})
        assert [each.raw.offset for each in whole.wanted] == [1, 2, 3, 4, 5]
        assert whole.reached[named(FLAGS), place] == stop

    def test_decodes_nothing_that_nobody_wants(self) -> None:
        reader = PaperReader()
        reader.put(StreamId("platform", "call-sids", "CA1"), b"\0 no body of ours", "call-sid-reserved.v1", "calls")
        assert folded(sorted_through(reader, (CALLS,))).parked == []


class TestPoison:
    def broken(self) -> Outcome:
        """A flag's stream and a call's, the call's with a broken body in its middle."""
        reader = PaperReader()
        reader.append(CALL, received())
        reader.put(CALL, b"\0 no body of ours", "caller-turn.v1", "calls")
        reader.append(CALL, *whole_call()[1:3])
        reader.append(FLAG, SET)
        return folded(sorted_through(reader, STORED))

    def test_is_parked_with_all_that_follows_on_its_stream(self) -> None:
        outcome = self.broken()
        parked = [(each.projection, each.version, each.behind) for each in outcome.parked]
        of_calls = [named(each) for each in (CALLS, CALL_TIMELINE, TURN_MEASURES, CALL_MEASURES)]
        assert parked == [(name, version, version > 2) for version in (2, 3, 4) for name in of_calls]
        assert outcome.parked[0].reason.startswith("BrokenBody: ")

    def test_leaves_the_rows_as_they_were_before_it(self) -> None:
        outcome = self.broken()
        assert outcome.rows[CALLS][AYB, CALL.id].row.version == 1

    def test_lets_other_streams_go_on(self) -> None:
        assert self.broken().rows[FLAGS][AYB, FLAG.id].row.variant == "v"

    def test_of_a_fold_is_parked_for_that_projection_alone(self) -> None:
        reader = PaperReader()
        # A call that was never received: the table has no place for it, the timeline has.
        reader.append(CALL, *whole_call()[1:3])
        outcome = folded(sorted_through(reader, STORED))
        assert {each.projection for each in outcome.parked} == {named(CALLS)}
        assert [each.reason.partition(":")[0] for each in outcome.parked] == ["BrokenHistory", ""]
        assert sum(len(added) for added in outcome.entries.values()) == 2

    def test_of_a_newer_program_waits_as_well(self) -> None:
        reader = PaperReader()
        reader.append(CALL, received())
        body = reader.codec.encode(SET)
        reader.put(CALL, body[:2] + bytes(8) + body[10:], "call-whistled.v1", "calls")
        # Its schema is unknown here: the reader would wait for it, so the sorter passes that on.
        try:
            sorted_through(reader, (CALLS,))
        except LookupError as error:
            assert "no schema" in str(error)  # noqa: PT017 - raised through a loop of its own
        else:
            raise AssertionError("an unknown schema must not be skipped")

    def test_that_the_store_refuses_is_parked_from_its_first_fact(self) -> None:
        reader = PaperReader()
        reader.append(FLAG, SET)
        reader.append(FLAG, SET)
        wanted = sorted_through(reader, (FLAGS,)).wanted
        outcome = fold(wanted, defaultdict(dict), set(), {(named(FLAGS), (AYB, FLAG.id)): "a zero byte"})
        assert [(each.reason, each.behind) for each in outcome.parked] == [("a zero byte", False), ("", True)]
        assert not outcome.rows

    def test_keeps_what_follows_waiting_in_later_batches(self) -> None:
        reader = PaperReader()
        reader.append(FLAG, SET)
        wanted = sorted_through(reader, (FLAGS,)).wanted
        outcome = fold(wanted, defaultdict(dict), {(named(FLAGS), str(FLAG))}, {})
        assert [each.behind for each in outcome.parked] == [True]


class TestFactsThatLeaveARowAsItIs:
    """What a table says of them is so: they are not decoded for it, and nobody would notice if it were not."""

    @pytest.mark.parametrize("table", [table for table in TABLES if table.unmoved_by], ids=lambda table: table.name)
    def test_do(self, table: Table[Any]) -> None:
        seen = set()
        for seed in range(30):
            reader, row = PaperReader(seed=seed), defaultdict[Key, Any](lambda: None)
            for stream, facts in history(seed):
                reader.append(stream, *facts)
            for fact in (*whole_call(), *_ASIDES):
                reader.append(CALL, fact)
            for raw in reader.all_records():
                fact, _ = decoded(raw, reader.codec)
                if fact is None or fact.stream.category != table.category:
                    continue
                key = (fact.stream.tenant, fact.stream.id)
                if type(fact.fact) in table.unmoved_by:
                    seen.add(type(fact.fact))
                    assert table.evolve(row[key], fact) is row[key] is not None
                row[key] = table.fold([fact], row[key])
        assert seen == set(table.unmoved_by)

    def test_are_not_decoded_and_yet_counted(self) -> None:
        reader = PaperReader(largest_batch=3)
        reader.append(CALL, received())
        reader.put(CALL, b"\0 no body of ours", "agent-turn.v1", "calls")
        whole = sorted_through(reader, (CALLS,))
        outcome = folded(whole)
        assert outcome.parked == []
        assert outcome.rows[CALLS][AYB, CALL.id].row.version == 2

    def test_are_parked_where_there_is_no_row(self) -> None:
        reader = PaperReader()
        reader.put(CALL, b"\0 no body of ours", "agent-turn.v1", "calls")
        outcome = folded(sorted_through(reader, (CALLS,)))
        assert [each.behind for each in outcome.parked] == [False]
        assert outcome.parked[0].reason.startswith("BrokenHistory")
