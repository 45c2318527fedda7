"""Who is a business of ours, and which keys act for it."""

from datetime import UTC, datetime, timedelta

import pytest

from commands.decider import NotFound
from commands.organisations import (
    ORGANISATIONS,
    ApiKeyIdTaken,
    ApiKeyRevokedAlready,
    CreateOrganisation,
    IssueApiKey,
    OrganisationCommand,
    OrganisationExists,
    OrganisationNameMissing,
    RenameOrganisation,
    RevokeApiKey,
    RotateApiKey,
)
from events.organisations import ApiKeyExpirySet, ApiKeyIssued, ApiKeyRevoked, OrganisationCreated, OrganisationRenamed
from tests.given import given

CREATED = OrganisationCreated(name="Acme", region="us-east-1")
ISSUE = IssueApiKey(key_id="k1", label="console", secret_hash=bytes(32))
ISSUED = ApiKeyIssued(key_id="k1", label="console", secret_hash=bytes(32))
REVOKED = ApiKeyRevoked(key_id="k1")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROTATE = RotateApiKey(key_id="k1", new_key_id="k2", secret_hash=b"2" * 32, old_expires_at=NOON)
READING = ApiKeyIssued(key_id="k1", label="console", secret_hash=bytes(32), scopes=("calls:read",))
SUCCESSOR = ApiKeyIssued(key_id="k2", label="console", secret_hash=b"2" * 32, scopes=("calls:read",))


class TestCreateOrganisation:
    def test_is_a_fact_with_the_name_trimmed(self) -> None:
        given(ORGANISATIONS).when(CreateOrganisation(name="  Acme ", region="us-east-1")).then(CREATED)

    def test_changes_nothing_when_it_is_said_again(self) -> None:
        given(ORGANISATIONS, CREATED).when(CreateOrganisation(name="Acme", region="us-east-1")).then()

    @pytest.mark.parametrize(("name", "region"), [("Other", "us-east-1"), ("Acme", "eu-west-1")])
    def test_is_refused_for_another_business_under_the_same_id(self, name: str, region: str) -> None:
        given(ORGANISATIONS, CREATED).when(CreateOrganisation(name=name, region=region)).then_refused(OrganisationExists)

    def test_is_refused_without_a_name(self) -> None:
        given(ORGANISATIONS).when(CreateOrganisation(name=" \t", region="us-east-1")).then_refused(OrganisationNameMissing)


class TestRenameOrganisation:
    def test_is_a_fact(self) -> None:
        given(ORGANISATIONS, CREATED).when(RenameOrganisation(name="Acme  Ltd")).then(OrganisationRenamed(name="Acme Ltd"))

    def test_changes_nothing_when_it_is_the_name_already(self) -> None:
        given(ORGANISATIONS, CREATED).when(RenameOrganisation(name="Acme")).then()

    def test_goes_by_the_last_name(self) -> None:
        given(ORGANISATIONS, CREATED, OrganisationRenamed(name="Apex")).when(RenameOrganisation(name="Acme")).then(
            OrganisationRenamed(name="Acme")
        )

    def test_is_refused_without_a_name(self) -> None:
        given(ORGANISATIONS, CREATED).when(RenameOrganisation(name="")).then_refused(OrganisationNameMissing)


class TestIssueApiKey:
    def test_is_a_fact_that_keeps_only_a_hash(self) -> None:
        given(ORGANISATIONS, CREATED).when(ISSUE).then(ISSUED)

    def test_changes_nothing_when_it_is_said_again(self) -> None:
        given(ORGANISATIONS, CREATED, ISSUED).when(ISSUE).then()

    def test_is_refused_for_another_secret_under_the_same_id(self) -> None:
        other = IssueApiKey(key_id="k1", label="console", secret_hash=b"\1" * 32)
        given(ORGANISATIONS, CREATED, ISSUED).when(other).then_refused(ApiKeyIdTaken)

    def test_is_refused_for_a_key_that_was_revoked(self) -> None:
        given(ORGANISATIONS, CREATED, ISSUED, REVOKED).when(ISSUE).then_refused(ApiKeyIdTaken)

    def test_says_what_the_key_may_and_until_when(self) -> None:
        wanted = IssueApiKey(key_id="k1", label="console", secret_hash=bytes(32), scopes=("calls:read",), expires_at=NOON)
        given(ORGANISATIONS, CREATED).when(wanted).then(
            ApiKeyIssued(key_id="k1", label="console", secret_hash=bytes(32), scopes=("calls:read",), expires_at=NOON)
        )


class TestRotateApiKey:
    def test_issues_a_key_that_may_the_same_and_gives_the_old_one_an_end(self) -> None:
        given(ORGANISATIONS, CREATED, READING).when(ROTATE).then(SUCCESSOR, ApiKeyExpirySet(key_id="k1", expires_at=NOON))

    def test_leaves_the_old_key_an_end_that_is_sooner(self) -> None:
        sooner = ApiKeyExpirySet(key_id="k1", expires_at=NOON - timedelta(hours=1))
        given(ORGANISATIONS, CREATED, READING, sooner).when(ROTATE).then(SUCCESSOR)

    def test_brings_a_later_end_forward(self) -> None:
        later = ApiKeyExpirySet(key_id="k1", expires_at=NOON + timedelta(hours=1))
        given(ORGANISATIONS, CREATED, READING, later).when(ROTATE).then(SUCCESSOR, ApiKeyExpirySet(key_id="k1", expires_at=NOON))

    def test_changes_nothing_when_it_is_said_again(self) -> None:
        given(ORGANISATIONS, CREATED, READING, SUCCESSOR).when(ROTATE).then()

    def test_is_refused_for_a_key_that_was_revoked(self) -> None:
        given(ORGANISATIONS, CREATED, ISSUED, REVOKED).when(ROTATE).then_refused(ApiKeyRevokedAlready)

    def test_is_refused_for_a_key_that_was_never_issued(self) -> None:
        given(ORGANISATIONS, CREATED).when(ROTATE).then_refused(NotFound)


class TestRevokeApiKey:
    def test_is_a_fact(self) -> None:
        given(ORGANISATIONS, CREATED, ISSUED).when(RevokeApiKey(key_id="k1")).then(REVOKED)

    def test_changes_nothing_the_second_time(self) -> None:
        given(ORGANISATIONS, CREATED, ISSUED, REVOKED).when(RevokeApiKey(key_id="k1")).then()

    def test_is_refused_for_a_key_that_was_never_issued(self) -> None:
        given(ORGANISATIONS, CREATED).when(RevokeApiKey(key_id="k1")).then_refused(NotFound)


@pytest.mark.parametrize("command", [RenameOrganisation(name="Acme"), ISSUE, ROTATE, RevokeApiKey(key_id="k1")])
def test_nothing_can_be_done_with_an_organisation_that_is_not_there(command: OrganisationCommand) -> None:
    given(ORGANISATIONS).when(command).then_refused(NotFound)
