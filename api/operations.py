"""Routes of operations: long work that was asked for, how far it is, and what came of it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from api.auth import Organisation
from api.positions import Read
from api.preconditions import tag
from api.problems import NOT_FOUND, PRECONDITION_FAILED, answers
from api.wire import Accepted, Cursor, Limit, Line, Page, Time, Wire, found, page_of, proper_id
from api.writing import Write
from commands.operations import OPERATIONS, CancelOperation, OperationOver
from events.streams import StreamId
from projections import operations as rows

router = APIRouter(prefix="/operations", tags=["operations"])
PREFIX = "op_"


class File(Wire):
    """Something whole that came of it. `href` is where to fetch it."""

    name: str
    bytes: int
    sha256: str
    facts: int
    href: str


class Operation(Wire):
    """Long work. `done` counts what it has dealt with; `position` is where the next work of its kind goes on."""

    id: str
    kind: str
    status: rows.OperationStatus
    requested_at: Time
    requested_by: str
    attempt: Annotated[int, Field(description="How often a process took it up; 0: none has yet.")]
    done: int
    position: str
    files: list[File]
    files_expire_at: Annotated[Time | None, Field(description="From then on its files are there no more; null: it has none, or goes on.")]
    summary: str
    reason: Annotated[str | None, Field(description="Why it failed or was cancelled.")]
    ended_at: Time | None


OperationId = Annotated[str, Path(description="`op_…`")]


@router.get("")
async def list_operations(
    organisation: Organisation, read: Read,
    status: Annotated[rows.OperationStatus | None, Query(description="Only operations that stand so.")] = None,
    limit: Limit = 20, cursor: Cursor = None,
) -> Page[Operation]:  # fmt: skip
    """The organisation's operations, the newest first, but for those asked for with an `Idempotency-Key`: these stand by their ids."""
    found_rows, after = await read.page(rows.OPERATIONS, organisation, limit=limit, cursor=cursor, status=status)
    return page_of([view(row) for row in found_rows], after)


@router.get("/{operation_id}", responses=answers(NOT_FOUND))
async def get_operation(operation_id: OperationId, organisation: Organisation, read: Read, response: Response) -> Operation:
    """One operation. While it goes on, `Retry-After` says when it is worth asking again."""
    row = found(await read.row(rows.OPERATIONS, stream_of(organisation, operation_id)), "operation")
    tag(response, row.version)
    if row.status not in rows.ENDED:
        response.headers["Retry-After"] = "1"
    return view(row)


@router.post("/{operation_id}/cancel", status_code=202, responses=answers(NOT_FOUND, OperationOver, PRECONDITION_FAILED))
async def cancel_operation(
    operation_id: OperationId, organisation: Organisation, write: Write,
    reason: Annotated[Line, Query(description="Why nobody wants it any more.")] = "not-stated",
) -> Accepted:  # fmt: skip
    """Have the work stopped. What came of it so far stays."""
    committed = await write(OPERATIONS, stream_of(organisation, operation_id), CancelOperation(reason=reason))
    return Accepted(position=str(committed.position))


def stream_of(organisation: str, operation_id: str) -> StreamId:
    """Raises Problem (404) for an id that could not be ours."""
    return StreamId(organisation, "operations", proper_id(operation_id, PREFIX, "operation"))


def view(row: rows.Operation) -> Operation:
    """An operation as it is shown."""
    files = [
        File(name=each.name, bytes=each.bytes, sha256=each.digest, facts=each.facts, href=f"/v1/exports/{row.id}/files/{each.name}")
        for each in row.files
    ]
    return Operation(
        id=row.id, kind=row.kind, status=row.status, requested_at=row.requested_at, requested_by=row.requested_by, attempt=row.attempt,
        done=row.done, position=row.position, files=files, files_expire_at=rows.files_expire_at(row),
        summary=row.summary, reason=row.reason, ended_at=row.ended_at,
    )  # fmt: skip
