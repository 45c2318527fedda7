"""Programs that fetch tokens, and the hours in which keys were used."""

from datetime import UTC, datetime, timedelta

from commands.credentials import (
    CLIENTS,
    CREDENTIAL_USES,
    ClientExists,
    NoteUse,
    RegisterClient,
    RemoveClient,
    RotateClientSecret,
)
from commands.decider import NotFound
from events.credentials import ClientRegistered, ClientRemoved, ClientSecretRotated, CredentialUsed
from tests.given import given

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
REGISTER = RegisterClient(label="shop", secret_ref="s", scopes=("calls:read",))
REGISTERED = ClientRegistered(label="shop", secret_ref="s", scopes=("calls:read",))


class TestClient:
    def test_is_registered_once_for_good(self) -> None:
        given(CLIENTS).when(REGISTER).then(REGISTERED)
        given(CLIENTS, REGISTERED).when(REGISTER).then()
        given(CLIENTS, REGISTERED, ClientRemoved()).when(REGISTER).then_refused(ClientExists)

    def test_has_another_secret_while_it_stands(self) -> None:
        rotate = RotateClientSecret(secret_ref="s2", old_expires_at=NOON)
        rotated = ClientSecretRotated(secret_ref="s2", old_expires_at=NOON)
        given(CLIENTS, REGISTERED).when(rotate).then(rotated)
        given(CLIENTS, REGISTERED, rotated).when(rotate).then()
        given(CLIENTS, REGISTERED, ClientRemoved()).when(rotate).then_refused(NotFound)
        given(CLIENTS).when(RemoveClient()).then_refused(NotFound)


class TestUse:
    def test_is_told_once_an_hour(self) -> None:
        used = CredentialUsed(kind="api-key", hour=NOON)
        given(CREDENTIAL_USES).when(NoteUse(kind="api-key", hour=NOON)).then(used)
        for hour in (NOON, NOON - HOUR):
            given(CREDENTIAL_USES, used).when(NoteUse(kind="api-key", hour=hour)).then()
        later = CredentialUsed(kind="api-key", hour=NOON + HOUR)
        given(CREDENTIAL_USES, used).when(NoteUse(kind="api-key", hour=NOON + HOUR)).then(later)
