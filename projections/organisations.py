"""Who uses us, and which keys act for them."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.organisations import (
    ApiKeyExpirySet,
    ApiKeyIssued,
    ApiKeyRevoked,
    OrganisationCreated,
    OrganisationEvent,
    OrganisationRenamed,
)
from events.recorded import Recorded
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as its organisation sees it; `secret_hash` is the SHA-256 of the secret, which nobody keeps.

    `scopes`: what it may; none: everything. `position`: where it was issued. `person_id`: whose own it is.
    """

    key_id: str
    label: str
    secret_hash: bytes
    issued_at: datetime
    revoked_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    api_version: str = ""
    position: str = ""
    person_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """A business. `keys` in the order of their issue, revoked ones included."""

    tenant: str
    id: str
    version: int
    name: str
    region: str
    created_at: datetime
    keys: tuple[ApiKey, ...] = ()
    parent_id: str = ""


def evolve(row: Organisation | None, recorded: Recorded[OrganisationEvent]) -> Organisation:
    fact, at = recorded.fact, recorded.occurred_at
    if isinstance(fact, OrganisationCreated):
        stream = recorded.stream
        return Organisation(
            tenant=stream.tenant, id=stream.id, version=recorded.version, name=fact.name, region=fact.region, created_at=at,
            parent_id=fact.parent_id,
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{recorded.stream} has facts before it was created")
    match fact:
        case OrganisationRenamed(name=name):
            return replace(row, name=name)
        case ApiKeyIssued(
            key_id=key_id, label=label, secret_hash=secret_hash, scopes=scopes, expires_at=end, api_version=pinned, person_id=own
        ):
            key = ApiKey(
                key_id=key_id, label=label, secret_hash=secret_hash, issued_at=at, scopes=scopes, expires_at=end, api_version=pinned,
                position=str(recorded.position), person_id=own,
            )  # fmt: skip
            return replace(row, keys=(*row.keys, key))
        case ApiKeyExpirySet(key_id=key_id, expires_at=end):
            return replace(row, keys=tuple(replace(key, expires_at=end) if key.key_id == key_id else key for key in row.keys))
        case ApiKeyRevoked(key_id=key_id):
            keys = tuple(replace(key, revoked_at=at) if key.key_id == key_id else key for key in row.keys)
            return replace(row, keys=keys)
        case _:
            assert_never(fact)


ORGANISATIONS = Table(
    name="organisations", version=4, room="organisations", category="organisations", row=Organisation, evolve=evolve
)  # fmt: skip
