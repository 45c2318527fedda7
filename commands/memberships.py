"""Decides who belongs to a business: invited once, joined by a token that opens once, in a role that the business may define."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    OwnerReleased,
    OwnersEvent,
    PersonInvited,
    RoleDefined,
    RoleEvent,
    RoleRemoved,
)
from events.sealing import Sealed

OWNER = "owner"
"""The role of those without whom nobody may do everything: an organisation that has one keeps one."""


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
    """`released`: the version of the membership as of which its owner was released; 0: was not."""

    role: str
    released: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMembership:
    """`reason`: `left` or `removed`. `released` as in `ChangeRole`."""

    reason: str
    released: int = 0


MembershipCommand: TypeAlias = GrantMembership | ChangeRole | EndMembership


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Somebody who was seen to be one, at that version of their membership."""

    person_id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOwner:
    """Let an owner go. `owners`: all whom somebody saw to be one, this one among them."""

    person_id: str
    owners: tuple[Owner, ...]


OwnersCommand: TypeAlias = ReleaseOwner


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


class LastOwner(CommandRefused):
    """An organisation that has an owner keeps one: make somebody else an owner first."""

    code = "last-owner"


class OwnerNotReleased(CommandRefused):
    """The member became an owner meanwhile; read the membership again, and ask again."""

    code = "owner-not-released"


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
    """An empty `role`: the person does not belong to the business. `invitation_id`: by which they came, the last time.

    `version`: how many facts there are.
    """

    role: str = ""
    invitation_id: str = ""
    version: int = 0


def decide_membership(command: MembershipCommand, membership: Membership) -> Sequence[MembershipEvent]:
    match command:
        case GrantMembership(role=role, invitation_id=invitation_id):
            # An invitation brings a person in once: not back after they left, nor into the role that they had before.
            if invitation_id == membership.invitation_id:
                return ()
            # Nor does one take from an owner what they have.
            given = OWNER if membership.role == OWNER else role
            return (MembershipGranted(role=given, invitation_id=invitation_id),)
        case ChangeRole(role=role, released=released):
            _must_belong(membership)
            if role == membership.role:
                return ()
            _must_be_released(membership, released)
            return (MembershipRoleChanged(role=role),)
        case EndMembership(reason=reason, released=released):
            if not membership.role and membership.invitation_id:
                return ()
            _must_belong(membership)
            _must_be_released(membership, released)
            return (MembershipEnded(reason=reason),)
        case _:
            assert_never(command)


def _must_belong(membership: Membership) -> None:
    if not membership.role:
        raise NotFound("the person does not belong to the organisation; check the id")


def _must_be_released(membership: Membership, released: int) -> None:
    """Whether an owner is the last one is not seen from here: `Owners` decides it, for this very version of the membership."""
    if membership.role == OWNER and released != membership.version:
        raise OwnerNotReleased("the member has become an owner meanwhile; read the membership again, and ask again")


def evolve_membership(membership: Membership, fact: MembershipEvent) -> Membership:
    version = membership.version + 1
    match fact:
        case MembershipGranted(role=role, invitation_id=invitation_id):
            return Membership(role=role, invitation_id=invitation_id, version=version)
        case MembershipRoleChanged(role=role):
            return replace(membership, role=role, version=version)
        case MembershipEnded():
            return replace(membership, role="", version=version)
        case _:
            assert_never(fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """As of which version of their membership somebody was released; made an owner again they have a later one, and count."""

    released: Mapping[str, int] = field(default_factory=dict)


def decide_owners(command: OwnersCommand, owners: Owners) -> Sequence[OwnersEvent]:
    """Nobody stops being an owner without having been here: so whoever is seen as one and was not released is one still."""
    # Whoever was seen twice was an owner as of the later time.
    seen = {each.person_id: each.version for each in sorted(command.owners, key=lambda each: each.version)}
    left = {person_id: version for person_id, version in seen.items() if version > owners.released.get(person_id, 0)}
    as_of = left.pop(command.person_id, None)
    if as_of is None:
        return ()
    if not left:
        raise LastOwner("this is the organisation's last owner; make somebody else an owner first")
    return (OwnerReleased(person_id=command.person_id, as_of=as_of),)


def evolve_owners(owners: Owners, fact: OwnersEvent) -> Owners:
    return Owners(released={**owners.released, fact.person_id: fact.as_of})


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
OWNERS: Decider[OwnersCommand, Owners, OwnersEvent] = Decider(
    room="memberships", category="owners", initial=Owners(), decide=decide_owners, evolve=evolve_owners
)
ROLES: Decider[RoleCommand, RoleDefined | None, RoleEvent] = Decider(
    room="memberships", category="roles", initial=None, decide=decide_role, evolve=evolve_role
)
