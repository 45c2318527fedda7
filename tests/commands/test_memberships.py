"""Who belongs to a business, and what its roles are."""

from datetime import UTC, datetime, timedelta

from commands.decider import NotFound
from commands.memberships import (
    INVITATIONS,
    MEMBERSHIPS,
    OWNERS,
    ROLES,
    AcceptInvitation,
    ChangeRole,
    DefineRole,
    EndMembership,
    GrantMembership,
    InvitationOver,
    LastOwner,
    Owner,
    OwnerNotReleased,
    ReleaseOwner,
    RemoveRole,
    RoleGrantsNothing,
    WithdrawInvitation,
)
from events.memberships import (
    Grant,
    InvitationAccepted,
    InvitationWithdrawn,
    MembershipEnded,
    MembershipGranted,
    MembershipRoleChanged,
    OwnerReleased,
    PersonInvited,
    RoleDefined,
    RoleRemoved,
)
from tests.given import given, sealed

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
INVITED = PersonInvited(email=sealed("a@b.c"), email_ref="r", role="analyst", token_ref="t", expires_at=NOON)
BEFORE = NOON - timedelta(seconds=1)
ACCEPT = AcceptInvitation(token_ref="t", person_id="USR-1", at=BEFORE)
ACCEPTED = InvitationAccepted(person_id="USR-1")
GRANTED = MembershipGranted(role="analyst", invitation_id="inv_1")


class TestAcceptInvitation:
    def test_opens_once_and_for_its_token_alone(self) -> None:
        given(INVITATIONS, INVITED).when(ACCEPT).then(ACCEPTED)
        given(INVITATIONS, INVITED, ACCEPTED).when(ACCEPT).then()
        other = AcceptInvitation(token_ref="t", person_id="USR-2", at=BEFORE)
        given(INVITATIONS, INVITED, ACCEPTED).when(other).then_refused(InvitationOver)
        given(INVITATIONS, INVITED).when(AcceptInvitation(token_ref="x", person_id="USR-1", at=BEFORE)).then_refused(InvitationOver)
        given(INVITATIONS).when(ACCEPT).then_refused(NotFound)

    def test_is_refused_at_its_end_and_after_it_was_withdrawn(self) -> None:
        late = AcceptInvitation(token_ref="t", person_id="USR-1", at=NOON)
        given(INVITATIONS, INVITED).when(late).then_refused(InvitationOver)
        given(INVITATIONS, INVITED, InvitationWithdrawn()).when(ACCEPT).then_refused(InvitationOver)
        given(INVITATIONS, INVITED, ACCEPTED).when(WithdrawInvitation()).then_refused(InvitationOver)


class TestMembership:
    def test_is_granted_once_by_an_invitation_also_after_it_ended(self) -> None:
        grant = GrantMembership(role="analyst", invitation_id="inv_1")
        ended = MembershipEnded(reason="left")
        given(MEMBERSHIPS).when(grant).then(GRANTED)
        given(MEMBERSHIPS, GRANTED).when(grant).then()
        given(MEMBERSHIPS, GRANTED, ended).when(grant).then()
        anew = GrantMembership(role="owner", invitation_id="inv_2")
        given(MEMBERSHIPS, GRANTED, ended).when(anew).then(MembershipGranted(role="owner", invitation_id="inv_2"))

    def test_changes_its_role_while_it_stands(self) -> None:
        given(MEMBERSHIPS, GRANTED).when(ChangeRole(role="owner")).then(MembershipRoleChanged(role="owner"))
        given(MEMBERSHIPS, GRANTED).when(ChangeRole(role="analyst")).then()
        given(MEMBERSHIPS, GRANTED, MembershipEnded(reason="left")).when(ChangeRole(role="owner")).then_refused(NotFound)

    def test_ends_once(self) -> None:
        ended = MembershipEnded(reason="removed")
        given(MEMBERSHIPS, GRANTED).when(EndMembership(reason="removed")).then(ended)
        given(MEMBERSHIPS, GRANTED, ended).when(EndMembership(reason="left")).then()
        given(MEMBERSHIPS).when(EndMembership(reason="left")).then_refused(NotFound)


class TestOwner:
    OWNS = MembershipGranted(role="owner", invitation_id="inv_1")

    def test_leaves_the_role_only_as_of_the_version_at_which_they_were_released(self) -> None:
        owns = given(MEMBERSHIPS, GRANTED, MembershipRoleChanged(role="owner"))
        for released in (0, 1, 3):
            owns.when(ChangeRole(role="analyst", released=released)).then_refused(OwnerNotReleased)
            owns.when(EndMembership(reason="left", released=released)).then_refused(OwnerNotReleased)
        owns.when(ChangeRole(role="analyst", released=2)).then(MembershipRoleChanged(role="analyst"))
        owns.when(EndMembership(reason="left", released=2)).then(MembershipEnded(reason="left"))

    def test_stays_one_whatever_they_are_invited_to(self) -> None:
        another = GrantMembership(role="analyst", invitation_id="inv_2")
        given(MEMBERSHIPS, self.OWNS).when(another).then(MembershipGranted(role="owner", invitation_id="inv_2"))

    def test_is_released_while_another_one_remains(self) -> None:
        both = (Owner(person_id="USR-1", version=1), Owner(person_id="USR-2", version=4))
        first, second = (ReleaseOwner(person_id=each, owners=both) for each in ("USR-1", "USR-2"))
        released = OwnerReleased(person_id="USR-1", as_of=1)
        given(OWNERS).when(first).then(released)
        given(OWNERS, released).when(first).then()
        # Both saw the other one: only one of them goes.
        given(OWNERS, released).when(second).then_refused(LastOwner)
        given(OWNERS).when(ReleaseOwner(person_id="USR-1", owners=both[:1])).then_refused(LastOwner)
        given(OWNERS).when(ReleaseOwner(person_id="USR-3", owners=both)).then()

    def test_is_released_as_of_the_later_time_when_seen_twice(self) -> None:
        seen = (Owner(person_id="USR-1", version=2), Owner(person_id="USR-1", version=1), Owner(person_id="USR-2", version=1))
        order, released = ReleaseOwner(person_id="USR-1", owners=seen), OwnerReleased(person_id="USR-1", as_of=2)
        given(OWNERS).when(order).then(released)
        given(OWNERS, released).when(order).then()

    def test_counts_again_when_they_are_made_one_again(self) -> None:
        released = OwnerReleased(person_id="USR-1", as_of=1)
        again = ReleaseOwner(person_id="USR-2", owners=(Owner(person_id="USR-1", version=3), Owner(person_id="USR-2", version=4)))
        given(OWNERS, released).when(again).then(OwnerReleased(person_id="USR-2", as_of=4))


class TestRole:
    def test_gives_something(self) -> None:
        grants = (Grant(scope="calls:read", resources=("call_1",)),)
        given(ROLES).when(DefineRole(description="d", grants=grants)).then(RoleDefined(description="d", grants=grants))
        given(ROLES, RoleDefined(description="d", grants=grants)).when(DefineRole(description="d", grants=grants)).then()
        given(ROLES).when(DefineRole(description="d", grants=())).then_refused(RoleGrantsNothing)

    def test_is_removed_where_it_stands(self) -> None:
        defined = RoleDefined(description="d", grants=(Grant(scope="calls:read"),))
        given(ROLES, defined).when(RemoveRole()).then(RoleRemoved())
        given(ROLES, defined, RoleRemoved()).when(RemoveRole()).then_refused(NotFound)
