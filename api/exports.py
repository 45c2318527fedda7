"""Routes of exports: an organisation's facts as files, made by an operation, fetched by whoever may."""

import json
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field, model_validator

from api.auth import Organisation
from api.operations import PREFIX, OperationId, stream_of
from api.positions import Read
from api.problems import FILES_EXPIRED, INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED, READS_UNAVAILABLE, Problem, answers
from api.wire import Line, Wire, Wired, found
from api.writing import Write
from commands.operations import OPERATIONS, NoteFetching, RequestOperation
from events.positions import Cursor, InvalidPosition
from events.registry import known_types
from projections import operations as rows

router = APIRouter(prefix="/exports", tags=["exports"])
KIND = "export"
_MEDIA = {"ndjson": "application/x-ndjson", "avro": "application/vnd.apache.avro", "parquet": "application/vnd.apache.parquet"}
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class ExportFormat(StrEnum):
    NDJSON = "ndjson"
    AVRO = "avro"
    PARQUET = "parquet"


def _bound(text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            Cursor.parse(text)
        except InvalidPosition as cause:
            raise ValueError("is neither a time such as 2026-11-21T10:00:00Z nor a position that an export gave") from cause
        return text
    if time.tzinfo is None:
        raise ValueError("has no zone; end it with Z for UTC")
    return text


def _known(name: str) -> str:
    if not any(name in (kind.name, kind.ce_type) for kind in known_types()):
        raise ValueError("is no kind of fact that there is")
    return name


Bound = Annotated[str, Field(min_length=1, max_length=200_000), AfterValidator(_bound)]
Type = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,80}(\.v[0-9]{1,4})?$"), AfterValidator(_known)]


class NewExport(Wire):
    """`since` is where it begins and `until` where it ends: a time of appending, or the `position` that an export has when it is done.

    Personal fields stay sealed as on the log. With `reason` they are opened, for whoever has the scope `exports:write`; that this was asked
    for, why, and each file that is fetched, is then a fact with the name of the key.
    """

    format: ExportFormat = ExportFormat.NDJSON
    since: Bound | None = None
    until: Bound | None = None
    types: Annotated[tuple[Type, ...], Field(max_length=50)] = ()
    reason: Line | None = None

    @model_validator(mode="after")
    def _can_be_opened(self) -> "NewExport":
        if self.reason is not None and self.format is ExportFormat.AVRO:
            raise ValueError("avro files keep what is sealed as it is; take ndjson or parquet to have it opened")
        return self


class Requested(Wire):
    """`id` is that of the operation that makes the files."""

    id: str
    position: str


@router.post("", status_code=202, responses=answers(PRECONDITION_FAILED, INVALID_REQUEST))
async def request_export(body: NewExport, organisation: Organisation, write: Write) -> Requested:
    """Have the organisation's facts made into files, which are there for seven days. `Location` is the operation that does it."""
    operation_id = write.intent.fresh_id(PREFIX)
    wanted = {"format": body.format.value, "since": body.since, "until": body.until, "types": sorted(set(body.types))}
    command = RequestOperation(kind=KIND, wanted=json.dumps(wanted, sort_keys=True), because=body.reason or "")
    committed = await write(OPERATIONS, stream_of(organisation, operation_id), command)
    write.created_at(f"/v1/operations/{operation_id}")
    return Requested(id=operation_id, position=str(committed.position))


@router.get(
    "/{operation_id}/files/{name}", response_class=Response,
    responses=answers(NOT_FOUND, FILES_EXPIRED, READS_UNAVAILABLE) | {200: {"description": "The file.", "content": _FILE}},
)  # fmt: skip
async def get_export_file(
    operation_id: OperationId, name: Annotated[str, Path(description="As the operation lists it.")], organisation: Organisation,
    ports: Wired, read: Read, write: Write,
    reason: Annotated[Line, Query(description="Why you take it. It stands on record where what is sealed lies open in it.")] = "not-stated",
) -> Response:  # fmt: skip
    """One file of an export; it is there until the operation's `files_expire_at`."""
    stream = stream_of(organisation, operation_id)
    row = found(await read.row(rows.OPERATIONS, stream), "operation")
    file = found(next((each for each in row.files if each.name == name), None), "file of this export")
    until = rows.files_expire_at(row)
    if row.files_removed or (until is not None and until <= ports.clock()):
        raise Problem(FILES_EXPIRED, FILES_EXPIRED.meaning)
    content = found(await ports.exports.content(organisation, operation_id, file.kept_as), "file of this export any more")
    if row.because:
        fetching = write.intent.command_id("fetching").hex()
        await write(OPERATIONS, stream, NoteFetching(fetching=fetching, name=name, reason=reason))
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", f"{operation_id}-{name}")
    headers = {"Content-Disposition": f'attachment; filename="{safe}"', "ETag": f'"{file.digest}"', **dict(write.response.headers)}
    return Response(content, headers=headers, media_type=_MEDIA.get(name.rpartition(".")[2], "application/octet-stream"))
