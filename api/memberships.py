"""Routes of who belongs to an organisation: members, invitations, and the roles that say what they may."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field

from api.auth import AnyCaller, Caller, Organisation
from api.owners import release_owner
from api.ports import Ports
from api.positions import Read
from api.preconditions import tag
from api.problems import NOT_FOUND, PRECONDITION_FAILED, ROLE_IS_OURS, ROLE_UNKNOWN, SCOPE_TOO_WIDE, At, Problem, answers
from api.rights import BUILT_IN, Role, role_of
from api.scopes import SCOPES, covers
from api.sealing import opened
from api.shapes import Refers
from api.signing_in import Email, email_ref
from api.tokens import invitation_token, token_ref
from api.wire import Accepted, Cursor, Limit, Line, Page, Time, Wire, Wired, found, nothing, page_of, proper_id
from api.writing import Write
from commands.dispatch import Committed
from commands.memberships import (
    INVITATIONS,
    MEMBERSHIPS,
    OWNER,
    ROLES,
    ChangeRole,
    DefineRole,
    EndMembership,
    InvitationOver,
    InvitePerson,
    LastOwner,
    OwnerNotReleased,
    RemoveRole,
    RoleGrantsNothing,
    WithdrawInvitation,
)
from commands.people import SESSIONS, EndSession
from events.identifiers import InvalidIdentifier, read_identifier
from events.memberships import Grant
from events.streams import PLATFORM, StreamId
from projections import memberships as rows

router = APIRouter()
_SEEN_SECONDS = 2.0
RoleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")]


class Member(Wire):
    """Name and address are the person's own; they are shown while the person belongs here."""

    person_id: str
    name: str | None
    email: str | None
    role: Annotated[str, Refers("role", "/v1/roles/{}")]
    since: Time
    ended_at: Time | None


class NewRole(Wire):
    role: RoleName


class NewInvitation(Wire):
    email: Email
    role: RoleName
    seconds: Annotated[int, Field(ge=60, le=30 * 86_400, description="So long the token opens.")] = 7 * 86_400


class Invitation(Wire):
    id: str
    email: str | None
    role: Annotated[str, Refers("role", "/v1/roles/{}")]
    invited_at: Time
    expires_at: Time
    accepted_by: str | None
    withdrawn: bool


class NewlyInvited(Wire):
    """`token` is shown this once, and opens once: hand it to the invited person, and to nobody else."""

    id: str
    email: str
    role: str
    expires_at: Time
    token: str


def _scope(text: str) -> str:
    if text not in SCOPES:
        raise ValueError(f"there is no scope {text}; there are {', '.join(sorted(SCOPES))}")
    return text


class GivenScope(Wire):
    """A scope; with `resources`, for the things with these ids alone, at their own addresses."""

    scope: Annotated[str, Field(max_length=60), AfterValidator(_scope)]
    resources: Annotated[tuple[Line, ...], Field(max_length=100)] = ()


class RoleDefinition(Wire):
    description: Line
    grants: Annotated[tuple[GivenScope, ...], Field(min_length=1, max_length=100)]
    reaches_children: Annotated[bool, Field(description="Whether it counts in the organisations below this one.")] = False


class AnyRole(Wire):
    """No `grants`: it gives everything."""

    name: str
    description: str
    grants: tuple[GivenScope, ...]
    reaches_children: bool
    built_in: bool


@router.get("/memberships", tags=["memberships"])
async def list_memberships(organisation: Organisation, ports: Wired, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Member]:
    """Who belongs to the organisation, and who did."""
    found_rows, after = await read.page(rows.MEMBERSHIPS, organisation, limit=limit, cursor=cursor, newest_first=False)
    return page_of([_member(ports, row) for row in found_rows], after)


@router.get("/memberships/{person_id}", tags=["memberships"], responses=answers(NOT_FOUND))
async def get_membership(person_id: str, organisation: Organisation, ports: Wired, read: Read, response: Response) -> Member:
    """One member."""
    row = found(await read.row(rows.MEMBERSHIPS, _membership(organisation, person_id)), "membership")
    tag(response, row.version)
    return _member(ports, row)


@router.patch(
    "/memberships/{person_id}", tags=["memberships"],
    responses=answers(NOT_FOUND, ROLE_UNKNOWN, SCOPE_TOO_WIDE, PRECONDITION_FAILED, LastOwner, OwnerNotReleased),
)  # fmt: skip
async def change_role(person_id: str, body: NewRole, organisation: Organisation, who: AnyCaller, ports: Wired, write: Write) -> Accepted:
    """Give a member another role, from the next request on. Nobody gives or takes more than they may. The last owner stays one."""
    stream = _membership(organisation, person_id)
    _must_stand_above(ports, who, stream)
    _must_cover(who, _given(ports, organisation, body.role))
    released = 0 if body.role == OWNER else await release_owner(ports, write, stream)
    return await _seen(ports, await write(MEMBERSHIPS, stream, ChangeRole(role=body.role, released=released)))


