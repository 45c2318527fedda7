"""Routes of feature flags: switches of a business, read when a call begins."""

import re
from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.auth import Organisation
from api.positions import Read
from api.preconditions import tag
from api.problems import NOT_FOUND, PRECONDITION_FAILED, answers
from api.wire import Accepted, Cursor, Limit, Line, Page, Paragraphs, Time, Wire, found, nothing, page_of
from api.writing import Write
from commands.flags import FLAGS, ChangeFlag, RemoveFlag, SetFlag
from events.streams import StreamId
from projections import flags as rows

router = APIRouter(prefix="/flags", tags=["flags"])
_NAME = r"^[a-z0-9][a-z0-9_.-]{0,99}$"


class FlagValue(Wire):
    """`variant` is what a call records of the flag."""

    enabled: bool
    variant: Line
    description: Paragraphs = ""


class Flag(FlagValue):
    name: str
    set_at: Time


class FlagChanges(Wire):
    """A merge patch: what is left out stays as it is. Nothing of a flag can be taken away, so null is refused."""

    enabled: bool = False
    variant: Line = ""
    description: Paragraphs = ""


Name = Annotated[str, Path(description="Small letters, digits and `_ . -`.")]
NewName = Annotated[str, Path(pattern=_NAME, description="Small letters, digits and `_ . -`.")]


@router.get("")
async def list_flags(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Flag]:
    """The flags that are set, by name."""
    found_rows, after = await read.page(rows.FLAGS, organisation, limit=limit, cursor=cursor, newest_first=False)
    return page_of([_view(row) for row in found_rows], after)


@router.get("/{name}", responses=answers(NOT_FOUND))
async def get_flag(name: Name, organisation: Organisation, read: Read, response: Response) -> Flag:
    """One flag."""
    row = found(await read.row(rows.FLAGS, _stream(organisation, name)), "flag")
    tag(response, row.version)
    return _view(row)


@router.put("/{name}", responses=answers(PRECONDITION_FAILED))
async def set_flag(name: NewName, body: FlagValue, organisation: Organisation, write: Write) -> Flag:
    """Give the flag a value. Calls that begin from now on read it."""
    command = SetFlag(enabled=body.enabled, variant=body.variant, description=body.description)
    stream = _stream(organisation, name)
    committed = await write(FLAGS, stream, command)
    at = await write.first_at(stream, committed)
    return Flag(name=name, enabled=body.enabled, variant=body.variant, description=body.description, set_at=at)


@router.patch("/{name}", responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def change_flag(name: Name, body: FlagChanges, organisation: Organisation, write: Write) -> Accepted:
    """Change some of a flag that is set. Calls that begin from now on read it."""
    committed = await write(FLAGS, _stream(organisation, name), ChangeFlag(**body.model_dump(exclude_unset=True)))
    return Accepted(position=str(committed.position))


@router.delete("/{name}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def remove_flag(name: Name, organisation: Organisation, write: Write) -> Accepted:
    """Take the flag away; calls take their default."""
    committed = await write(FLAGS, _stream(organisation, name), RemoveFlag())
    return Accepted(position=str(committed.position))


def _stream(organisation: str, name: str) -> StreamId:
    if not re.fullmatch(_NAME, name):
        raise nothing("flag")
    return StreamId(organisation, "flags", name)


def _view(row: rows.Flag) -> Flag:
    return Flag(name=row.id, enabled=row.enabled, variant=row.variant, description=row.description, set_at=row.set_at)
