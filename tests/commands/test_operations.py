"""Long work: asked for once, done by one process at a time, ended once."""

import pytest

from commands.decider import NotFound
from commands.operations import (
    OPERATIONS,
    BeginOperation,
    CancelOperation,
    FailOperation,
    FinishOperation,
    NoteFetching,
    NoteFilesRemoved,
    NoteProgress,
    OperationCommand,
    OperationExists,
    OperationGoesOn,
    OperationOver,
    OperationTakenOver,
    RequestOperation,
)
from events.operations import (
    OperationBegun,
    OperationCancelled,
    OperationDone,
    OperationEvent,
    OperationFailed,
    OperationFileFetched,
    OperationFilesRemoved,
    OperationProgressed,
    OperationRequested,
)
from tests.given import given

REQUESTED = OperationRequested(kind="export", wanted="{}")
BEGUN = OperationBegun(attempt=1, worker="a")
PROGRESS = NoteProgress(attempt=1, done=5, position="p")
PROGRESSED = OperationProgressed(attempt=1, done=5, position="p")
ENDS: list[OperationEvent] = [OperationDone(attempt=1), OperationFailed(reason="r"), OperationCancelled(reason="r")]


class TestRequestOperation:
    def test_is_a_fact_once(self) -> None:
        given(OPERATIONS).when(RequestOperation(kind="export", wanted="{}")).then(REQUESTED)
        given(OPERATIONS, REQUESTED).when(RequestOperation(kind="export", wanted="{}")).then()

    def test_is_refused_for_other_work_under_its_id(self) -> None:
        given(OPERATIONS, REQUESTED).when(RequestOperation(kind="export", wanted="{}", because="curious")).then_refused(OperationExists)


class TestFiles:
    @pytest.mark.parametrize("end", ENDS)
    def test_are_removed_once_and_only_after_the_end(self, end: OperationEvent) -> None:
        given(OPERATIONS, REQUESTED, BEGUN).when(NoteFilesRemoved()).then_refused(OperationGoesOn)
        given(OPERATIONS, REQUESTED, BEGUN, end).when(NoteFilesRemoved()).then(OperationFilesRemoved())
        given(OPERATIONS, REQUESTED, BEGUN, end, OperationFilesRemoved()).when(NoteFilesRemoved()).then()


class TestAttempts:
    def test_are_counted(self) -> None:
        given(OPERATIONS, REQUESTED).when(BeginOperation(worker="a")).then(BEGUN)
        given(OPERATIONS, REQUESTED, BEGUN, PROGRESSED).when(BeginOperation(worker="b")).then(OperationBegun(attempt=2, worker="b"))

    def test_put_their_progress_on_record(self) -> None:
        given(OPERATIONS, REQUESTED, BEGUN).when(PROGRESS).then(PROGRESSED)

    @pytest.mark.parametrize("command", [PROGRESS, FinishOperation(attempt=1)])
    def test_that_were_taken_over_do_nothing_more(self, command: OperationCommand) -> None:
        given(OPERATIONS, REQUESTED, BEGUN, OperationBegun(attempt=2, worker="b")).when(command).then_refused(OperationTakenOver)


class TestEnd:
    @pytest.mark.parametrize("end", ENDS)
    @pytest.mark.parametrize("command", [BeginOperation(worker="b"), PROGRESS, FinishOperation(attempt=1), FailOperation(reason="r")])
    def test_is_for_ever(self, end: OperationEvent, command: OperationCommand) -> None:
        given(OPERATIONS, REQUESTED, BEGUN, end).when(command).then_refused(OperationOver)

    def test_comes_when_it_is_done_or_cannot_be(self) -> None:
        given(OPERATIONS, REQUESTED, BEGUN).when(FinishOperation(attempt=1, summary="s")).then(OperationDone(attempt=1, summary="s"))
        given(OPERATIONS, REQUESTED, BEGUN).when(FailOperation(reason="r")).then(OperationFailed(reason="r"))

    def test_comes_when_nobody_wants_it_and_may_be_asked_for_twice(self) -> None:
        cancelled = OperationCancelled(reason="r")
        given(OPERATIONS, REQUESTED).when(CancelOperation(reason="r")).then(cancelled)
        given(OPERATIONS, REQUESTED, cancelled).when(CancelOperation(reason="again")).then()
        given(OPERATIONS, REQUESTED, BEGUN, OperationDone(attempt=1)).when(CancelOperation(reason="r")).then_refused(OperationOver)
        given(OPERATIONS).when(CancelOperation(reason="r")).then_refused(NotFound)


class TestNoteFetching:
    def test_is_a_fact_each_time(self) -> None:
        fetched = OperationFileFetched(fetching="1", name="a", reason="audit")
        given(OPERATIONS, REQUESTED).when(NoteFetching(fetching="1", name="a", reason="audit")).then(fetched)
        given(OPERATIONS, REQUESTED, fetched).when(NoteFetching(fetching="1", name="a", reason="audit")).then()
