"""Who belongs to a business, who is invited, and what its own roles give."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.memberships import (
    Grant,
    InvitationAccepted,
    InvitationEvent,
    InvitationWithdrawn,
    MembershipEnded,
    MembershipEvent,
    MembershipGranted,
    MembershipRoleChanged,
    PersonInvited,
    RoleDefined,
    RoleEvent,
    RoleRemoved,
)
from events.recorded import Recorded
from events.sealing import Sealed
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Its id is the person's. One that has ended stays, so that it can be said why somebody may nothing.

    `position`: of the fact that made it what it is.
    """

    tenant: str
    id: str
    version: int
    role: str
    since: datetime
    position: str
    ended_at: datetime | None = None
    ended_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Whether its time is over is for whoever has a clock. `token_ref` is the token's keyed hash."""

    tenant: str
    id: str
    version: int
    email: Sealed[str]
    email_ref: str
    role: str
    token_ref: str
    invited_at: datetime
    invited_by: str
    expires_at: datetime
    accepted_by: str = ""
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role of the business's own; its id is its name. `position`: of the fact that made it what it is."""

    tenant: str
    id: str
    version: int
    description: str
    grants: tuple[Grant, ...]
    reaches_children: bool
    position: str
    removed: bool = False


def evolve_membership(row: Membership | None, recorded: Recorded[MembershipEvent]) -> Membership:
    fact, stream, at = recorded.fact, recorded.stream, recorded.occurred_at
    if isinstance(fact, MembershipGranted):
        return Membership(
            tenant=stream.tenant, id=stream.id, version=recorded.version, role=fact.role, since=at, position=str(recorded.position)
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{stream} has facts before a membership was granted")
    match fact:
        case MembershipRoleChanged(role=role):
            return replace(row, role=role, position=str(recorded.position))
        case MembershipEnded(reason=reason):
            return replace(row, ended_at=at, ended_by=reason, position=str(recorded.position))
        case _:
            assert_never(fact)


def evolve_invitation(row: Invitation | None, recorded: Recorded[InvitationEvent]) -> Invitation:
    fact, stream = recorded.fact, recorded.stream
    if isinstance(fact, PersonInvited):
        return Invitation(
            tenant=stream.tenant, id=stream.id, version=recorded.version, email=fact.email, email_ref=fact.email_ref, role=fact.role,
            token_ref=fact.token_ref, invited_at=recorded.occurred_at, invited_by=recorded.actor, expires_at=fact.expires_at,
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{stream} has facts before anybody was invited")
    match fact:
        case InvitationAccepted(person_id=person_id):
            return replace(row, accepted_by=person_id)
        case InvitationWithdrawn():
            return replace(row, withdrawn=True)
        case _:
            assert_never(fact)


def evolve_role(row: Role | None, recorded: Recorded[RoleEvent]) -> Role:
    fact, stream = recorded.fact, recorded.stream
    match fact:
        case RoleDefined(description=description, grants=grants, reaches_children=reaches_children):
            return Role(
                tenant=stream.tenant, id=stream.id, version=recorded.version, description=description, grants=grants,
                reaches_children=reaches_children, position=str(recorded.position),
            )  # fmt: skip
        case RoleRemoved():
            if row is None:
                raise BrokenHistory(f"{stream} was removed before it was defined")
            return replace(row, grants=(), removed=True, position=str(recorded.position))
        case _:
            assert_never(fact)


MEMBERSHIPS = Table(name="memberships", version=1, room="memberships", category="memberships", row=Membership, evolve=evolve_membership)
INVITATIONS = Table(name="invitations", version=1, room="memberships", category="invitations", row=Invitation, evolve=evolve_invitation)
ROLES = Table(name="roles", version=1, room="memberships", category="roles", row=Role, evolve=evolve_role)
