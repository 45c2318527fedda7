"""What a person's word makes of the row that says what is allowed."""

from datetime import timedelta

import pytest

from events.consents import ConsentGranted, ConsentRevoked, Purpose
from events.streams import StreamId
from projections.consents import CALLER_PERMISSIONS
from projections.table import BrokenHistory
from tests.projections.facts import CALLER_REF, sealed
from tests.projections.told import AYB, DAY, told

STREAM = StreamId(AYB, "consents", CALLER_REF)
LATER = DAY + timedelta(hours=1)


def granted(purpose: Purpose = Purpose.RECORDING, **end: object) -> ConsentGranted:
    return ConsentGranted(subject=sealed("+14165550100"), purpose=purpose, evidence="call_1 turn 1", **end)  # type: ignore[arg-type]


REVOKED = ConsentRevoked(purpose=Purpose.RECORDING, evidence="call_1 turn 3")


class TestCallerPermissions:
    def test_say_what_was_allowed_and_where_on_the_log_it_says_so(self) -> None:
        facts = told(STREAM, granted())
        row = CALLER_PERMISSIONS.fold(facts)
        assert row is not None
        permission = row.permission(Purpose.RECORDING)
        assert permission.holds(LATER)
        assert permission.granted is not None
        assert (permission.granted.position, permission.granted.version) == (str(facts[0].position), 1)

    def test_end_with_the_withdrawal_and_keep_the_grant_as_evidence(self) -> None:
        facts = told(STREAM, granted(), REVOKED)
        row = CALLER_PERMISSIONS.fold(facts)
        assert row is not None
        permission = row.permission(Purpose.RECORDING)
        assert not permission.holds(LATER)
        assert permission.granted is not None
        assert permission.withdrawn is not None
        assert permission.withdrawn.position == str(facts[1].position)

    def test_hold_again_after_a_new_grant(self) -> None:
        row = CALLER_PERMISSIONS.fold(told(STREAM, granted(), REVOKED, granted()))
        assert row is not None
        assert row.permission(Purpose.RECORDING).holds(LATER)

    def test_end_at_their_end(self) -> None:
        row = CALLER_PERMISSIONS.fold(told(STREAM, granted(expires_at=LATER)))
        assert row is not None
        permission = row.permission(Purpose.RECORDING)
        assert (permission.holds(LATER - timedelta(microseconds=1)), permission.holds(LATER)) == (True, False)

    def test_are_apart_for_each_purpose(self) -> None:
        row = CALLER_PERMISSIONS.fold(told(STREAM, granted(), granted(Purpose.MARKETING_CALLS), REVOKED))
        assert row is not None
        assert [(each.purpose, each.holds(LATER)) for each in row.permissions] == [
            (Purpose.MARKETING_CALLS, True),
            (Purpose.RECORDING, False),
        ]
        assert not row.permission(Purpose.SERVICE_CALLS).holds(LATER)

    def test_cannot_begin_with_a_withdrawal(self) -> None:
        with pytest.raises(BrokenHistory):
            CALLER_PERMISSIONS.fold(told(STREAM, REVOKED))
