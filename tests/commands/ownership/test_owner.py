"""The owner of a partition: what it may answer, and when."""

from dataclasses import replace

import pytest

from commands.decider import NotFound
from commands.dispatch import CommandIdReused, CommitTooLarge, ExpectedVersionMismatch, LogUnavailable
from commands.flags import FLAGS, RemoveFlag, SetFlag
from commands.ownership.groups import Limits
from commands.ownership.streams import CannotOwn
from commands.ports import HistoryLost
from events.admission import UNCLAIMED, Verdict
from events.flags import FlagSet
from events.headers import Kind
from tests.commands.ownership.desk import DECIDERS, OFF, ON, PLACE, Desk, order, stream
from tests.paper_log import PaperLog


@pytest.fixture
def log() -> PaperLog:
    return PaperLog(PLACE)


@pytest.fixture
def desk(log: PaperLog) -> Desk:
    desk = Desk(log)
    assert desk.claim()
    return desk


class TestClaim:
    def test_begins_with_the_first_term(self, desk: Desk) -> None:
        assert desk.owner.owns
        assert desk.owner.fence.term == 1

    def test_takes_a_partition_over_with_the_next_term(self, desk: Desk, log: PaperLog) -> None:
        rival = Desk(log, "b")
        assert rival.claim()
        assert rival.owner.fence.term == 2

    def test_of_an_equal_term_is_lost_when_it_comes_second(self, log: PaperLog) -> None:
        first, second = Desk(log, "a"), Desk(log, "b")
        claims = [rival.owner.claim(rival.claim_id(), 0) for rival in (first, second)]
        offsets = [log.append([claim]) for claim in claims]
        for rival, offset in zip((first, second), offsets, strict=True):
            rival.read(offset)
        assert first.owner.settle(offsets[0])
        assert not second.owner.settle(offsets[1])
        assert not second.owner.owns

    def test_is_not_hindered_by_an_older_one_of_its_own_that_arrived_late(self, log: PaperLog) -> None:
        desk = Desk(log)
        lost = desk.owner.claim(desk.claim_id(), 0)
        later = desk.owner.claim(desk.claim_id(), 0)
        log.append([lost])
        offset = log.append([later])
        desk.read(offset)
        assert desk.owner.settle(offset)

    def test_finds_the_streams_that_another_owner_left(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.work()
        rival = Desk(log, "b")
        rival.claim()
        rival.ask("second", OFF, expected=1)
        rival.work()
        assert rival.committed("second").version == 2

    def test_is_not_made_on_half_a_history(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first")
        desk.work()
        with pytest.raises(CannotOwn, match="a kind of stream that is not known"):
            Desk(log, "b", deciders={}).claim()

    def test_keeps_time_from_running_backwards(self, desk: Desk, log: PaperLog) -> None:
        desk.now_ms = 9_000
        desk.ask("first")
        desk.work()
        rival = Desk(log, "b")
        rival.claim()
        rival.now_ms = 2_000
        rival.ask("second", OFF)
        rival.work()
        assert [raw.timestamp_ms for raw in log.records] == sorted(raw.timestamp_ms for raw in log.records)
        assert log.records[-1].timestamp_ms == 9_000


class TestAcceptedCommand:
    def test_is_answered_with_its_place_version_and_facts(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.work()
        committed = desk.committed("first")
        assert committed.position.offset == len(log.records) - 1
        assert (committed.version, committed.repeated) == (1, False)
        assert [recorded.fact for recorded in committed.facts] == [FlagSet(enabled=True, variant="on")]
        assert list(committed.facts) == desk.told

    def test_is_not_answered_before_its_batch_is_confirmed(self, desk: Desk) -> None:
        desk.ask("first")
        desk.group()
        assert desk.answers == {}

    def test_reads_the_same_from_the_log_as_its_owner_said(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.work()
        reader = Desk(log, "b")
        reader.read(len(log.records))
        assert reader.told == desk.told

    def test_that_changes_nothing_leaves_a_receipt(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.ask("second", ON)
        desk.work()
        header = log.records[-1].header
        assert header is not None
        assert (header.kind, header.version) == (Kind.RECEIPT, 1)
        assert desk.committed("second").facts == ()
        assert desk.committed("second").position.offset == len(log.records) - 1

    def test_sees_what_the_ones_before_it_in_the_batch_bring_about(self, desk: Desk) -> None:
        desk.ask("first", ON, expected=0)
        desk.ask("second", OFF, expected=1)
        desk.ask("third", RemoveFlag(), expected=2)
        desk.ask("fourth", RemoveFlag())
        desk.work()
        assert [desk.committed(name).version for name in ("first", "second", "third")] == [1, 2, 3]
        assert isinstance(desk.answers["fourth"], NotFound)

    def test_waits_for_the_next_batch_when_this_one_is_full(self, log: PaperLog) -> None:
        desk = Desk(log, limits=Limits(group_commands=2))
        desk.claim()
        for number in range(5):
            desk.ask(str(number), at=stream(str(number)))
        assert len(desk.group().records) == 2
        assert len(desk.waiting) == 3

    def test_too_large_for_a_batch_is_refused_before_anything_is_sent(self, log: PaperLog) -> None:
        desk = Desk(log, limits=Limits(group_bytes=2_000, batch_bytes=3_000))
        desk.claim()
        desk.ask("small", ON)
        desk.ask("large", SetFlag(enabled=True, variant="on", description="x" * 4_000))
        desk.ask("alone", SetFlag(enabled=True, variant="on", description="x" * 1_500))
        desk.work()
        assert desk.committed("small").version == 1
        assert isinstance(desk.answers["large"], CommitTooLarge)
        assert desk.committed("alone").version == 2

    def test_whose_decider_fails_takes_no_other_with_it(self, log: PaperLog) -> None:
        def decide(_command: object, _state: object) -> tuple[FlagSet, ...]:
            raise ZeroDivisionError

        broken = replace(FLAGS, decide=decide)
        desk = Desk(log)
        desk.claim()
        desk.ask("first")
        desk.ask("broken")
        desk.waiting[-1].decider = broken
        desk.work()
        assert desk.committed("first").version == 1
        assert isinstance(desk.answers["broken"], ZeroDivisionError)


class TestRefusal:
    def test_appends_a_barrier_when_nothing_else_goes_out(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("remove", RemoveFlag())
        group = desk.group()
        assert desk.answers == {}
        desk.confirm(log.append(group.records))
        assert isinstance(desk.answers["remove"], NotFound)
        header = log.records[-1].header
        assert header is not None
        assert header.kind is Kind.BARRIER

    def test_rides_on_a_batch_that_goes_out_anyway(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("remove", RemoveFlag())
        desk.ask("first", ON)
        before = len(log.records)
        desk.work()
        assert len(log.records) == before + 1
        assert isinstance(desk.answers["remove"], NotFound)

    def test_is_not_remembered(self, desk: Desk) -> None:
        desk.ask("remove", RemoveFlag())
        desk.ask("first", ON)
        desk.work()
        desk.ask_as("again", order("remove"), RemoveFlag())
        desk.work()
        assert desk.committed("again").version == 2

    def test_of_a_wrong_version_says_expected_and_found(self, desk: Desk) -> None:
        desk.ask("first", ON, expected=3)
        desk.work()
        conflict = desk.answers["first"]
        assert isinstance(conflict, ExpectedVersionMismatch)
        assert (conflict.expected, conflict.found) == (3, 0)

    def test_of_what_is_not_there_says_so_whatever_version_was_expected(self, desk: Desk) -> None:
        desk.ask("remove", RemoveFlag(), expected=3)
        desk.work()
        assert isinstance(desk.answers["remove"], NotFound)

    def test_is_not_given_by_an_owner_who_was_superseded(self, desk: Desk, log: PaperLog) -> None:
        rival = Desk(log, "b")
        rival.claim()
        rival.ask("first", ON)
        rival.work()
        desk.ask("remove", RemoveFlag())
        desk.work()
        assert isinstance(desk.answers["remove"], LogUnavailable)


class TestRepeat:
    def test_gets_the_first_answer(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.work()
        desk.ask_as("again", order("first"), ON)
        before = len(log.records)
        desk.work()
        assert len(log.records) == before
        assert desk.committed("again").repeated
        assert desk.committed("again").position == desk.committed("first").position

    def test_in_the_same_batch_is_one_with_the_first(self, desk: Desk) -> None:
        desk.ask("first", ON)
        desk.ask_as("again", order("first"), ON)
        assert len(desk.group().records) == 1
        desk.confirm(desk.log.append(desk.owner.under_way.records if desk.owner.under_way else []))
        assert desk.committed("again") == desk.committed("first")._replace(repeated=True)

    def test_gets_the_first_answer_from_the_next_owner(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.work()
        rival = Desk(log, "b")
        rival.claim()
        rival.ask_as("again", order("first"), ON)
        rival.work()
        assert rival.committed("again").position == desk.committed("first").position
        assert rival.committed("again").version == 1

    def test_of_a_command_that_changed_nothing_still_changes_nothing_under_the_next_owner(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.ask("second", ON)
        desk.ask("third", OFF)
        desk.work()
        rival = Desk(log, "b")
        rival.claim()
        rival.ask_as("again", order("second"), ON)
        rival.work()
        assert rival.committed("again").repeated
        assert rival.committed("again").position == desk.committed("second").position
        assert rival.owner.streams.get(stream().key).version == 2  # type: ignore[union-attr]

    def test_with_another_body_is_refused(self, desk: Desk) -> None:
        desk.ask("first", ON)
        desk.work()
        desk.ask_as("again", order("first", body="another"), OFF)
        desk.work()
        assert isinstance(desk.answers["again"], CommandIdReused)

    def test_with_another_body_is_refused_in_the_same_batch(self, desk: Desk) -> None:
        desk.ask("first", ON)
        desk.ask_as("again", order("first", body="another"), OFF)
        desk.work()
        assert desk.committed("first").version == 1
        assert isinstance(desk.answers["again"], CommandIdReused)

    def test_on_another_stream_is_another_command(self, desk: Desk) -> None:
        desk.ask("first", ON, stream("one"))
        desk.ask_as("again", order("first"), ON, stream("two"))
        desk.work()
        assert not desk.committed("again").repeated

    def test_of_several_facts_is_answered_with_the_last_of_them(self, log: PaperLog) -> None:
        both = replace(FLAGS, decide=lambda _command, _state: (FlagSet(enabled=True, variant="a"), FlagSet(enabled=True, variant="b")))
        desk = Desk(log, deciders=DECIDERS)
        desk.claim()
        desk.ask("first")
        desk.waiting[-1].decider = both
        desk.work()
        rival = Desk(log, "b")
        rival.claim()
        rival.ask_as("again", order("first"))
        rival.work()
        assert rival.committed("again").position == desk.committed("first").position
        assert rival.committed("again").version == 2


class TestGap:
    def test_of_foreign_records_is_read_and_passed(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first")
        group = desk.group()
        log.scribble()
        desk.confirm(log.append(group.records))
        assert desk.committed("first").position.offset == 2
        assert desk.owner.counts[Verdict.FOREIGN] == 1
        assert list(desk.owner.dropped) == [(1, Verdict.FOREIGN)]

    def test_with_a_claim_in_it_turns_the_batch_away(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        group = desk.group()
        rival = Desk(log, "b")
        rival.claim()
        desk.confirm(log.append(group.records))
        assert isinstance(desk.answers["first"], LogUnavailable)
        assert not desk.owner.owns
        assert desk.owner.superseded_at == 1
        assert list(desk.owner.superseded) == [1]
        assert log.admitted() == []

    def test_with_a_lost_claim_in_it_changes_nothing(self, desk: Desk, log: PaperLog) -> None:
        late = Desk(log, "b")
        claim = late.owner.claim(late.claim_id(), 0)
        desk.ask("first", ON)
        group = desk.group()
        log.append([claim])
        desk.confirm(log.append(group.records))
        assert desk.committed("first").version == 1

    def test_is_not_believed_when_the_log_became_shorter(self, desk: Desk) -> None:
        desk.ask("first", ON)
        desk.group()
        with pytest.raises(HistoryLost):
            desk.owner.confirm(0)

    def test_with_our_claim_on_records_that_we_did_not_write_is_an_alarm(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        group = desk.group()
        log.append(group.records)
        base = log.append(group.records)
        with pytest.raises(HistoryLost, match="we did not write it"):
            desk.confirm(base)


class TestDoubt:
    def test_ends_with_the_first_answer_when_the_batch_is_found(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.ask("remove", RemoveFlag(), stream("none"))
        offset = log.append(desk.group().records)
        desk.owner.doubt()
        assert not desk.owner.owns
        assert desk.claim()
        assert desk.committed("first").position.offset == offset
        assert desk.committed("first").position.fence.term == 1
        assert isinstance(desk.answers["remove"], NotFound)

    def test_ends_with_a_new_decision_when_the_batch_is_not_there(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        group = desk.group()
        desk.owner.doubt()
        assert desk.claim()
        assert desk.answers == {}
        log.append(group.records)
        desk.work()
        assert desk.committed("first").version == 1
        assert len(log.admitted()) == 1
        assert desk.owner.counts[Verdict.SUPERSEDED] == 1

    def test_keeps_the_order_of_the_commands(self, desk: Desk) -> None:
        desk.ask("first", ON)
        desk.ask("second", OFF)
        desk.group()
        desk.ask("third", ON)
        desk.owner.doubt()
        desk.claim()
        desk.work()
        assert [desk.committed(name).version for name in ("first", "second", "third")] == [1, 2, 3]

    def test_is_settled_for_the_loser_of_a_race_as_well(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        group = desk.group()
        desk.owner.doubt()
        rival = Desk(log, "b")
        rival.claim()
        late = desk.owner.claim(desk.claim_id(), 0)
        log.append(group.records)
        offset = log.append([late])
        desk.read(offset)
        assert not desk.owner.settle(offset)
        answers, absent = desk.owner.resolve()
        assert answers == []
        assert [submission.ticket for submission in absent] == ["first"]


class TestRelease:
    def test_is_the_owners_last_word(self, desk: Desk, log: PaperLog) -> None:
        log.append([desk.owner.release("", 0)])
        assert not desk.owner.owns
        header = log.admitted()[-1].header
        assert header is not None
        assert header.kind is Kind.RELEASE


class TestBeginning:
    def test_beyond_the_start_judges_by_the_fence_of_the_place(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        records = desk.group().records
        rival = Desk(log, "b")
        rival.claim()
        late = Desk(log, "c")
        late.owner.begin(len(log.records), rival.owner.fence, 0)
        log.append(records)
        rival.ask("second", OFF)
        rival.work()
        late.read(len(log.records))
        assert [raw.version for raw in late.told] == [1]
        assert late.owner.counts == {Verdict.SUPERSEDED: 1}
        assert late.claim()
        assert late.owner.fence.term == 3

    def test_without_that_fence_would_take_everybody_for_a_stranger(self, desk: Desk, log: PaperLog) -> None:
        """The control."""
        late = Desk(log, "c")
        late.owner.begin(len(log.records), UNCLAIMED, 0)
        desk.ask("first", ON)
        desk.work()
        late.read(len(log.records))
        assert (late.told, late.owner.counts) == ([], {Verdict.FOREIGN: 1})

    def test_is_not_possible_for_who_owns_or_waits_for_an_answer(self, desk: Desk) -> None:
        with pytest.raises(AssertionError):
            desk.owner.begin(5, desk.owner.fence, 0)

    def test_beyond_the_end_of_a_log_that_became_shorter_is_an_alarm(self, desk: Desk, log: PaperLog) -> None:
        late = Desk(log, "c")
        late.owner.begin(9, desk.owner.fence, 0)
        with pytest.raises(HistoryLost, match="was expected"):
            late.claim()


class TestStranger:
    def test_with_a_claim_that_nobody_made_is_passed_and_noted(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.work()
        header = log.records[-1].header
        assert header is not None
        log.records.append(log.records[-1]._replace(offset=2, value=b"broken", packed=header._replace(term=9).pack()))
        desk.ask("second", OFF)
        desk.work()
        assert desk.committed("second").version == 2
        assert list(desk.owner.dropped) == [(2, Verdict.FOREIGN)]

    def test_names_no_schema_that_anybody_waits_for(self, desk: Desk, log: PaperLog) -> None:
        desk.ask("first", ON)
        desk.work()
        header = log.records[-1].header
        assert header is not None
        own = log.records[-1]._replace(offset=2)
        foreign = own._replace(offset=3, value=b"\xc3\x01unheard.of", packed=header._replace(term=9).pack())
        assert list(desk.owner.admissible([own, foreign])) == [own]
