"""Facts about who belongs to a business and what they may there: invitations, memberships, roles."""

from dataclasses import dataclass
from datetime import datetime

from events.registry import event
from events.sealing import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A scope (`calls:read`) that a role gives, for these things alone where some are named by their ids."""

    scope: str
    resources: tuple[str, ...] = ()


@event("person-invited", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PersonInvited:
    """Whoever shows the token before its end may join with the role. `email` is sealed under a key of the invited person's own."""

    email: Sealed[str]
    email_ref: str
    role: str
    token_ref: str
    expires_at: datetime


@event("invitation-accepted", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationAccepted:
    """The token was shown, and is used up."""

    person_id: str


@event("invitation-withdrawn", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationWithdrawn:
    """The token opens nothing any more."""


@event("membership-granted", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipGranted:
    """A person belongs to the business. The stream is named by the person."""

    role: str
    invitation_id: str


@event("membership-role-changed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRoleChanged:
    """They have another role from now on."""

    role: str


@event("membership-ended", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipEnded:
    """They belong to it no more. `reason`: `left` or `removed`."""

    reason: str


@event("owner-released", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerReleased:
    """Another owner remains, so this one may go: as of that version of their membership they are counted among the owners no more.

    The stream is named by the business.
    """

    person_id: str
    as_of: int


@event("role-defined", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDefined:
    """A role of the business's own is this from now on. `reaches_children`: it counts in the organisations below this one as well."""

    description: str
    grants: tuple[Grant, ...]
    reaches_children: bool = False


@event("role-removed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRemoved:
    """Who has the role may nothing by it any more."""


InvitationEvent = PersonInvited | InvitationAccepted | InvitationWithdrawn
MembershipEvent = MembershipGranted | MembershipRoleChanged | MembershipEnded
OwnersEvent = OwnerReleased
RoleEvent = RoleDefined | RoleRemoved
