"""Long work as it stands: what was wanted, how far it is, what came of it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from events.operations import (
    OperationBegun,
    OperationCancelled,
    OperationDone,
    OperationEvent,
    OperationFailed,
    OperationFile,
    OperationFileFetched,
    OperationFilesRemoved,
    OperationProgressed,
    OperationRequested,
)
from events.recorded import Recorded
from projections.table import BrokenHistory, Table


class OperationStatus(StrEnum):
    REQUESTED = "requested"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({OperationStatus.DONE, OperationStatus.FAILED, OperationStatus.CANCELLED})


FILES_KEPT = timedelta(days=7)
"""So long after its end the files of an operation are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`position`: where the next attempt would go on, or the next work of this kind. `files` in the order of their making.

    `files_removed`: they are there no more.
    """

    tenant: str
    id: str
    version: int
    kind: str
    wanted: str
    because: str
    status: OperationStatus
    requested_at: datetime
    requested_by: str
    attempt: int = 0
    done: int = 0
    position: str = ""
    files: tuple[OperationFile, ...] = ()
    summary: str = ""
    reason: str | None = None
    ended_at: datetime | None = None
    files_removed: bool = False


def files_expire_at(row: Operation) -> datetime | None:
    """When its files are removed; None where there are none, or it goes on."""
    return row.ended_at + FILES_KEPT if row.ended_at is not None and row.files else None


def evolve(row: Operation | None, recorded: Recorded[OperationEvent]) -> Operation | None:
    fact, at, stream = recorded.fact, recorded.occurred_at, recorded.stream
    if isinstance(fact, OperationRequested):
        return Operation(
            tenant=stream.tenant, id=stream.id, version=recorded.version, kind=fact.kind, wanted=fact.wanted, because=fact.because,
            status=OperationStatus.REQUESTED, requested_at=at, requested_by=recorded.actor,
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{stream} has facts before it was requested")
    match fact:
        case OperationBegun(attempt=attempt):
            return replace(row, status=OperationStatus.RUNNING, attempt=attempt)
        case OperationProgressed(done=done, position=position, files=files):
            return replace(row, done=done, position=position, files=(*row.files, *files))
        case OperationDone(summary=summary):
            return replace(row, status=OperationStatus.DONE, summary=summary, ended_at=at)
        case OperationFailed(reason=reason):
            return replace(row, status=OperationStatus.FAILED, reason=reason, ended_at=at)
        case OperationCancelled(reason=reason):
            return replace(row, status=OperationStatus.CANCELLED, reason=reason, ended_at=at)
        case OperationFileFetched():
            return row
        case OperationFilesRemoved():
            return replace(row, files_removed=True)
        case _:
            assert_never(fact)


OPERATIONS = Table(name="operations", version=2, room="operations", category="operations", row=Operation, evolve=evolve)
