"""Who may what, from memory: the rows of people, memberships and roles, as they are found."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from events.flags import FlagSet
from events.memberships import MembershipEnded, MembershipGranted
from events.people import SessionEnded, SessionOpened
from events.streams import PLATFORM, StreamId, topic_of
from projections.access import Access
from projections.directory import LETTING_IN, Directory, follow
from projections.memberships import MEMBERSHIPS, Membership
from projections.organisations import ORGANISATIONS, Organisation
from projections.people import SESSIONS
from tests.projections.paper import PaperReader
from tests.projections.test_directory import position
from tests.projections.told import AYB

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MEMBERSHIP = Membership(tenant=AYB, id="USR-1", version=1, role="owner", since=NOON, position="")
SESSION = StreamId(PLATFORM, "sessions", "ses_1")
OPENED = SessionOpened(person_id="USR-1", methods=("password",), at=NOON, expires_at=NOON)


def organisation(organisation_id: str, parent_id: str = "") -> Organisation:
    return Organisation(
        tenant=organisation_id, id=organisation_id, version=1, name="n", region="r", created_at=NOON, parent_id=parent_id
    )  # fmt: skip


class TestUpwards:
    def test_goes_from_an_organisation_to_its_root(self) -> None:
        access = Access()
        for each in (organisation("A"), organisation("B", "A"), organisation("C", "B"), organisation("D")):
            access.put(ORGANISATIONS, (each.id, each.id), each)
        assert list(access.upwards("C")) == ["C", "B", "A"]
        assert list(access.upwards("D")) == ["D"]
        assert list(access.upwards("nowhere")) == []

    def test_ends_whatever_the_rows_say(self) -> None:
        access = Access()
        for each in (organisation("A", "B"), organisation("B", "A")):
            access.put(ORGANISATIONS, (each.id, each.id), each)
        assert len(list(access.upwards("A"))) < 100


class TestMemberships:
    def test_that_ended_are_known_and_count_no_more(self) -> None:
        access = Access()
        access.put(MEMBERSHIPS, (AYB, "USR-1"), MEMBERSHIP)
        assert access.memberships_of("USR-1") == [MEMBERSHIP]
        ended = replace(MEMBERSHIP, ended_at=NOON, ended_by="left")
        access.put(MEMBERSHIPS, (AYB, "USR-1"), ended)
        assert access.memberships_of("USR-1") == []
        assert access.membership(AYB, "USR-1") == ended
        assert access.membership("AYB-other", "USR-1") is None


class TestFollowing:
    async def test_tells_of_people_where_people_are_let_in_and_nowhere_else(self) -> None:
        reader = PaperReader()
        reader.append(SESSION, OPENED)
        reader.append(StreamId(AYB, "memberships", "USR-1"), MembershipGranted(role="owner", invitation_id="inv_1"))
        reader.append(StreamId(AYB, "flags", "recording"), FlagSet(enabled=True, variant="on", description=""))
        with_people, without = Directory(followed=LETTING_IN), Directory()
        tasks = [asyncio.create_task(follow(reader, each)) for each in (with_people, without)]
        async with asyncio.timeout(120):
            await with_people.caught_up.wait()
            await without.caught_up.wait()
            assert without.access.session("ses_1") is None
            assert [each.id for each in with_people.access.sessions_of("USR-1")] == ["ses_1"]
            assert [each.role for each in with_people.access.memberships_of("USR-1")] == ["owner"]
            last = reader.append(StreamId(AYB, "memberships", "USR-1"), MembershipEnded(reason="left"))
            gone = reader.append(SESSION, SessionEnded(reason="signed-out"))
            assert await with_people.wait_for([position(last), position(gone)], 120)
        assert with_people.access.memberships_of("USR-1") == []
        assert with_people.access.sessions_of("USR-1") == []
        assert SESSIONS not in without.followed
        # Each hears of what it is asked, and a fact of another kind does not wake it.
        heard, other = ({topic for topic, _ in each.position()} for each in (with_people, without))
        assert topic_of("flags") in other - heard
        assert topic_of("memberships") in heard - other
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
