"""Who counts as the writer of a partition."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from events.admission import LAST_TERM, UNCLAIMED, Fence, Verdict, admit
from events.headers import Kind, RecordHeader

A, B = b"a" * 16, b"b" * 16


def record(kind: Kind, term: int, claim_id: bytes = A) -> RecordHeader:
    return RecordHeader(kind=kind, term=term, claim_id=claim_id)


def judged(*headers: RecordHeader | None) -> list[Verdict]:
    fence, verdicts = UNCLAIMED, []
    for header in headers:
        fence, verdict = admit(fence, header)
        verdicts.append(verdict)
    return verdicts


class TestClaim:
    def test_of_a_higher_term_is_valid(self) -> None:
        assert judged(record(Kind.CLAIM, 1), record(Kind.CLAIM, 5, B)) == [Verdict.CLAIM, Verdict.CLAIM]

    def test_of_an_equal_or_lower_term_is_lost(self) -> None:
        claims = judged(record(Kind.CLAIM, 3), record(Kind.CLAIM, 3, B), record(Kind.CLAIM, 2, B))
        assert claims == [Verdict.CLAIM, Verdict.LOST_CLAIM, Verdict.LOST_CLAIM]

    def test_of_the_last_term_closes_the_partition_for_every_other(self) -> None:
        closed = judged(record(Kind.CLAIM, LAST_TERM), record(Kind.CLAIM, LAST_TERM, B), record(Kind.CLAIM, LAST_TERM + 1, B))
        assert closed == [Verdict.CLAIM, Verdict.LOST_CLAIM, Verdict.LOST_CLAIM]

    def test_above_the_last_term_is_never_valid(self) -> None:
        assert judged(record(Kind.CLAIM, 2**64 - 1), record(Kind.CLAIM, 1)) == [Verdict.LOST_CLAIM, Verdict.CLAIM]


class TestRecord:
    def test_of_the_last_valid_claim_is_admitted_whatever_its_kind(self) -> None:
        kinds = (Kind.EVENT, Kind.RECEIPT, Kind.BARRIER, Kind.RELEASE)
        assert judged(record(Kind.CLAIM, 1), *(record(kind, 1) for kind in kinds))[1:] == [Verdict.ADMITTED] * 4

    def test_of_an_owner_who_was_superseded_is_dropped(self) -> None:
        assert judged(record(Kind.CLAIM, 1), record(Kind.CLAIM, 2, B), record(Kind.EVENT, 1))[-1] is Verdict.SUPERSEDED

    def test_of_the_loser_of_an_equal_term_is_dropped(self) -> None:
        assert judged(record(Kind.CLAIM, 1), record(Kind.CLAIM, 1, B), record(Kind.EVENT, 1, B))[-1] is Verdict.SUPERSEDED

    def test_of_a_term_that_nobody_claimed_is_foreign(self) -> None:
        assert judged(record(Kind.CLAIM, 1), record(Kind.EVENT, 2, B))[-1] is Verdict.FOREIGN

    def test_before_any_claim_is_foreign(self) -> None:
        assert judged(record(Kind.EVENT, 1)) == [Verdict.FOREIGN]

    def test_without_a_header_of_ours_is_foreign_and_changes_nothing(self) -> None:
        assert judged(record(Kind.CLAIM, 1), None, record(Kind.EVENT, 1)) == [Verdict.CLAIM, Verdict.FOREIGN, Verdict.ADMITTED]


histories = st.lists(
    st.one_of(st.none(), st.builds(record, st.sampled_from(Kind), st.integers(0, 4), st.sampled_from((A, B)))), max_size=40
)


@given(histories, st.data())
def test_a_reader_who_goes_on_with_the_fence_judges_as_one_who_read_it_all(history: list[RecordHeader | None], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(history)))
    fence = UNCLAIMED
    for header in history[:cut]:
        fence, _ = admit(fence, header)
    rest = []
    for header in history[cut:]:
        fence, verdict = admit(fence, header)
        rest.append(verdict)
    assert rest == judged(*history)[cut:]


@given(histories)
def test_terms_never_fall(history: list[RecordHeader | None]) -> None:
    fence = Fence()
    for header in history:
        after, _ = admit(fence, header)
        assert after.term >= fence.term
        fence = after


@given(histories, st.lists(st.integers(0, 40), max_size=6))
def test_judging_does_not_depend_on_how_the_records_come_in_batches(history: list[RecordHeader | None], cuts: list[int]) -> None:
    fence, verdicts = UNCLAIMED, []
    bounds = [0, *sorted(cuts), len(history)]
    for start, stop in pairwise(bounds):
        # Whoever takes the next batch knows of those before only the fence.
        for header in history[start:stop]:
            fence, verdict = admit(Fence(*fence), header)
            verdicts.append(verdict)
    assert verdicts == judged(*history)
