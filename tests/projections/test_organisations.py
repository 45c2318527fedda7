"""What the facts of a business make of its row."""

from datetime import timedelta

import pytest

from events.organisations import ApiKeyExpirySet, ApiKeyIssued, ApiKeyRevoked, OrganisationCreated, OrganisationRenamed
from events.streams import StreamId
from projections.organisations import ORGANISATIONS, ApiKey, Organisation
from projections.table import BrokenHistory
from tests.projections.told import AYB, DAY, told

STREAM = StreamId(AYB, "organisations", AYB)
CREATED = OrganisationCreated(name="Bella Vista", region="ca-central-1")
ISSUED = ApiKeyIssued(key_id="k1", label="till", secret_hash=b"s" * 32)


class TestOrganisation:
    def test_has_its_last_name_and_the_version_of_its_last_fact(self) -> None:
        row = ORGANISATIONS.fold(told(STREAM, CREATED, OrganisationRenamed(name="Bella Vista Due")))
        assert row == Organisation(
            tenant=AYB, id=AYB, version=2, name="Bella Vista Due", region="ca-central-1", created_at=DAY
        )  # fmt: skip

    def test_keeps_a_revoked_key_and_says_when(self) -> None:
        facts = told(STREAM, CREATED, ISSUED, ApiKeyIssued(key_id="k2", label="", secret_hash=b""), ApiKeyRevoked(key_id="k1"))
        row = ORGANISATIONS.fold(facts)
        assert row is not None
        assert row.keys[0] == ApiKey(
            key_id="k1", label="till", secret_hash=b"s" * 32, issued_at=DAY + timedelta(seconds=1), revoked_at=DAY + timedelta(seconds=3),
            position=str(facts[1].position),
        )  # fmt: skip
        assert row.keys[1].revoked_at is None

    def test_says_what_a_key_may_and_when_it_ends(self) -> None:
        end = DAY + timedelta(days=1)
        issued = ApiKeyIssued(key_id="k1", label="till", secret_hash=b"s" * 32, scopes=("calls:read",))
        row = ORGANISATIONS.fold(told(STREAM, CREATED, issued, ApiKeyExpirySet(key_id="k1", expires_at=end)))
        assert row is not None
        assert (row.keys[0].scopes, row.keys[0].expires_at) == (("calls:read",), end)

    def test_cannot_begin_with_a_key(self) -> None:
        with pytest.raises(BrokenHistory, match="before it was created"):
            ORGANISATIONS.fold(told(STREAM, ISSUED))