@router.delete(
    "/memberships/{person_id}", tags=["memberships"], status_code=202,
    responses=answers(NOT_FOUND, SCOPE_TOO_WIDE, PRECONDITION_FAILED, LastOwner, OwnerNotReleased),
)  # fmt: skip
async def remove_member(person_id: str, organisation: Organisation, who: AnyCaller, ports: Wired, write: Write) -> Accepted:
    """Have a person belong to the organisation no more. Their tokens and personal keys open nothing of it from the next request on.

    Who belongs to no other organisation is signed out everywhere. An organisation's last owner is not removed: make somebody else an owner
    first.
    """
    stream = _membership(organisation, person_id)
    _must_stand_above(ports, who, stream)
    released = await release_owner(ports, write, stream)
    accepted = await _seen(ports, await write(MEMBERSHIPS, stream, EndMembership(reason="removed", released=released)))
    if all(each.tenant == organisation for each in ports.access.memberships_of(stream.id)):
        for session in ports.access.sessions_of(stream.id):
            await write(SESSIONS, StreamId(PLATFORM, "sessions", session.id), EndSession(reason="removed"), step=session.id, aside=True)
    return accepted


@router.post("/invitations", tags=["memberships"], status_code=201, responses=answers(ROLE_UNKNOWN, SCOPE_TOO_WIDE, PRECONDITION_FAILED))
async def invite_person(body: NewInvitation, organisation: Organisation, who: AnyCaller, ports: Wired, write: Write) -> NewlyInvited:
    """Invite somebody by their e-mail address. Whether they are known here already is not told."""
    _must_cover(who, _given(ports, organisation, body.role))
    invitation_id, reference = write.intent.fresh_id("inv_"), email_ref(ports.keyring, body.email)
    token = invitation_token(ports.keyring, invitation_id, write.intent.seed)
    until = write.now + timedelta(seconds=body.seconds)
    command = InvitePerson(
        email=ports.keyring.seal(f"{organisation}/{reference}", body.email), email_ref=reference, role=body.role,
        token_ref=token_ref(ports.keyring, token), expires_at=until,
    )  # fmt: skip
    await _seen(ports, await write(INVITATIONS, StreamId(organisation, "invitations", invitation_id), command))
    write.created_at(f"/v1/invitations/{invitation_id}")
    return NewlyInvited(id=invitation_id, email=body.email, role=body.role, expires_at=until, token=token)


@router.get("/invitations", tags=["memberships"])
async def list_invitations(
    organisation: Organisation, ports: Wired, read: Read, limit: Limit = 20, cursor: Cursor = None
) -> Page[Invitation]:
    """All invitations, accepted and withdrawn ones included, without their tokens."""
    found_rows, after = await read.page(rows.INVITATIONS, organisation, limit=limit, cursor=cursor)
    return page_of([_invited(ports, row) for row in found_rows], after)


@router.get("/invitations/{invitation_id}", tags=["memberships"], responses=answers(NOT_FOUND))
async def get_invitation(invitation_id: str, organisation: Organisation, ports: Wired, read: Read, response: Response) -> Invitation:
    """One invitation."""
    row = found(await read.row(rows.INVITATIONS, _invitation(organisation, invitation_id)), "invitation")
    tag(response, row.version)
    return _invited(ports, row)


@router.delete(
    "/invitations/{invitation_id}", tags=["memberships"], status_code=202, responses=answers(NOT_FOUND, InvitationOver, PRECONDITION_FAILED)
)
async def withdraw_invitation(invitation_id: str, organisation: Organisation, ports: Wired, write: Write) -> Accepted:
    """Withdraw an invitation that nobody accepted; its token opens nothing any more."""
    return await _seen(ports, await write(INVITATIONS, _invitation(organisation, invitation_id), WithdrawInvitation()))


