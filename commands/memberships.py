"""Decides who belongs to a business: invited once, joined by a token that opens once, in a role that the business may define."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
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
from events.sealing import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitePerson:
    """As the fact has it."""

    email: Sealed[str]
    email_ref: str
    role: str
    token_ref: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptInvitation:
    """The token of that keyed hash was shown at `at`."""

    token_ref: str
    person_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawInvitation:
    pass


InvitationCommand: TypeAlias = InvitePerson | AcceptInvitation | WithdrawInvitation


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantMembership:
    role: str
    invitation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRole:
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMembership:
    """`reason`: `left` or `removed`."""

    reason: str


MembershipCommand: TypeAlias = GrantMembership | ChangeRole | EndMembership


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineRole:
    description: str
    grants: tuple[Grant, ...]
    reaches_children: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRole:
    pass


RoleCommand: TypeAlias = DefineRole | RemoveRole


class InvitationExists(CommandRefused):
    """An invitation is made once."""

    code = "invitation-exists"


class InvitationOver(CommandRefused):
    """An invitation is accepted once, with its own token, before its end, unless it was withdrawn."""

    code = "invitation-over"


class RoleGrantsNothing(CommandRefused):
    """A role gives at least one scope."""

    code = "role-grants-nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    invited: PersonInvited
    accepted_by: str = ""
    withdrawn: bool = False


def decide_invitation(command: InvitationCommand, invitation: Invitation | None) -> Sequence[InvitationEvent]:
    if isinstance(command, InvitePerson):
        fact = PersonInvited(
            email=command.email, email_ref=command.email_ref, role=command.role, token_ref=command.token_ref, expires_at=command.expires_at
        )  # fmt: skip
        if invitation is not None and invitation.invited != fact:
            raise InvitationExists("an invitation stands under this id; invite under a new one")
        return () if invitation is not None else (fact,)
    if invitation is None:
        raise NotFound("no such invitation; check its id")
    match command:
        case AcceptInvitation(token_ref=token_ref, person_id=person_id, at=at):
            if invitation.accepted_by == person_id and token_ref == invitation.invited.token_ref:
                return ()
            used = invitation.accepted_by or invitation.withdrawn or at >= invitation.invited.expires_at
            if used or token_ref != invitation.invited.token_ref:
                raise InvitationOver("the invitation was used or withdrawn, or its time is over; ask for another one")
            return (InvitationAccepted(person_id=person_id),)
        case WithdrawInvitation():
            if invitation.accepted_by:
                raise InvitationOver("the invitation was accepted; end the membership instead")
            return () if invitation.withdrawn else (InvitationWithdrawn(),)
        case _:
            assert_never(command)


def evolve_invitation(invitation: Invitation | None, fact: InvitationEvent) -> Invitation | None:
    if isinstance(fact, PersonInvited):
        return Invitation(invited=fact)
    if invitation is None:
        return None
    match fact:
        case InvitationAccepted(person_id=person_id):
            return replace(invitation, accepted_by=person_id)
        case InvitationWithdrawn():
            return replace(invitation, withdrawn=True)
        case _:
            assert_never(fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """An empty `role`: the person does not belong to the business. `invitation_id`: by which they came, the last time."""

    role: str = ""
    invitation_id: str = ""


def decide_membership(command: MembershipCommand, membership: Membership) -> Sequence[MembershipEvent]:
    match command:
        case GrantMembership(role=role, invitation_id=invitation_id):
            # An invitation brings a person in once: not back after they left, nor into the role that they had before.
            if invitation_id == membership.invitation_id:
                return ()
            return (MembershipGranted(role=role, invitation_id=invitation_id),)
        case ChangeRole(role=role):
            _must_belong(membership)
            return () if role == membership.role else (MembershipRoleChanged(role=role),)
        case EndMembership(reason=reason):
            if not membership.role and membership.invitation_id:
                return ()
            _must_belong(membership)
            return (MembershipEnded(reason=reason),)
        case _:
            assert_never(command)


def _must_belong(membership: Membership) -> None:
    if not membership.role:
        raise NotFound("the person does not belong to the organisation; check the id")


def evolve_membership(membership: Membership, fact: MembershipEvent) -> Membership:
    match fact:
        case MembershipGranted(role=role, invitation_id=invitation_id):
            return Membership(role=role, invitation_id=invitation_id)
        case MembershipRoleChanged(role=role):
            return replace(membership, role=role)
        case MembershipEnded():
            return replace(membership, role="")
        case _:
            assert_never(fact)


def decide_role(command: RoleCommand, role: RoleDefined | None) -> Sequence[RoleEvent]:
    match command:
        case DefineRole(description=description, grants=grants, reaches_children=reaches_children):
            if not grants:
                raise RoleGrantsNothing("name at least one scope that the role gives")
            fact = RoleDefined(description=description, grants=grants, reaches_children=reaches_children)
            return () if role == fact else (fact,)
        case RemoveRole():
            if role is None:
                raise NotFound("no such role of the organisation's own; check its name")
            return (RoleRemoved(),)
        case _:
            assert_never(command)


def evolve_role(_role: RoleDefined | None, fact: RoleEvent) -> RoleDefined | None:
    return fact if isinstance(fact, RoleDefined) else None


INVITATIONS: Decider[InvitationCommand, Invitation | None, InvitationEvent] = Decider(
    room="memberships", category="invitations", initial=None, decide=decide_invitation, evolve=evolve_invitation
)
MEMBERSHIPS: Decider[MembershipCommand, Membership, MembershipEvent] = Decider(
    room="memberships", category="memberships", initial=Membership(), decide=decide_membership, evolve=evolve_membership
)
ROLES: Decider[RoleCommand, RoleDefined | None, RoleEvent] = Decider(
    room="memberships", category="roles", initial=None, decide=decide_role, evolve=evolve_role
)
