"""Routes of consents: what callers allow, where the log says so, and how they take it back."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.auth import Organisation
from api.ports import Ports
from api.positions import Read
from api.preconditions import tag
from api.problems import NOT_FOUND, PRECONDITION_FAILED, answers
from api.sealing import Person, PhoneNumber, opened, person, seal_caller
from api.wire import Accepted, Cursor, GivenTime, Limit, Line, Page, Time, Wire, Wired, found, page_of
from api.writing import Write
from commands.consents import CONSENTS, ConsentNotHeld, GrantConsent, RevokeConsent
from events.consents import Purpose
from events.streams import StreamId
from projections import consents as rows

router = APIRouter(prefix="/consents", tags=["consents"])


class NewConsent(Wire):
    """`evidence` locates what proves it: a form, a recording, a letter."""

    caller: PhoneNumber
    purpose: Purpose
    evidence: Line
    expires_at: GivenTime | None = None


class Consent(Wire):
    """A permission as it was given; `position` is its place on the log."""

    caller_id: str
    purpose: Purpose
    evidence: str
    expires_at: Time | None
    position: str


class Statement(Wire):
    """What the person said, and where on the log it stands."""

    at: Time
    evidence: str
    position: str
    version: int
    expires_at: Time | None


class Permission(Wire):
    purpose: Purpose
    holds: bool
    granted: Statement | None
    withdrawn: Statement | None


class Caller(Wire):
    """A caller and what they allow. `number` is null when the person was erased."""

    id: str
    number: str | None
    permissions: list[Permission]


Named = Annotated[str, Path(description="The caller's number in E.164, or `caller_…`.")]


@router.post("", status_code=201, responses=answers(PRECONDITION_FAILED))
async def grant_consent(body: NewConsent, organisation: Organisation, ports: Wired, write: Write) -> Consent:
    """Put on record that a person allows something."""
    reference, subject = seal_caller(ports.keyring, organisation, body.caller)
    command = GrantConsent(subject=subject, purpose=body.purpose, evidence=body.evidence, expires_at=body.expires_at)
    committed = await write(CONSENTS, StreamId(organisation, "consents", reference), command)
    caller = Person(reference=reference)
    write.created_at(f"/v1/consents/{caller.id}")
    return Consent(
        caller_id=caller.id, purpose=body.purpose, evidence=body.evidence, expires_at=body.expires_at, position=str(committed.position)
    )  # fmt: skip


@router.get("")
async def list_consents(organisation: Organisation, ports: Wired, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Caller]:
    """The callers who ever allowed anything, and what they allow now."""
    found_rows, after = await read.page(rows.CALLER_PERMISSIONS, organisation, limit=limit, cursor=cursor)
    return page_of([_view(ports, row) for row in found_rows], after)


@router.get("/{caller}", responses=answers(NOT_FOUND))
async def get_consents(caller: Named, organisation: Organisation, ports: Wired, read: Read, response: Response) -> Caller:
    """What one caller allows."""
    who = person(ports.keyring, organisation, caller)
    row = found(await read.row(rows.CALLER_PERMISSIONS, StreamId(organisation, "consents", who.reference)), "caller")
    tag(response, row.version)
    return _view(ports, row)


@router.delete("/{caller}/{purpose}", status_code=202, responses=answers(ConsentNotHeld, NOT_FOUND, PRECONDITION_FAILED))
async def revoke_consent(
    caller: Named,
    purpose: Purpose,
    organisation: Organisation,
    ports: Wired,
    write: Write,
    evidence: Annotated[Line, Query(description="What proves the withdrawal.")] = "api",
) -> Accepted:
    """Withdraw one permission. Live recordings stop as soon as the fact is processed."""
    who = person(ports.keyring, organisation, caller)
    command = RevokeConsent(purpose=purpose, evidence=evidence)
    committed = await write(CONSENTS, StreamId(organisation, "consents", who.reference), command)
    return Accepted(position=str(committed.position))


def _view(ports: Ports, row: rows.CallerPermissions) -> Caller:
    now = ports.clock()
    return Caller(
        id=Person(reference=row.id).id,
        number=opened(ports.keyring, row.subject),
        permissions=[
            Permission(purpose=each.purpose, holds=each.holds(now), granted=_said(each.granted), withdrawn=_said(each.withdrawn))
            for each in row.permissions
        ],
    )


def _said(statement: rows.Statement | None) -> Statement | None:
    if statement is None:
        return None
    return Statement(
        at=statement.said_at, evidence=statement.evidence, position=statement.position, version=statement.version,
        expires_at=statement.expires_at,
    )  # fmt: skip
