"""What the facts of an operation make of its row."""

import pytest

from events.operations import (
    OperationBegun,
    OperationCancelled,
    OperationDone,
    OperationFailed,
    OperationFile,
    OperationFileFetched,
    OperationProgressed,
    OperationRequested,
)
from events.streams import StreamId
from projections.operations import OPERATIONS, OperationStatus
from projections.table import BrokenHistory
from tests.projections.told import AYB, told

STREAM = StreamId(AYB, "operations", "op_1")
REQUESTED = OperationRequested(kind="export", wanted="{}")
FILE = OperationFile(name="part-00001.ndjson", kept_as="op_1/00001-1", bytes=3, digest="d", facts=1)


class TestOperation:
    def test_goes_on_from_where_the_last_attempt_was(self) -> None:
        first = OperationProgressed(attempt=1, done=1, position="p", files=(FILE,))
        row = OPERATIONS.fold(told(STREAM, REQUESTED, OperationBegun(attempt=1, worker="a"), first, OperationBegun(attempt=2, worker="b")))
        assert row is not None
        assert (row.status, row.attempt, row.done, row.position, row.files) == (OperationStatus.RUNNING, 2, 1, "p", (FILE,))

    def test_ends_in_one_of_three_ways(self) -> None:
        ends = (OperationDone(attempt=1, summary="s"), OperationFailed(reason="r"), OperationCancelled(reason="r"))
        rows = [OPERATIONS.fold(told(STREAM, REQUESTED, OperationBegun(attempt=1, worker="a"), end)) for end in ends]
        assert [row and row.status for row in rows] == [OperationStatus.DONE, OperationStatus.FAILED, OperationStatus.CANCELLED]
        assert [row and row.ended_at is not None for row in rows] == [True] * 3

    def test_is_not_changed_by_who_fetches_its_files(self) -> None:
        before = OPERATIONS.fold(told(STREAM, REQUESTED))
        after = OPERATIONS.fold(told(STREAM, REQUESTED, OperationFileFetched(fetching="1", name="n", reason="r")))
        assert before is not None
        assert after is not None
        assert (after.status, after.files) == (before.status, before.files)

    def test_cannot_begin_with_its_end(self) -> None:
        with pytest.raises(BrokenHistory):
            OPERATIONS.fold(told(STREAM, OperationDone(attempt=1)))