@router.get("/roles", tags=["memberships"])
async def list_roles(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[AnyRole]:
    """The organisation's own roles; on the first page the built-in ones before them."""
    found_rows, after = await read.page(rows.ROLES, organisation, limit=limit, cursor=cursor, newest_first=False)
    ours = [] if cursor is not None else [_role(each, built_in=True) for each in BUILT_IN.values()]
    return page_of([*ours, *(_own(row) for row in found_rows if not row.removed)], after)


@router.get("/roles/{role}", tags=["memberships"], responses=answers(NOT_FOUND))
async def get_role(role: str, organisation: Organisation, read: Read, response: Response) -> AnyRole:
    """One role."""
    if role in BUILT_IN:
        return _role(BUILT_IN[role], built_in=True)
    row = await read.row(rows.ROLES, _roles(organisation, role))
    if row is None or row.removed:
        raise nothing("role")
    tag(response, row.version)
    return _own(row)


@router.put(
    "/roles/{role}",
    tags=["memberships"],
    responses=answers(NOT_FOUND, ROLE_IS_OURS, SCOPE_TOO_WIDE, RoleGrantsNothing, PRECONDITION_FAILED),
)
async def define_role(
    role: Annotated[str, Path(description="Small letters, digits and `-`.")], body: RoleDefinition, organisation: Organisation,
    who: AnyCaller, ports: Wired, write: Write,
) -> AnyRole:  # fmt: skip
    """Say what a role of the organisation's own gives. It counts for all who have it from the next request on."""
    if role in BUILT_IN:
        raise Problem(ROLE_IS_OURS, ROLE_IS_OURS.meaning)
    grants = tuple(Grant(scope=each.scope, resources=tuple(each.resources)) for each in body.grants)
    wanted = Role(name=role, description=body.description, grants=grants, reaches_children=body.reaches_children)
    _must_cover(who, wanted)
    if (before := role_of(ports.access, organisation, role)) is not None:
        _must_cover(who, before)
    command = DefineRole(description=body.description, grants=grants, reaches_children=body.reaches_children)
    await _seen(ports, await write(ROLES, _roles(organisation, role), command))
    return _role(wanted, built_in=False)


@router.delete("/roles/{role}", tags=["memberships"], status_code=202, responses=answers(NOT_FOUND, ROLE_IS_OURS, PRECONDITION_FAILED))
async def remove_role(role: str, organisation: Organisation, ports: Wired, write: Write) -> Accepted:
    """Take a role of the organisation's own away. Who has it may nothing by it any more."""
    if role in BUILT_IN:
        raise Problem(ROLE_IS_OURS, ROLE_IS_OURS.meaning)
    return await _seen(ports, await write(ROLES, _roles(organisation, role), RemoveRole()))


def _given(ports: Ports, organisation: str, name: str) -> Role:
    role = role_of(ports.access, organisation, name)
    if role is None:
        raise Problem(ROLE_UNKNOWN, ROLE_UNKNOWN.meaning, errors=[At(pointer="#/role", detail="names no role")])
    return role


def _must_cover(who: Caller, role: Role) -> None:
    wanted = () if not role.grants else tuple(grant.scope for grant in role.grants)
    if not covers(who.scopes, wanted):
        raise Problem(SCOPE_TOO_WIDE, f"The role {role.name} gives more than you may yourself: {', '.join(who.scopes)}.")


def _must_stand_above(ports: Ports, who: Caller, stream: StreamId) -> None:
    """Only who may all that a member may changes what the member may. Raises Problem."""
    row = ports.access.membership(stream.tenant, stream.id)
    role = None if row is None else role_of(ports.access, stream.tenant, row.role)
    if role is not None:
        _must_cover(who, role)


async def _seen(ports: Ports, committed: Committed) -> Accepted:
    await ports.api_keys.wait_for([committed.position], _SEEN_SECONDS)
    return Accepted(position=str(committed.position))


def _membership(organisation: str, text: str) -> StreamId:
    try:
        named = read_identifier(text)
    except InvalidIdentifier as cause:
        raise nothing("membership") from cause
    if not named.startswith("USR-"):
        raise nothing("membership")
    return StreamId(organisation, "memberships", named)


def _invitation(organisation: str, text: str) -> StreamId:
    return StreamId(organisation, "invitations", proper_id(text, "inv_", "invitation"))


def _roles(organisation: str, name: str) -> StreamId:
    if not name or not name.isascii() or len(name) > 60 or not name.replace("-", "").isalnum() or name != name.lower():
        raise nothing("role")
    return StreamId(organisation, "roles", name)


def _member(ports: Ports, row: rows.Membership) -> Member:
    person = ports.access.person(row.id) if row.ended_at is None else None
    return Member(
        person_id=row.id, name=opened(ports.keyring, person.name) if person else None,
        email=opened(ports.keyring, person.email) if person else None, role=row.role, since=row.since, ended_at=row.ended_at,
    )  # fmt: skip


def _invited(ports: Ports, row: rows.Invitation) -> Invitation:
    return Invitation(
        id=row.id, email=opened(ports.keyring, row.email), role=row.role, invited_at=row.invited_at, expires_at=row.expires_at,
        accepted_by=row.accepted_by or None, withdrawn=row.withdrawn,
    )  # fmt: skip


def _own(row: rows.Role) -> AnyRole:
    return _role(Role(name=row.id, description=row.description, grants=row.grants, reaches_children=row.reaches_children), built_in=False)


def _role(role: Role, *, built_in: bool) -> AnyRole:
    grants = tuple(GivenScope(scope=each.scope, resources=each.resources) for each in role.grants)
    return AnyRole(
        name=role.name, description=role.description, grants=grants, reaches_children=role.reaches_children, built_in=built_in
    )  # fmt: skip
