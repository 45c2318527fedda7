"""What a person's word changes."""

from datetime import UTC, datetime

from commands.consents import CONSENTS, NOTHING_HELD, ConsentNotHeld, GrantConsent, RevokeConsent
from events.consents import ConsentGranted, ConsentRevoked, Purpose
from tests.given import given, sealed

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
SPRING = datetime(2027, 4, 1, tzinfo=UTC)
GRANT = GrantConsent(subject=sealed("caller"), purpose=Purpose.RECORDING, evidence="call_1, turn 1")
GRANTED = ConsentGranted(subject=sealed("caller"), purpose=Purpose.RECORDING, evidence="call_1, turn 1")
REVOKE = RevokeConsent(purpose=Purpose.RECORDING, evidence="call_1, turn 4")
REVOKED = ConsentRevoked(purpose=Purpose.RECORDING, evidence="call_1, turn 4")


def until(end: datetime | None) -> GrantConsent:
    return GrantConsent(subject=GRANT.subject, purpose=GRANT.purpose, evidence=GRANT.evidence, expires_at=end)


def granted_until(end: datetime | None) -> ConsentGranted:
    return ConsentGranted(subject=GRANT.subject, purpose=GRANT.purpose, evidence=GRANT.evidence, expires_at=end)


class TestGrantConsent:
    def test_is_a_fact_with_its_evidence(self) -> None:
        given(CONSENTS).when(GRANT).then(GRANTED)

    def test_changes_nothing_when_it_is_held(self) -> None:
        given(CONSENTS, GRANTED).when(GRANT).then()

    def test_is_a_fact_for_each_purpose(self) -> None:
        marketing = GrantConsent(subject=sealed("caller"), purpose=Purpose.MARKETING_CALLS, evidence="form 7")
        given(CONSENTS, GRANTED).when(marketing).then(
            ConsentGranted(subject=sealed("caller"), purpose=Purpose.MARKETING_CALLS, evidence="form 7")
        )

    def test_is_a_fact_again_after_a_withdrawal(self) -> None:
        given(CONSENTS, GRANTED, REVOKED).when(GRANT).then(GRANTED)

    def test_renews_what_ends_earlier(self) -> None:
        given(CONSENTS, granted_until(NEW_YEAR)).when(until(SPRING)).then(granted_until(SPRING))

    def test_without_an_end_renews_what_has_one(self) -> None:
        given(CONSENTS, granted_until(NEW_YEAR)).when(until(None)).then(granted_until(None))

    def test_changes_nothing_when_what_is_held_lasts_longer(self) -> None:
        given(CONSENTS, granted_until(SPRING)).when(until(NEW_YEAR)).then()
        given(CONSENTS, granted_until(None)).when(until(NEW_YEAR)).then()


class TestRevokeConsent:
    def test_is_a_fact_with_its_evidence(self) -> None:
        given(CONSENTS, GRANTED).when(REVOKE).then(REVOKED)

    def test_takes_back_what_has_expired_too(self) -> None:
        given(CONSENTS, granted_until(NEW_YEAR)).when(REVOKE).then(REVOKED)

    def test_is_refused_when_nothing_is_held(self) -> None:
        assert given(CONSENTS).when(REVOKE).then_refused(ConsentNotHeld).purpose is Purpose.RECORDING

    def test_is_refused_when_it_was_taken_back_before(self) -> None:
        given(CONSENTS, GRANTED, REVOKED).when(REVOKE).then_refused(ConsentNotHeld)

    def test_is_refused_when_only_another_purpose_is_held(self) -> None:
        service_calls = RevokeConsent(purpose=Purpose.SERVICE_CALLS, evidence="an e-mail")
        given(CONSENTS, GRANTED).when(service_calls).then_refused(ConsentNotHeld)


class TestHeld:
    def test_allows_nothing_at_first(self) -> None:
        assert not NOTHING_HELD.allows(Purpose.RECORDING, NEW_YEAR)

    def test_allows_until_the_end_and_not_at_it(self) -> None:
        held = given(CONSENTS, granted_until(SPRING)).state
        assert held.allows(Purpose.RECORDING, NEW_YEAR)
        assert not held.allows(Purpose.RECORDING, SPRING)

    def test_allows_for_good_what_has_no_end(self) -> None:
        assert given(CONSENTS, GRANTED).state.allows(Purpose.RECORDING, SPRING)

    def test_allows_nothing_after_a_withdrawal(self) -> None:
        assert not given(CONSENTS, GRANTED, REVOKED).state.allows(Purpose.RECORDING, NEW_YEAR)
