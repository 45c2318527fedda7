"""Programs that fetch tokens, and when keys and programs were last used."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.credentials import ClientEvent, ClientRegistered, ClientRemoved, ClientSecretRotated, CredentialUsed
from events.recorded import Recorded
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An OAuth 2 client. The secret before the last one counts until `old_expires_at`. `position`: where it was registered."""

    tenant: str
    id: str
    version: int
    label: str
    secret_ref: str
    scopes: tuple[str, ...]
    registered_at: datetime
    position: str
    old_secret_ref: str = ""
    old_expires_at: datetime | None = None
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialUse:
    """Its id is the key's or the client's. It was last used in the hour that began at `hour`."""

    tenant: str
    id: str
    version: int
    kind: str
    hour: datetime


def evolve_client(row: Client | None, recorded: Recorded[ClientEvent]) -> Client:
    fact, stream = recorded.fact, recorded.stream
    if isinstance(fact, ClientRegistered):
        return Client(
            tenant=stream.tenant, id=stream.id, version=recorded.version, label=fact.label, secret_ref=fact.secret_ref,
            scopes=fact.scopes, registered_at=recorded.occurred_at, position=str(recorded.position),
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{stream} has facts before it was registered")
    match fact:
        case ClientSecretRotated(secret_ref=secret_ref, old_expires_at=end):
            return replace(row, secret_ref=secret_ref, old_secret_ref=row.secret_ref, old_expires_at=end)
        case ClientRemoved():
            return replace(row, removed_at=recorded.occurred_at, position=str(recorded.position))
        case _:
            assert_never(fact)


def evolve_use(_row: CredentialUse | None, recorded: Recorded[CredentialUsed]) -> CredentialUse:
    fact, stream = recorded.fact, recorded.stream
    return CredentialUse(tenant=stream.tenant, id=stream.id, version=recorded.version, kind=fact.kind, hour=fact.hour)


CLIENTS = Table(name="oauth_clients", version=1, room="credentials", category="oauth-clients", row=Client, evolve=evolve_client)
CREDENTIAL_USES = Table(
    name="credential_uses", version=1, room="credentials", category="credential-uses", row=CredentialUse, evolve=evolve_use
)  # fmt: skip
